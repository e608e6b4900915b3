"""Against pytorch_optimizer, where it does the same. Skipped where that package is not installed.

Where it does not, or only when asked to:

- ADOPT: it counts the steps of the clipping limit from 1 at the first gradient; the paper, and we, from 0. Its
  ``clip_lambda`` can say so.
- AdEMAMix: one length, ``t_alpha_beta3``, serves both schedules.
- Adan: ``weight_decouple=True`` is the form 1 - η·λ that we have, ``False`` the paper's division by 1 + η·λ and not the
  coupled decay. With ``maximize`` it takes its first difference between gradients of opposite signs.
- LaProp is left out: it adds 1e-15 below the root and divides ε by the root of the bias correction too, averages the
  learning rates with the quotients, rounds step sizes to fp32, and decays after the step.
- All: it counts steps per parameter group, we per parameter. That shows only when gradients come and go.
"""

import numpy as np
import pytest

from tests.optim.test_papers import problem, run
from torchopt_notes import ADOPT, AdaBelief, Adan, AdEMAMix, Lion

peers = pytest.importorskip("pytorch_optimizer")

COUPLED = {"weight_decay": 0.1, "decoupled_weight_decay": False}
DECOUPLED = {"weight_decay": 0.1, "decoupled_weight_decay": True}
CASES = [
    ("Lion", Lion, {"betas": (0.8, 0.95), **DECOUPLED}, {}),
    ("Lion", Lion, {"maximize": True, **COUPLED}, {}),
    ("AdaBelief", AdaBelief, {"eps": 1e-3, **DECOUPLED}, {}),
    ("AdaBelief", AdaBelief, {"betas": (0.8, 0.95), **COUPLED}, {}),
    ("ADOPT", ADOPT, {"betas": (0.8, 0.95), **COUPLED}, {"clip_lambda": lambda step: (step - 1) ** 0.25}),
    ("ADOPT", ADOPT, {"clip_exponent": None, **DECOUPLED}, {"clip_lambda": None}),
    ("AdEMAMix", AdEMAMix, {"t_alpha": 15, "t_beta3": 15, **DECOUPLED}, {"t_alpha_beta3": 15}),
    ("AdEMAMix", AdEMAMix, {"alpha": 8.0, "betas": (0.8, 0.9, 0.99), **COUPLED}, {}),
    ("Adan", Adan, DECOUPLED, {}),
    ("Adan", Adan, {"betas": (0.8, 0.9, 0.7), "eps": 1e-3}, {}),
]
OURS_ALONE = {"clip_exponent", "t_alpha", "t_beta3"}


def their_arguments(arguments):
    """Ours in their words."""
    words = {"decoupled_weight_decay": "weight_decouple"}
    return {words.get(name, name): value for name, value in arguments.items() if name not in OURS_ALONE}


@pytest.mark.parametrize(("name", "ours", "arguments", "extra"), CASES)
def test_the_same_path(name, ours, arguments, extra):
    w, grads = problem()
    theirs = {**their_arguments(arguments), **extra, "lr": 0.1, "foreach": False}
    expected = run(getattr(peers, name), w, grads, **theirs)
    path = run(ours, w, grads, lr=0.1, backend="eager", **arguments)
    np.testing.assert_allclose(path, expected, rtol=1e-11, atol=1e-13)
