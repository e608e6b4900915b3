"""Against pytorch_optimizer and timm, where they do the same. Skipped where the package is not installed.

Where pytorch_optimizer does not, or only when asked to:

- ADOPT: it counts the steps of the clipping limit from 1 at the first gradient; the paper, and we, from 0. Its
  ``clip_lambda`` can say so.
- AdEMAMix: one length, ``t_alpha_beta3``, serves both schedules.
- Adan: ``weight_decouple=True`` is the form 1 - η·λ that we have, ``False`` the paper's division by 1 + η·λ and not the
  coupled decay. With ``maximize`` it takes its first difference between gradients of opposite signs.
- LAMB follows the paper's third version: the moments keep their bias. Yet steps are divided by 1 - β₁ᵗ, behind the
  ratio, unless a further argument, ``adam_debias=True``, is given. It limits ‖w‖ to 10, adds ε to ‖u‖ as well (hence
  the tiny ε below), and λ·w to the direction, as the paper does, only with ``weight_decouple=False``; ``True`` shrinks
  the weights before they are measured, outside of the ratio. With ``pre_norm`` it scales all gradients by their global
  norm.
- LaProp is left out: it adds 1e-15 below the root and divides ε by the root of the bias correction too, averages the
  learning rates with the quotients, rounds step sizes to fp32, and decays after the step.
- LARS is left out: vectors are always exempt, and the buffer is multiplied by the learning rate, so that a new rate
  rescales what earlier steps left there; the paper's buffer has the rates in it.
- NovoGrad: its ``weight_decouple=False`` is the paper's decay, through the momentum; ``True`` is AdamW's. With
  ``grad_averaging`` the first gradient is not weighed.
- All: it counts steps per parameter group, we per parameter. That shows only when gradients come and go.

Where timm does not: its LAMB clips the gradients' global norm at 1 unless ``max_grad_norm=None``, leaves the ratio at 1
where λ = 0 unless ``always_adapt`` (our default), and has a ``decoupled_decay`` that acts outside of the ratio, as none
of our forms does. It has no φ and no ``maximize``. Its Lion has no coupled decay.

Neither LAMB exempts vectors, nor do we without ``exempt_1d``; both leave that to the parameter groups.
"""

import importlib.util
import sys
import types
from pathlib import Path

import numpy as np
import pytest

from tests.optim.test_papers import problem, run
from torchopt_notes import ADOPT, LAMB, AdaBelief, Adan, AdEMAMix, Lion, NovoGrad, StableAdamW

COUPLED = {"weight_decay": 0.1, "decoupled_weight_decay": False}
DECOUPLED = {"weight_decay": 0.1, "decoupled_weight_decay": True}
DECAY = {"weight_decay": 0.1}
BETAS = {"betas": (0.8, 0.95)}
OF_THE_PAPER = {"weight_decouple": False}
TINY = {"eps": 1e-30}
LAMB_V3 = {"bias_correction": False, "clamp_value": 10.0}
UNDIVIDED = {"adam_debias": True}
UNCLIPPED = {"max_grad_norm": None}

# Their package and class, ours, the arguments of both, ours alone, theirs alone.
CASES = [
    ("pytorch_optimizer", "Lion", Lion, {**BETAS, **DECOUPLED}, {}, {}),
    ("pytorch_optimizer", "Lion", Lion, {"maximize": True, **COUPLED}, {}, {}),
    ("pytorch_optimizer", "AdaBelief", AdaBelief, {"eps": 1e-3, **DECOUPLED}, {}, {}),
    ("pytorch_optimizer", "AdaBelief", AdaBelief, {**BETAS, **COUPLED}, {}, {}),
    ("pytorch_optimizer", "ADOPT", ADOPT, {**BETAS, **COUPLED}, {}, {"clip_lambda": lambda step: (step - 1) ** 0.25}),
    ("pytorch_optimizer", "ADOPT", ADOPT, DECOUPLED, {"clip_exponent": None}, {"clip_lambda": None}),
    ("pytorch_optimizer", "AdEMAMix", AdEMAMix, DECOUPLED, {"t_alpha": 15, "t_beta3": 15}, {"t_alpha_beta3": 15}),
    ("pytorch_optimizer", "AdEMAMix", AdEMAMix, {"alpha": 8.0, "betas": (0.8, 0.9, 0.99), **COUPLED}, {}, {}),
    ("pytorch_optimizer", "Adan", Adan, DECOUPLED, {}, {}),
    ("pytorch_optimizer", "Adan", Adan, {"betas": (0.8, 0.9, 0.7), "eps": 1e-3}, {}, {}),
    ("pytorch_optimizer", "Lamb", LAMB, {**TINY, **DECAY}, LAMB_V3, {**OF_THE_PAPER, **UNDIVIDED}),
    ("pytorch_optimizer", "Lamb", LAMB, {**TINY, **BETAS, "maximize": True, "weight_decay": 0.0}, LAMB_V3, UNDIVIDED),
    ("pytorch_optimizer", "NovoGrad", NovoGrad, {**BETAS, "eps": 1e-3, **DECAY}, {}, OF_THE_PAPER),
    ("pytorch_optimizer", "NovoGrad", NovoGrad, {"maximize": True}, {}, {}),
    ("pytorch_optimizer", "StableAdamW", StableAdamW, {**BETAS, "eps": 1e-3, **DECOUPLED}, {}, {}),
    ("pytorch_optimizer", "StableAdamW", StableAdamW, {"eps": 1e-3, "maximize": True, **COUPLED}, {}, {}),
    ("timm", "Lamb", LAMB, {**BETAS, "eps": 1e-3, **DECAY}, {}, UNCLIPPED),
    ("timm", "Lamb", LAMB, {"trust_clip": True, "bias_correction": False, **DECAY}, {}, UNCLIPPED),
    ("timm", "Lamb", LAMB, {"weight_decay": 0.0, "always_adapt": True}, {}, UNCLIPPED),
    ("timm", "Lamb", LAMB, {"weight_decay": 0.0, "always_adapt": False}, {}, UNCLIPPED),
    ("timm", "Lion", Lion, {**BETAS, **DECAY}, {}, {}),
    ("timm", "Lion", Lion, {"maximize": True}, {}, {}),
]


def peer(package, name):
    """Their class. timm's is loaded without the rest of timm, which needs torchvision."""
    if package != "timm":
        return getattr(pytest.importorskip(package), name)
    found = importlib.util.find_spec("timm")
    if found is None:
        pytest.skip("timm is not installed")
    folder = types.ModuleType("timm_optim")
    folder.__path__ = [str(Path(found.origin).parent / "optim")]
    sys.modules.setdefault("timm_optim", folder)
    return getattr(importlib.import_module(f"timm_optim.{name.lower()}"), name)


def in_their_words(arguments):
    words = {"decoupled_weight_decay": "weight_decouple"}
    return {words.get(name, name): value for name, value in arguments.items()}


@pytest.mark.parametrize(("package", "name", "ours", "shared", "ours_alone", "theirs_alone"), CASES)
def test_the_same_path(package, name, ours, shared, ours_alone, theirs_alone):
    w, grads = problem()
    w = 3 * w  # so that ‖w‖ > 10
    expected = run(peer(package, name), w, grads, lr=0.1, foreach=False, **in_their_words(shared), **theirs_alone)
    path = run(ours, w, grads, lr=0.1, backend="eager", **shared, **ours_alone)
    np.testing.assert_allclose(path, expected, rtol=1e-11, atol=1e-13)
