"""What trips optimizers up, tried on every one of them: late gradients, numbers that are none, mixed dtypes."""

import pytest
import torch

from tests.backends import HERE, MISSING
from torchopt_notes.optim.registry import optimizers
from torchopt_notes.testing.matrix import FEATURES, FP32, arguments, hole, needs_sparse

SHAPE = (5, 3)


def everywhere(*, compiled_is_slow=False):
    """Every optimizer on every backend of this process that takes dense gradients for it."""
    for name, cls in optimizers().items():
        for backend in HERE:
            reason = MISSING[backend] or (
                "takes sparse gradients only" if needs_sparse(cls) else hole(cls, backend, FP32)
            )
            marks = [pytest.mark.skipif(reason is not None, reason=str(reason))]
            marks += [pytest.mark.full] * (compiled_is_slow and backend == "compiled")
            yield pytest.param(cls, backend, marks=marks, id=f"{name}-{backend}")


def make(cls, params, backend):
    return cls(params, backend=backend, **arguments(cls, FP32))


def weights(count, dtype=torch.float32):
    generator = torch.Generator().manual_seed(0)
    return [torch.nn.Parameter(torch.randn(SHAPE, generator=generator, dtype=dtype)) for _ in range(count)]


def gradient(step, index, dtype=torch.float32):
    return torch.randn(SHAPE, generator=torch.Generator().manual_seed(100 * step + index), dtype=dtype)


def assert_states_alike(actual, expected):
    """The same names, shapes and dtypes."""
    assert actual.keys() == expected.keys()
    for name, value in expected.items():
        assert (actual[name].shape, actual[name].dtype) == (value.shape, value.dtype), name


@pytest.mark.parametrize(("cls", "backend"), list(everywhere()))
def test_gradients_that_are_late_or_come_and_go(cls, backend):
    """Each parameter goes its own way, as in an optimizer of its own that steps only when there is a gradient."""
    arrivals = [range(1, 9), (4, 5, 7), (1, 2, 8)]
    params, alone = weights(3), weights(3)
    together = make(cls, params, backend)
    separate = [make(cls, [param], "eager") for param in alone]
    for step in range(1, 9):
        for i, due in enumerate(arrivals):
            params[i].grad = gradient(step, i) if step in due else None
            if step in due:
                alone[i].grad = gradient(step, i)
                separate[i].step()
        together.step()
        assert step >= arrivals[1][0] or torch.equal(params[1], weights(3)[1])
    for i, due in enumerate(arrivals):
        torch.testing.assert_close(params[i], alone[i], rtol=1e-4, atol=1e-5)
        state, expected = together.state[params[i]], separate[i].state[alone[i]]
        assert_states_alike(state, expected)
        if "step" in state:
            assert state["step"].item() == len(due)


@pytest.mark.parametrize("value", [float("inf"), float("nan")], ids=str)
@pytest.mark.parametrize(("cls", "backend"), list(everywhere()))
def test_a_first_gradient_with_a_number_that_is_none(cls, backend, value):
    """It spoils its own element, or its own tensor if the rule looks at all of it, and nothing else."""
    runs = []
    for first in (1.0, value):
        params = weights(3)
        optimizer = make(cls, params, backend)
        for step in range(1, 4):
            for i, param in enumerate(params):
                param.grad = gradient(step, i)
            if step == 1:
                params[1].grad[2, 1] = first
            optimizer.step()
        runs.append((params, [optimizer.state[param] for param in params]))
    (expected, expected_states), (params, states) = runs
    others = torch.ones(SHAPE, dtype=torch.bool)
    others[2, 1] = False
    group = optimizer.param_groups[0]
    if optimizer.param_variant(optimizer.variant(group), group, params[1]).rule.span != "element":
        others[:] = False
    for i in range(3):
        assert_states_alike(states[i], expected_states[i])
        kept = others if i == 1 else slice(None)
        assert expected[i].isfinite().all()
        assert torch.equal(params[i][kept], expected[i][kept])


@pytest.mark.parametrize(("cls", "backend"), list(everywhere(compiled_is_slow=True)))
def test_mixed_dtypes(cls, backend):
    """Parameters of all dtypes in one optimizer are updated as each would be in an optimizer of its own."""
    plain = [feature for feature in FEATURES if not (feature.options or feature.sparse)]
    dtypes = [feature.dtype for feature in plain if hole(cls, backend, feature) is None]
    assert {torch.float32, torch.bfloat16} <= set(dtypes)
    params, alone = ([weights(1, dtype)[0] for dtype in dtypes] for _ in range(2))
    together = make(cls, params, backend)
    separate = [make(cls, [param], backend) for param in alone]
    for step in range(1, 4):
        for i, dtype in enumerate(dtypes):
            params[i].grad = gradient(step, i, dtype)
            alone[i].grad = gradient(step, i, dtype)
            separate[i].step()
        together.step()
    for i, dtype in enumerate(dtypes):
        assert torch.equal(params[i], alone[i]), dtype
        assert_states_alike(together.state[params[i]], separate[i].state[alone[i]])
