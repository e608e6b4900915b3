"""Weight decay and L1 penalty in all their forms, on every optimizer and backend."""

import numpy as np
import pytest
import torch

from tests.backends import BACKENDS
from tests.gradients.references import ONE_EACH, cautious, fill, make, soft_threshold, step_within_bounds, wide
from torchopt_notes import ADOPT, ASGD, LAMB, LARS, SGD, Adafactor, AdamW, Momentum, NovoGrad

LR = [0.1, 0.05, 0.2, 0.1]
DECAY, L1 = 0.3, 0.1
SHAPES = [(), (5,), (4, 3)]
OWN = {"lambd": 0.0}
"""ASGD has a decay of its own besides, without which a gradient of zero changes nothing."""

OPTIMIZERS = [case.optimizer for case in ONE_EACH]


def cells(classes=OPTIMIZERS, compiled=AdamW):
    found = []
    for parameter in BACKENDS:
        for cls in classes:
            slow = parameter.values[0] == "compiled" and cls is not compiled
            marks = [*parameter.marks, *([pytest.mark.full] if slow else [])]
            found.append(
                pytest.param(cls, parameter.values[0], marks=marks, id=f"{cls.__name__}-{parameter.values[0]}")
            )
    return found


EVERY = pytest.mark.parametrize(("cls", "backend"), cells())
COMBINATIONS = pytest.mark.parametrize(
    ("decouple_lr", "l1"),
    [
        (False, 0),
        (True, L1),
        pytest.param(True, 0, marks=pytest.mark.full),
        pytest.param(False, L1, marks=pytest.mark.full),
    ],
)
ON_EVERY_BACKEND = pytest.mark.parametrize("backend", BACKENDS)


def build(cls, params, decoupled=None, **options):
    """An optimizer whose decay has this form, if the class leaves a choice."""
    own = OWN if cls is ASGD else {}
    form = {} if decoupled is None or cls is AdamW else {"decoupled_weight_decay": decoupled}
    with torch.no_grad():
        params[1][0] = 1e-3  # an L1 penalty makes this one zero
    return cls(params, lr=LR[0], **own, **form, **{"weight_decay": 0, **options})


def skip_unsupported(cls, **options):
    for name, value in options.items():
        if value and name in cls.unsupported:
            pytest.skip(f"{cls.__name__}: {cls.unsupported[name]}")


def steps(optimizer, params, rates=LR, size=0.0):
    """Takes steps with these learning rates, and yields the rates after each."""
    for i, lr in enumerate(rates):
        optimizer.param_groups[0]["lr"] = lr
        fill(params, i, size)
        optimizer.step()
        yield lr


def assert_close(params, expected, rtol=1e-12):
    for param, wanted in zip(params, expected, strict=True):
        np.testing.assert_allclose(wide(param), wanted, rtol=rtol, atol=rtol)


class Decayed:
    """What the decoupled form makes of a weight without a gradient, as the optimizers' papers have it."""

    def __init__(self, cls, params, amount):
        self.cls, self.amount = cls, amount  # amount is λ, or λ / lr₀ if lr counts relative to the first
        self.values = [wide(p) for p in params]
        self.momentum = [np.zeros_like(v) for v in self.values]

    def step(self, lr):
        if self.cls is LAMB:  # the ratio of w to λw undoes λ: a step has the size of lr
            self.values = [v * (1 - lr) for v in self.values]
        elif self.cls is NovoGrad:  # through the momentum
            self.momentum = [0.95 * m + self.amount * v for m, v in zip(self.momentum, self.values, strict=True)]
            self.values = [v - lr * m for v, m in zip(self.values, self.momentum, strict=True)]
        else:
            self.values = [v * (1 - lr * self.amount) for v in self.values]


@EVERY
@COMBINATIONS
def test_decoupled_decay_of_a_weight_without_a_gradient(cls, decouple_lr, l1, backend):
    """w·Π(1 - lrₜ·λ), or w·Π(1 - λ·lrₜ/lr₀); then the soft threshold."""
    skip_unsupported(cls, decouple_lr=decouple_lr)
    params = make(SHAPES, torch.float64)
    optimizer = build(cls, params, True, weight_decay=DECAY, l1=l1, decouple_lr=decouple_lr, backend=backend)
    base = LR[0] if decouple_lr else 1.0
    expected = Decayed(cls, params, DECAY / base)
    for lr in steps(optimizer, params):
        expected.step(lr)
        expected.values = [soft_threshold(v, lr * l1 / base) for v in expected.values]
        assert_close(params, expected.values)
    assert not l1 or {True, False} == {bool(w == 0) for p in params for w in p.reshape(-1)}
    with pytest.raises(AssertionError):
        assert_close(params, [v * (1 + 1e-9) for v in expected.values])


@EVERY
@COMBINATIONS
def test_cautious_decay_of_a_weight_without_a_gradient(cls, decouple_lr, l1, backend):
    """As the usual decoupled decay, also where the optimizer's own form is another one."""
    skip_unsupported(cls, decouple_lr=decouple_lr)
    params = make(SHAPES, torch.float64)
    options = {"weight_decay": DECAY, "l1": l1, "decouple_lr": decouple_lr}
    optimizer = build(cls, params, True, cautious_weight_decay=True, **options, backend=backend)
    base = LR[0] if decouple_lr else 1.0
    expected = [wide(p) for p in params]
    for lr in steps(optimizer, params):
        expected = [soft_threshold(v * (1 - lr / base * DECAY), lr / base * l1) for v in expected]
        assert_close(params, expected)


@EVERY
def test_what_looks_at_the_step(cls, backend):
    """Cautious decay and soft threshold, around the step of an optimizer without them."""
    ours, theirs = make(SHAPES, torch.float64), make(SHAPES, torch.float64)
    optimizer = build(cls, ours, True, weight_decay=DECAY, l1=0.05, cautious_weight_decay=True, backend=backend)
    plain = build(cls, theirs, True, backend="eager")
    agreed = []
    for i, lr in enumerate(LR):
        for params, opt in ((ours, optimizer), (theirs, plain)):
            opt.param_groups[0]["lr"] = lr
            fill(params, i)
            params[1].grad[0] = 0
        before = [wide(p) for p in ours]
        with torch.no_grad():
            for their, our in zip(theirs, ours, strict=True):
                their.copy_(our)
        optimizer.step()
        plain.step()
        after = [wide(p) for p in theirs]
        decayed = [cautious(b, a, lr * DECAY) for b, a in zip(before, after, strict=True)]
        assert_close(ours, [soft_threshold(d, lr * 0.05) for d in decayed])
        agreed += [d != a for d, a in zip(decayed, after, strict=True)]
    assert {True, False} <= {bool(x) for a in agreed for x in np.reshape(a, -1)} or cls is ADOPT
    with pytest.raises(AssertionError):
        assert_close(ours, [soft_threshold(a * (1 - lr * DECAY), lr * 0.05) for a in after])


@pytest.mark.parametrize(("cls", "backend"), cells([cls for cls in OPTIMIZERS if cls is not AdamW], compiled=SGD))
@pytest.mark.parametrize("kind", ["weight_decay", "l1"])
def test_coupled_penalties_are_gradients(cls, kind, backend):
    """λ·w or λ₁·sign(w), and nothing else. LARS measures its gradient without the decay; its paper's test knows."""
    if kind == "weight_decay" and cls is LARS:
        params = make(SHAPES, torch.float64)
        optimizer = LARS(params, lr=LR[0], momentum=0.5, weight_decay=DECAY, backend=backend)
        weights, momentum = [wide(p) for p in params], [0.0, 0.0, 0.0]
        for lr in steps(optimizer, params):
            momentum = [0.5 * m + lr * DECAY * w for m, w in zip(momentum, weights, strict=True)]
            weights = [w - m for w, m in zip(weights, momentum, strict=True)]
            assert_close(params, weights)
        return
    params = make(SHAPES)
    start = {"lr": 2.0**-4, "decoupled_weight_decay": False}  # a power of two: Rprop's first state
    start |= {"eps": (1e-7, 1e-3)} if cls is Adafactor else {}
    optimizer = cls(params, **start, **{"weight_decay": 0, kind: 0.3}, backend=backend)
    units = next(case.units for case in ONE_EACH if case.optimizer is cls)
    for _ in range(2):
        fill(params, 0, size=0.0)
        step_within_bounds(
            *(optimizer, cls, {**start, "weight_decay": 0}, units + 2),  # λ and the product are rounded
            lambda w, g, group: 0.3 * (w if kind == "weight_decay" else np.sign(w)),
        )


@pytest.mark.parametrize("cls", [cls for cls in OPTIMIZERS if cls is not AdamW])
def test_a_coupled_l1_penalty_has_the_bits_of_a_gradient(cls):
    ours, theirs = make(SHAPES), make(SHAPES)
    optimizer = cls(ours, lr=0.1, weight_decay=0, decoupled_weight_decay=False, l1=0.3, backend="eager")
    plain = cls(theirs, lr=0.1, weight_decay=0, backend="eager")
    for step in range(3):
        fill(ours, step)
        fill(theirs, step)
        for their in theirs:
            their.grad += 0.3 * their.detach().sign()
        optimizer.step()
        plain.step()
        assert all(map(torch.equal, ours, theirs))


@ON_EVERY_BACKEND
@pytest.mark.parametrize("cls", [SGD, Momentum], ids=lambda cls: cls.__name__)
def test_coupled_decay_of_plain_descent(cls, backend):
    params = make(SHAPES, torch.float64)
    optimizer = cls(params, lr=0.1, momentum=0, weight_decay=DECAY, backend=backend)
    expected = [wide(p) for p in params]
    for lr in steps(optimizer, params):
        expected = [v * (1 - lr * DECAY) for v in expected]
        assert_close(params, expected)


def first_step(cls, lr, weight_decay, dtype, backend, **options):
    """Where a weight of 1 goes with a gradient of 1."""
    param = torch.nn.Parameter(torch.ones(8, 8, dtype=dtype))
    own = OWN if cls is ASGD else {}
    optimizer = cls([param], lr=lr, weight_decay=weight_decay, backend=backend, **own, **options)
    param.grad = torch.ones_like(param)
    optimizer.step()
    return param.detach()


ROUNDED = [cls for cls in OPTIMIZERS if cls not in (ADOPT, LAMB, NovoGrad)]
"""ADOPT's first step is none. LAMB's has one size, with decay and without. NovoGrad's decay is part of its step."""


@pytest.mark.parametrize(("cls", "backend"), cells(ROUNDED))
@pytest.mark.parametrize("form", ["decoupled", "cautious", "l1"])
def test_bf16_weights_really_decay(cls, form, backend):
    """A bf16 weight of 1 moves when 2⁻⁹ is taken off it. Neither the decay nor the step takes as much; together they
    do, unless the decayed weight is rounded in between."""
    options = {} if cls is AdamW else {"decoupled_weight_decay": True}
    lr = 0.01 * 0.0012 / (1 - first_step(cls, 0.01, 0, torch.float64, "eager", **options)[0, 0].item())
    amount = 0.001 / lr
    options |= {"decoupled": {}, "cautious": {"cautious_weight_decay": True}, "l1": {"l1": amount}}[form]
    decay = 0 if form == "l1" else amount
    exact = first_step(cls, lr, decay, torch.float64, "eager", **options)
    np.testing.assert_allclose(exact, 1 - 0.0022, rtol=1e-5)
    assert (first_step(cls, lr, decay, torch.bfloat16, backend, **options) == 1 - 2.0**-8).all()


def test_the_wrong_way_loses_that_decay():
    weight = torch.ones((), dtype=torch.bfloat16)
    weight = (weight * (1 - 0.001)).to(torch.bfloat16)
    assert (weight.float() - 0.0012).to(torch.bfloat16) == 1


@ON_EVERY_BACKEND
@pytest.mark.parametrize("cls", [SGD, AdamW], ids=lambda cls: cls.__name__)
@pytest.mark.parametrize("form", ["decoupled", "cautious", "relative"])
def test_numbers_worked_out_on_the_device(cls, form, backend):
    """As those of the host, which the tests above know to be right."""
    options = {"decoupled": {}, "cautious": {"cautious_weight_decay": True}, "relative": {"decouple_lr": True}}[form]
    runs = [make(SHAPES, torch.float64) for _ in range(2)]
    for params, where in zip(runs, ({"capturable": True, "backend": backend}, {"backend": "eager"}), strict=True):
        optimizer = build(cls, params, True, weight_decay=DECAY, l1=0.02, **options, **where)
        for _ in steps(optimizer, params, size=1.0):
            pass
    assert_close(runs[0], map(wide, runs[1]))
