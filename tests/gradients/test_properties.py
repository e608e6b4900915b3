"""What holds for any parameters and options, found by hypothesis: every backend does what float64 says, and no more."""

import math
import random
import sys

import numpy as np
import pytest
import torch
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from hypothesis.configuration import set_hypothesis_home_dir

from tests.backends import BACKENDS
from tests.gradients import references
from tests.gradients.references import (
    DOUBLE,
    ONE_EACH,
    SHAPES,
    coefficient,
    fill,
    limited,
    make,
    step_within_bounds,
    total_norm,
)
from torchopt_notes import SGD, AdamW, NovoGrad
from torchopt_notes.testing import TOLERANCES
from torchopt_notes.testing.ulp import spacing

ON_EVERY_BACKEND = pytest.mark.parametrize("backend", BACKENDS)
PAD = 5
"""Elements around every tensor, which hold NaN: what reads them shows it, and so does what writes them."""

LIMITS = ("adaptive_clip", "adaptive_eps", "max_grad_value")
"""Applied by NumPy, so that the oracle sees how the result follows from the gradient that they leave."""

ROUNDINGS = 1 + 5 + 1 + 2
"""Units that the options add: one rounding of the gradient for the common number, five for a unit's, and those of
the limit, of the L1 penalty and of its product with lr."""


class Padded:
    """A tensor inside of a larger piece of memory, contiguous or not."""

    def __init__(self, values, layout):
        numel = values.numel()
        step = 2 if layout == "gaps" else 1
        self.memory = torch.full((numel * step + 2 * PAD,), torch.nan, dtype=values.dtype)
        strides = values.t().contiguous().t().stride() if layout == "transposed" and values.dim() == 2 else None
        strides = strides or values.contiguous().stride()
        self.tensor = self.memory.as_strided(values.shape, [s * step for s in strides], PAD)
        self.tensor.copy_(values)
        self.outside = torch.ones_like(self.memory, dtype=torch.bool)
        self.outside.as_strided(self.tensor.shape, self.tensor.stride(), PAD).fill_(False)

    def kept_to_itself(self):
        return bool(self.memory[self.outside].isnan().all()) and not self.tensor.isnan().any()


sizes = st.lists(st.integers(1, 6), max_size=3).map(tuple) | st.sampled_from([(0,), (3, 0), (1, 40), (130,)])
layouts = st.sampled_from(["contiguous", "transposed", "gaps"])
dtypes = st.sampled_from([torch.float32, torch.float32, torch.bfloat16, torch.float64])
limits = st.floats(0.01, 2.0)


@st.composite
def group_options(draw, case):
    """Some options of one parameter group, with values that make a difference."""
    found = {}
    for name in ("adaptive_clip", "max_grad_value"):
        if draw(st.booleans()):
            found[name] = draw(limits)
    if draw(st.booleans()):
        found["adaptive_eps"] = draw(st.floats(1e-3, 1.0))
    if draw(st.booleans()):
        found["l1"] = draw(st.floats(1e-3, 0.3))
    if draw(st.booleans()):
        found["weight_decay"] = draw(st.floats(1e-3, 0.5))
    if case.optimizer is AdamW or draw(st.booleans()):
        if case.optimizer is not AdamW:
            found["decoupled_weight_decay"] = True
        names = [n for n in ("cautious_weight_decay", "decouple_lr") if n not in case.optimizer.unsupported]
        found |= {name: True for name in names if draw(st.booleans())}
    return found


@st.composite
def problems(draw, cases, dtypes=dtypes, options=group_options):
    """Parameters in two groups with options, and gradients of some of them for a few steps."""
    case = draw(st.sampled_from(cases))
    dtypes = dtypes.filter(lambda dtype: case.takes(dtype))
    groups = [
        {
            "options": draw(options(case)),
            "tensors": [
                (draw(sizes), draw(layouts), draw(layouts), draw(dtypes)) for _ in range(draw(st.integers(1, 2)))
            ],
        }
        for _ in range(2)
    ]
    count = sum(len(group["tensors"]) for group in groups)
    steps = draw(
        st.lists(st.tuples(st.lists(st.booleans(), min_size=count, max_size=count), st.integers(-2, 2)), max_size=2)
    )
    shared = {}
    if draw(st.booleans()):
        shared["max_grad_norm"] = draw(limits)
        shared["grad_norm_type"] = draw(st.sampled_from([1.0, 2.0, 2.5]))
    return case, groups, [([True] * count, 0), *steps], shared, draw(st.integers(0, 999))


def lost_or_not(exact, inputs):
    """The elements that take a step which roundings may lose. Whether they took one decides about a cautious decay."""
    if not inputs.options.get("cautious_weight_decay"):
        return torch.zeros_like(exact, dtype=torch.bool)
    group, w = inputs.options, inputs.param.double()
    lr = group["lr"] / group.get("reference_lr", 1.0)
    moved = torch.ones_like(exact, dtype=torch.bool)
    for still in (w, w * (1 - lr * group.get("weight_decay", 0))):
        if group.get("l1"):
            still = still.sign() * (still.abs() - lr * group["l1"]).clamp(min=0)
        moved &= (exact - still).abs() > 16 * spacing(w, TOLERANCES[inputs.param.dtype].compute)
    return ~moved


def check(problem, backend):
    case, groups, steps, shared, seed = problem
    generator = torch.Generator().manual_seed(seed)

    def tensor(shape, layout, dtype, size=1.0):
        return Padded((torch.randn(shape, generator=generator, dtype=torch.float64) * size).to(dtype), layout)

    own = [[tensor(shape, layout, dtype) for shape, layout, _, dtype in group["tensors"]] for group in groups]
    params = [[torch.nn.Parameter(padded.tensor) for padded in these] for these in own]
    optimizer = case.optimizer(
        [{"params": these, **group["options"]} for these, group in zip(params, groups, strict=True)],
        **case.kwargs,
        **shared,
        backend=backend,
    )
    flat = [p for these in params for p in these]
    described = [description for group in groups for description in group["tensors"]]
    for present, power in steps:
        grads = [tensor(shape, layout, dtype, 10.0**power) for shape, _, layout, dtype in described]
        for param, grad, there in zip(flat, grads, present, strict=True):
            param.grad = grad.tensor if there else None
        given = [p.grad for p in flat if p.grad is not None]

        def gradient(w, g, group, given=given):
            scale = 1.0
            if "max_grad_norm" in shared:
                norm, exact = optimizer.grad_norm, total_norm(given, shared["grad_norm_type"])
                single = backend == "triton" or not any(g.dtype in DOUBLE for g in given)
                eps = torch.finfo(torch.float32 if single else norm.dtype).eps
                np.testing.assert_allclose(norm, exact, rtol=4 * eps)
                scale = coefficient(norm.numpy()[()], shared["max_grad_norm"])
            return limited(w, g, scale, **{name: group[name] for name in LIMITS if name in group})

        step_within_bounds(
            *(optimizer, case.optimizer, {**case.kwargs, "backend": "eager"}, case.units + ROUNDINGS, gradient),
            options=lambda group: {key: value for key, value in group.items() if key not in ("params", *LIMITS)},
            either=lost_or_not,
        )
        assert all(padded.kept_to_itself() for padded in (*grads, *[p for these in own for p in these]))


FEW = [
    {"l1": 0.01, "weight_decay": 0.1, "cautious_weight_decay": True},
    {"l1": 0.1, "max_grad_value": 0.5, "adaptive_clip": 0.1, "decouple_lr": True},
]
ADAMW = [case for case in ONE_EACH if case.optimizer is AdamW]


def cheaply(backend):
    """Problems of which a backend can take many: each choice of options, optimizer and dtype is compiled anew."""
    if backend != "compiled":
        return problems(ONE_EACH)
    return problems(ADAMW, st.just(torch.float32), lambda case: st.sampled_from(FEW))


@pytest.fixture(autouse=True)
def _no_files_in_the_repository(tmp_path):
    """hypothesis keeps what it reads in the sources, even without a database of examples."""
    set_hypothesis_home_dir(tmp_path)
    yield
    set_hypothesis_home_dir(None)


def run(examples, strategy, backend, phases=tuple(Phase)):
    """Checks so many problems, the same ones at each run, and keeps no files."""
    chosen = settings(max_examples=examples, deadline=None, database=None, derandomize=True, phases=phases)
    chosen(given(strategy)(lambda problem: check(problem, backend)))()


@ON_EVERY_BACKEND
def test_any_step_is_what_float64_says(backend):
    run({"eager": 200, "compiled": 15, "triton": 40}[backend], cheaply(backend), backend)


@pytest.mark.full
@ON_EVERY_BACKEND
def test_any_step_of_any_optimizer_is_what_float64_says(backend):
    run(100 if backend == "compiled" else 1000, problems(ONE_EACH), backend)


@ON_EVERY_BACKEND
@pytest.mark.parametrize("name", ["total_norm", "unit_scales"])
def test_another_rule_would_be_noticed(name, backend, monkeypatch):
    wrong = {"total_norm": lambda grads, order: 1.0, "unit_scales": lambda w, g, clip, eps: 0.5}[name]
    monkeypatch.setattr(sys.modules[__name__] if name == "total_norm" else references, name, wrong)
    with pytest.raises(AssertionError):
        run(10, cheaply(backend), backend, phases=[Phase.generate])


def other_options(draw):
    """Options of a group, of which any may be missing."""
    choices = {
        "adaptive_clip": [None, 0.1],
        "max_grad_value": [None, 0.05],
        "l1": [0, 0.01],
        "weight_decay": [0, 0.1],
        "cautious_weight_decay": [False, True],
        "decouple_lr": [False, True],
    }
    return {name: draw.choice(values) for name, values in choices.items()}


@pytest.mark.parametrize(
    ("case", "backend"),
    [
        pytest.param(
            *(case, parameter.values[0]),
            marks=[*parameter.marks, *([] if quick else [pytest.mark.full])],
            id=f"{case.name}-{parameter.values[0]}",
        )
        for parameter in BACKENDS
        for case in ONE_EACH
        for quick in [parameter.values[0] == "triton" and case.optimizer in (SGD, AdamW, NovoGrad)]
        if parameter.values[0] != "eager"
    ],
)
def test_everything_may_change_between_steps(case, backend):
    """As on the eager backend, which other tests compare with torch."""
    draw, decoupled = random.Random(0), {} if case.optimizer is AdamW else {"decoupled_weight_decay": True}
    runs = []
    for name in ("eager", backend):
        params = make(SHAPES, torch.float64)
        groups = [{"params": params[:2]}, {"params": params[2:]}]
        runs.append((params, case.optimizer(groups, **{**case.kwargs, **decoupled}, backend=name)))
    for step in range(8):
        shared = {
            "max_grad_norm": draw.choice([None, 0.1, 10.0, math.inf]),
            "grad_norm_type": draw.choice([1.0, 2.0, 3.0]),
            "skip_nonfinite": draw.choice([False, True]),
        }
        own = [{"lr": 0.1 / (step + 1), **other_options(draw)} for _ in range(2)]
        missing, broken = draw.choice([None, 0, 1, 3]), shared["skip_nonfinite"] and step % 2
        for params, optimizer in runs:
            for name, value in shared.items():
                setattr(optimizer, name, value)
            for group, options in zip(optimizer.param_groups, own, strict=True):
                group.update(options)
            fill(params, step)
            if broken:
                params[4].grad[0] = torch.nan
            if missing is not None:
                params[missing].grad = None
            optimizer.step()
        (eager, first), (others, second) = runs
        for ours, theirs in zip(others, eager, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-8, atol=1e-10)
        if first.grad_norm is None:
            assert second.grad_norm is None
        else:
            torch.testing.assert_close(second.grad_norm, first.grad_norm, equal_nan=True)
        assert second.skipped_steps == first.skipped_steps
