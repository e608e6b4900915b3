"""``torch.amp.GradScaler``: our optimizers unscale and skip by themselves, and come to what torch's come to."""

import contextlib
from collections.abc import Iterator

import pytest
import torch

from tests.backends import BACKENDS
from tests.gradients.common_amp import (
    EVERY,
    HOST_OR_DEVICE,
    INF,
    NAN,
    QUIET,
    SOME,
    SPARSE,
    Training,
    assert_close,
    assert_same,
    everywhere,
    host_blindfolded,
    named,
)
from torchopt_notes import SGD, AdamW, NAdam
from torchopt_notes.optim.registry import optimizers
from torchopt_notes.testing import ParityError, assert_parity
from torchopt_notes.testing.cases import CASES

OVERFLOWS = {"never": set(), "first": {1}, "consecutive": {1, 2, 4, 5}, "alternating": {2, 4, 6}}
"""At which steps a gradient overflows. Scales begin at 2⁴ and grow after two good steps: they go up and down."""

pytestmark = QUIET


class Scaled:
    """An optimizer that a GradScaler drives; seen from outside, one whose gradients are not scaled.

    Args:
        by_itself: False lets the scaler unscale and skip, as it does for torch's optimizers that are not fused.
        mislead: called with the optimizer once the scaler has told it what to do.
    """

    def __init__(self, optimizer, *, by_itself=True, mislead=None):
        self.optimizer = optimizer
        self.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**4, growth_interval=2)
        optimizer._step_supports_amp_scaling = by_itself
        if mislead is not None:
            optimizer.register_step_pre_hook(lambda told, *_: mislead(told))

    @property
    def param_groups(self):
        return self.optimizer.param_groups

    @property
    def state(self):
        return self.optimizer.state

    def step(self):
        scale = self.scaler.scale(torch.ones(()))
        for param in (param for group in self.param_groups for param in group["params"]):
            param.grad = None if param.grad is None else param.grad * scale
        self.scaler.step(self.optimizer)
        self.scaler.update()


def check(case, backend, overflows, *, steps=7, ulp=None, mislead=None, **options):
    """Parity with the reference under a scaler of its own, and both scalers in the same state afterwards."""
    made = []

    def ours(params, **kwargs):
        made.append(Scaled(case.optimizer(params, backend=backend, **kwargs, **options), mislead=mislead))
        return made[-1]

    def theirs(params, **kwargs):
        made.append(Scaled((case.reference or case.optimizer)(params, **kwargs), by_itself=False))
        return made[-1]

    def gradients(step, index, param, generator):
        grad = torch.randn(param.shape, dtype=param.dtype, generator=generator)
        if step in overflows and index == step % 2:
            grad.view(-1)[-1] = NAN if step % 3 == 0 else INF
        return grad.to_sparse(1) if case is SPARSE else grad

    assert_parity(
        ours,
        theirs,
        kwargs=case.kwargs,
        shapes=((17, 3), (9,), *([] if case is SPARSE else [()])),
        steps=steps,
        ulp=(0 if backend == "eager" else case.units) if ulp is None else ulp,
        gradients=gradients,
        lr_schedule=lambda step: 0.1 / step,
    )
    assert made[0].scaler.state_dict() == made[1].scaler.state_dict()
    assert made[0].optimizer.skipped_steps == sum(step <= steps for step in overflows)


def test_every_optimizer_tells_the_scaler():
    assert all(cls._step_supports_amp_scaling for cls in optimizers().values())


@pytest.mark.parametrize(("case", "backend"), everywhere())
def test_scaled_steps_are_the_references(case, backend):
    """On eager, where scales are powers of two, to the bit."""
    if backend == "eager":
        for overflows in OVERFLOWS.values():
            check(case, backend, overflows)
    else:
        check(case, backend, OVERFLOWS["consecutive"], steps=3)


# NAdam's product is rounded once on the device, and twice by the host, as in torch.
@pytest.mark.parametrize(
    ("case", "backend"), everywhere([case for case in CASES if case.optimizer is not NAdam], capturable=True)
)
def test_scaled_steps_are_the_references_where_the_device_decides(case, backend):
    check(case, backend, {2}, steps=3, ulp=case.units, capturable=True)


def _wrong_scale(optimizer):
    optimizer.grad_scale.mul_(2)


def _wrong_verdict(optimizer):
    optimizer.found_inf.zero_()


# What these do does not depend on how large a gradient is.
SCALE_FREE = {"signum-signsgd", "lars-nesterov", "lars-plain"}


@pytest.mark.parametrize(
    ("case", "backend"), everywhere([c for c in EVERY if c.name in SOME - SCALE_FREE], kernels={"adamw"})
)
def test_the_comparison_notices_a_wrong_scale_and_a_wrong_verdict(case, backend):
    """The negative control."""
    for mislead, overflows in ((_wrong_scale, set()), (_wrong_verdict, {2})):
        with pytest.raises(ParityError):
            check(case, backend, overflows, steps=3, ulp=case.units, mislead=mislead)


@pytest.fixture
def _poisoned_memory() -> Iterator[None]:
    torch.use_deterministic_algorithms(True)
    torch.utils.deterministic.fill_uninitialized_memory = True
    assert torch.empty(3).isnan().all()
    yield
    torch.use_deterministic_algorithms(False)


@pytest.mark.usefixtures("_poisoned_memory")
@pytest.mark.parametrize(("case", "backend"), everywhere(capturable=True))
def test_states_that_are_born_in_an_overflow(case, backend):
    """Where only the device knows of it they are made all the same, and what they hold is what new states hold."""
    training, spared = (Training(case, backend, capturable=True) for _ in range(2))
    training.optimizer.found_inf = torch.ones(())
    for _ in range(2):
        training.step(0, spoiled_by=INF)
    numbers = training.numbers()
    assert all(value.isfinite().all() for value in numbers.values())
    assert all(value == 0 for name, value in numbers.items() if name.endswith(".step"))
    training.optimizer.found_inf.zero_()
    for step in range(2):
        training.step(step)
        spared.step(step)
    assert_same(training.numbers(), spared.numbers())


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_scaler_waits_for_nothing(backend):
    training = Training(named("adamw"), backend, capturable=True, max_grad_norm=1.0)
    scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
    scale = scaler.scale(torch.ones(())).item()
    for step in range(5):
        training.load(step, factor=scale, spoiled_by=INF if step == 3 else None)
        with host_blindfolded() if step > 1 else contextlib.nullcontext():
            scaler.step(training.optimizer)
            scaler.update()
    assert (scaler.get_scale(), training.optimizer.skipped_steps) == (2.0, 1)


def clipped(optimizer_class, backend, way, limit, **options):
    """Steps with scaled gradients that are clipped in one way or another, and the norms that were found."""
    training = Training(named("sgd-momentum"), backend, **options)
    training.optimizer = optimizer_class([*training.params], lr=0.1, momentum=0.9, **options)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**16, growth_interval=1)
    norms = []
    if way != "torch":
        training.optimizer.backend = backend
    if "ours" in way:
        training.optimizer.max_grad_norm = limit
    for step in range(5):
        training.load(step, factor=scaler.scale(torch.ones(())), spoiled_by=INF if step == 2 else None)
        if way != "ours":
            scaler.unscale_(training.optimizer)
        if "ours" not in way:
            norms.append(torch.nn.utils.clip_grad_norm_(training.params, limit))
        scaler.step(training.optimizer)
        scaler.update()
        if "ours" in way:
            norms.append(training.optimizer.grad_norm)
    return training.numbers(), norms, scaler.state_dict()


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("way", ["ours", "ours, unscaled before", "clip_grad_norm_"])
@pytest.mark.parametrize("limit", [1.0, 1e3])
def test_what_is_clipped_is_the_unscaled_norm(limit, way, backend):
    numbers, norms, scaler = clipped(SGD, backend, way, limit)
    expected_numbers, expected_norms, expected_scaler = clipped(torch.optim.SGD, backend, "torch", limit)
    # Scale and limit are multiplied before they are rounded, and the norm is added up in fp64.
    assert_close(numbers, expected_numbers, rtol=1e-6, atol=1e-7)
    torch.testing.assert_close(norms, expected_norms, rtol=1e-6, atol=0)
    assert scaler == expected_scaler
    if backend == "eager" and way == "clip_grad_norm_":
        assert_same(numbers, expected_numbers)
    if limit == 1.0:  # the negative control: the limit is felt
        unlimited, *_ = clipped(SGD, backend, way, INF)
        with pytest.raises(AssertionError):
            assert_close(unlimited, expected_numbers)


@pytest.mark.parametrize("backend", BACKENDS)
@HOST_OR_DEVICE
@pytest.mark.parametrize("name", ["sgd-dampening", "nadam"])
def test_training_goes_on_with_and_without_a_scaler(name, capturable, backend):
    training, plain = (Training(named(name), backend, capturable=capturable) for _ in range(2))
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**8, growth_interval=2)
    for step, kind in enumerate("x.x..x."):
        if kind == "x":
            scale = scaler.scale(torch.ones(()))
            training.load(step, factor=scale, spoiled_by=INF)
            scaler.step(training.optimizer)
            scaler.update()
            training.load(step, factor=scaler.get_scale())
            scaler.step(training.optimizer)
            scaler.update()
        else:
            training.step(step)
        plain.step(step)
        assert not hasattr(training.optimizer, "grad_scale")
        assert not hasattr(training.optimizer, "found_inf")
    assert_same(training.numbers(), plain.numbers())
    assert training.optimizer.skipped_steps == 3


def test_two_optimizers_and_one_scaler():
    """Each skips for its own gradients; the scale backs off for either."""
    scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
    params = [torch.nn.Parameter(torch.ones(3)) for _ in range(2)]
    pair = [AdamW([param]) for param in params]
    scaler.scale((params[0] * 1e38).sum() + params[1].sum()).backward()
    for optimizer in pair:
        scaler.step(optimizer)
    scaler.update()
    assert [optimizer.skipped_steps.item() for optimizer in pair] == [1, 0]
    assert torch.equal(params[0].detach(), torch.ones(3))
    assert not torch.equal(params[1].detach(), torch.ones(3))
    assert scaler.get_scale() == 2.0


def test_a_disabled_scaler_and_no_gradients():
    param = torch.nn.Parameter(torch.ones(3))
    optimizer = AdamW([param])
    enabled = torch.amp.GradScaler("cpu")
    enabled.scale(torch.ones(()))
    enabled.step(optimizer)
    scaler = torch.amp.GradScaler("cpu", enabled=False)
    scaler.step(optimizer)
    param.grad = torch.ones(3)
    scaler.step(optimizer)
    assert optimizer.state[param]["step"] == 1
    assert optimizer.skipped_steps == 0
