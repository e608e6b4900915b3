"""The range test: what it finds, and that it leaves no trace."""

import copy
import itertools
import math
import random

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import BatchSampler, DataLoader, RandomSampler, TensorDataset

import torchopt_notes as optim
from tests.backends import backend
from torchopt_notes.groups import param_groups
from torchopt_notes.schedules import RangeTest, Scheduler, lr_range_test, warmup

DEVICES = [
    "cpu",
    pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")),
]


class Weight(nn.Module):
    """One number, whatever the inputs."""

    def __init__(self, value=1.0, dtype=torch.float64):
        super().__init__()
        self.w = nn.Parameter(torch.tensor(value, dtype=dtype))

    def forward(self, inputs):
        return self.w


def quadratic(curvature, optimizer=torch.optim.SGD, **options):
    """A range test of ``curvature / 2 · w²``."""
    model = Weight()
    return lr_range_test(
        model, lambda w, _: curvature / 2 * w**2, [(0, 0)], optimizer(model.parameters(), lr=1.0), **options
    )


def scripted(losses, **options):
    """A range test which sees these losses, whatever it does."""
    model = Weight()
    coming = iter(losses)
    return lr_range_test(
        model,
        lambda w, _: 0 * w + next(coming),
        [(0, 0)],
        torch.optim.SGD(model.parameters(), lr=1.0),
        **{"steps": len(losses)} | options,
    )


# What it finds


@pytest.mark.parametrize("curvature", [0.25, 3.0, 500.0])
def test_on_a_quadratic_the_loss_grows_above_two_over_the_curvature_and_not_below(curvature):
    found = quadratic(curvature, start=1e-4, end=100.0, steps=150, smoothing=0.0)
    after = list(zip(found.lrs, found.losses, found.losses[1:], strict=False))
    falling = [lr for lr, before, then in after if then < before]
    rising = [lr for lr, before, then in after if then > before]
    assert max(falling) < 2 / curvature < min(rising)
    assert found.diverged


@pytest.mark.parametrize("smoothing", [0.0, 0.5, 0.9])
@pytest.mark.parametrize("curvature", [0.25, 3.0, 500.0])
def test_the_suggestion_on_a_quadratic_is_stable_and_not_timid(curvature, smoothing):
    found = quadratic(curvature, smoothing=smoothing, end=100.0)
    assert 0.01 / curvature < found.suggestion < 2 / curvature < found.lrs[-1]


def test_the_suggestion_scales_with_the_problem():
    ratio = quadratic(1.0, end=100.0).suggestion / quadratic(100.0, end=100.0).suggestion
    assert ratio == pytest.approx(100, rel=0.3)  # a step of the test is a factor of 1.2


def test_a_regression_diverges_above_two_over_the_largest_curvature():
    x = torch.randn(64, 5, dtype=torch.float64) * torch.tensor([0.1, 0.3, 1.0, 2.0, 4.0])
    y = x @ torch.randn(5, 1, dtype=torch.float64) + 0.1
    model = nn.Linear(5, 1, dtype=torch.float64)
    ones = torch.cat([x, torch.ones(64, 1)], dim=1)
    stable = 2 / torch.linalg.eigvalsh(2 / 64 * ones.mT @ ones)[-1].item()
    found = lr_range_test(
        model, nn.functional.mse_loss, [(x, y)], torch.optim.SGD(model.parameters(), lr=1.0), steps=200
    )
    assert found.diverged
    assert stable < found.lrs[-1] < 10 * stable
    assert 0.01 * stable < found.suggestion < stable


def test_climbing_finds_nothing():
    found = quadratic(1.0, lambda params, lr: torch.optim.SGD(params, lr, maximize=True), end=0.1)
    assert found.suggestion is None
    assert quadratic(1.0, end=0.1).suggestion is not None  # a control


def test_rates_grow_exponentially_from_start_to_end():
    seen = []
    model = Weight()
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    optimizer.register_step_pre_hook(lambda opt, *_: seen.append(opt.param_groups[0]["lr"]))
    found = lr_range_test(model, lambda w, _: w**2, [(0, 0)], optimizer, start=1e-3, end=0.3, steps=7)
    assert list(found.lrs) == seen
    assert (seen[0], seen[-1], len(seen)) == (1e-3, 0.3, 7)
    ratios = [after / before for before, after in itertools.pairwise(seen)]
    assert ratios == pytest.approx([300 ** (1 / 6)] * 6, rel=1e-12)


@pytest.mark.parametrize("smoothing", [0.0, 0.5, 0.98])
def test_smoothed_losses_are_weighted_means(smoothing):
    losses = [random.Random(0).uniform(1, 2) + math.sin(i) / 3 for i in range(30)]
    found = scripted(losses, smoothing=smoothing)
    assert list(found.losses) == losses
    for i, value in enumerate(found.smoothed):
        weights = [smoothing ** (i - j) for j in range(i + 1)]
        assert value == pytest.approx(np.average(losses[: i + 1], weights=weights), rel=1e-12)
    assert (list(found.smoothed) == pytest.approx(losses)) == (smoothing == 0)


@pytest.mark.parametrize(
    ("losses", "options", "ending"),
    [
        ([1, 0.5, 2.0, 0.1], {}, 0.41),  # 4 times the lowest is allowed, more is not
        ([1, 0.5], {}, 2.01),
        ([1, 0.5, 2.01, 9.0], {"stop_at": 18.1}, 9.1),
        ([1, 2, 3, 4], {}, 5),
        ([1, 2, 3, 4], {}, math.nan),
        ([1, 2, 3, 4], {}, math.inf),
        ([1, 0.5, 2.01, 1e30], {"stop_at": math.inf}, math.nan),
        ([1, 0.5, 2.01, 1e30], {"stop_at": math.inf}, math.inf),
        ([-1, -4, -8, 0, 16], {}, 16.1),  # below zero, a rise by 3 times the depth
        ([0, 0, 0], {}, 1e-9),
    ],
)
def test_where_it_stops(losses, options, ending):
    goes_on = scripted([*losses, losses[-1]], smoothing=0.0, **options)
    assert (len(goes_on.losses), goes_on.diverged) == (len(losses) + 1, False)
    found = scripted([*losses, ending, losses[-1]], smoothing=0.0, **options)
    assert (len(found.losses), found.diverged) == (len(losses) + 1, True)
    assert len(found.lrs) == len(found.smoothed) == len(found.losses)


def test_it_is_the_smoothed_loss_that_stops():
    losses = [1.0] * 10 + [6.0] + [1.0] * 9
    assert not scripted(losses).diverged
    assert scripted(losses, smoothing=0.0).diverged


LRS = tuple(10.0 ** (i / 10 - 7) for i in range(60))


def curve(falls, start=10.0):
    """60 losses: level, but for these changes."""
    return tuple(start + sum(change for at, change in falls.items() if at < i) for i in range(60))


def suggestion(losses, **options):
    return RangeTest(LRS[: len(losses)], losses, losses, **options).suggestion


def test_the_suggestion_is_the_step_after_which_the_loss_falls_most():
    assert suggestion(curve({20: -1, 30: -3, 40: -2})) == LRS[30]
    assert suggestion(curve({20: -1, 30: -1.5, 40: -2})) == LRS[40]


def test_slopes_are_over_the_logarithm():
    lrs = (*LRS[:31], *[10 * lr for lr in LRS[31:]])
    losses = curve({20: -2, 30: -3})
    assert RangeTest(lrs, losses, losses).suggestion == lrs[20]
    assert suggestion(losses) == LRS[30]


def test_the_first_and_the_last_points_do_not_count():
    assert suggestion(curve({5: -5, 20: -1})) == LRS[20]
    assert suggestion(curve({6: -5, 20: -1})) == LRS[6]
    assert suggestion(curve({20: -1, 56: -5})) == LRS[20]
    assert suggestion(curve({20: -1, 55: -5})) == LRS[55]


def test_a_fall_after_the_explosion_does_not_count():
    assert suggestion(curve({20: -1, 40: +9, 45: -9})) == LRS[20]
    assert suggestion(curve({20: -1, 40: +9, 45: -9.1})) == LRS[45]  # to where it never was before


@pytest.mark.parametrize("falls", [{}, {30: +1}, {30: +1, 40: -0.5}, {3: -1}, {58: -1}])
def test_no_suggestion_where_the_loss_never_fell(falls):
    assert suggestion(curve(falls)) is None


@pytest.mark.parametrize("points", range(12))
def test_no_suggestion_from_a_few_points(points):
    losses = tuple(float(-i) for i in range(points))
    assert (suggestion(losses) is None) == (points < 10)
    ended = (*losses, math.nan)
    assert (suggestion(ended, diverged=True) is None) == (points + 1 < 10)


def test_the_loss_that_ended_the_test_does_not_count():
    losses = (*curve({5: -1})[:14], -math.inf)
    assert suggestion(losses, diverged=True) == LRS[5]
    assert suggestion(losses) == LRS[13]


def test_it_prints_in_one_line():
    found = quadratic(1.0, end=100.0)
    assert repr(found).startswith(f"RangeTest({len(found.lrs)} steps, lr 1e-07 to ")
    assert ", diverged, suggestion 0." in repr(found)
    assert len(repr(found)) < 100
    assert repr(RangeTest((), (), ())) == "RangeTest(0 steps, no lr, suggestion None)"
    assert found == quadratic(1.0, end=100.0) != quadratic(2.0, end=100.0)


# Groups


def rates_seen(optimizer, model, *, key="lr", **options):
    seen = []
    handle = optimizer.register_step_pre_hook(
        lambda opt, *_: seen.append([float(group[key]) for group in opt.param_groups])
    )
    found = lr_range_test(
        model,
        nn.functional.mse_loss,
        [(torch.ones(4, 3), torch.zeros(4, 3))],
        optimizer,
        **{"steps": 4, "start": 1e-4, "end": 0.1} | options,
    )
    handle.remove()
    return found, seen


def three_layers():
    return nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3), nn.Linear(3, 3))


@pytest.mark.parametrize("as_tensor", [False, True])
def test_groups_keep_their_ratio_to_the_largest(as_tensor):
    model = three_layers()
    rates = [0.25, 0.5, 0.125]
    groups = [
        {"params": list(layer.parameters()), "lr": torch.tensor(rate, dtype=torch.float64) if as_tensor else rate}
        for layer, rate in zip(model, rates, strict=True)
    ]
    tensors = [group["lr"] for group in groups]
    optimizer = torch.optim.AdamW(groups, foreach=False)
    found, seen = rates_seen(optimizer, model)
    assert seen == [[lr * 0.5, lr, lr * 0.25] for lr in found.lrs]
    assert [group["lr"] for group in optimizer.param_groups] == rates
    assert not as_tensor or all(a is group["lr"] for a, group in zip(tensors, optimizer.param_groups, strict=True))


def test_layerwise_rates():
    model = nn.Sequential(three_layers(), nn.Linear(3, 3))
    optimizer = optim.AdamW(param_groups(model, lr=0.3, layer_decay=0.5, layers="0"))
    found, seen = rates_seen(optimizer, model)
    for lr, rates in zip(found.lrs, seen, strict=True):
        groups = param_groups(model, lr=lr, layer_decay=0.5, layers="0")
        assert len({group["lr"] for group in groups}) == 4
        assert rates == pytest.approx([group["lr"] for group in groups])


def test_a_frozen_group_stays_frozen():
    model = three_layers()
    optimizer = torch.optim.SGD([{"params": model[0].parameters(), "lr": 0.0}, {"params": model[1].parameters()}])
    found, seen = rates_seen(optimizer, model)
    assert seen == [[0.0, lr] for lr in found.lrs]


@pytest.mark.parametrize("scheduler", [torch.optim.lr_scheduler.LambdaLR, Scheduler])
def test_ratios_are_those_of_the_base_values_during_a_warmup(scheduler):
    model = three_layers()
    optimizer = torch.optim.SGD([{"params": model[0].parameters()}, {"params": model[1].parameters(), "lr": 1.0}], 0.25)
    multiplier = warmup(10)
    scheduler(optimizer, **({"lr": multiplier} if scheduler is Scheduler else {"lr_lambda": multiplier}))
    assert [group["lr"] for group in optimizer.param_groups] == [0.0, 0.0]
    found, seen = rates_seen(optimizer, model)
    assert seen == [[lr * 0.25, lr] for lr in found.lrs]


def test_without_any_rate_groups_are_equal():
    model = three_layers()
    optimizer = torch.optim.SGD([{"params": layer.parameters()} for layer in model], lr=0.0)
    found, seen = rates_seen(optimizer, model)
    assert seen == [[lr] * 3 for lr in found.lrs]


@pytest.mark.parametrize("as_tensor", [False, True])
def test_penalties_that_do_not_grow_with_the_rate_do_not_grow_here(as_tensor):
    def shrinking(**options):
        """By what the weights of a layer without gradients are multiplied in each step."""
        model = three_layers()
        lr = torch.tensor(1e-3) if as_tensor else 1e-3
        optimizer = optim.SGD(model.parameters(), lr, weight_decay=0.125, decoupled_weight_decay=True, **options)
        model[0].weight.register_hook(torch.zeros_like)
        norms = [model[0].weight.norm().item()]
        optimizer.register_step_post_hook(lambda *_: norms.append(model[0].weight.norm().item()))
        before = fingerprint(model, optimizer)
        rates_seen(optimizer, model, start=1.0, end=4.0, steps=3)
        assert fingerprint(model, optimizer) == before
        return [after / before for before, after in itertools.pairwise(norms)]

    assert shrinking(decouple_lr=True) == pytest.approx([0.875] * 3)
    assert shrinking() == pytest.approx([0.875, 0.75, 0.5])


def test_a_group_without_a_rate():
    model = Weight()
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    optimizer.param_groups[0]["lr"] = None
    with pytest.raises(ValueError, match="lr_range_test: the optimizer's groups have no number 'lr' to drive"):
        lr_range_test(model, lambda w, _: w, [(0, 0)], optimizer)


# Batches


class Takes(nn.Module):
    """Notes how it was called."""

    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.ones(()))

    def forward(self, *args, **kwargs):
        CALLS.append((args, kwargs))
        return self.w


CALLS = []


def calls(batches, **options):
    CALLS.clear()
    model = Takes()
    found = lr_range_test(
        model,
        lambda w, target: CALLS.append(target) or w**2,
        batches,
        torch.optim.SGD(model.parameters(), lr=1.0),
        **{"steps": 2, "end": 1e-3} | options,
    )
    return found, list(zip(CALLS[::2], CALLS[1::2], strict=True))


ONE, TWO = torch.tensor([1.0]), torch.tensor([2.0])


@pytest.mark.parametrize("pair", [tuple, list])
@pytest.mark.parametrize(
    ("inputs", "args", "kwargs"),
    [
        (ONE, (ONE,), {}),
        ((ONE, TWO), (ONE, TWO), {}),
        ([ONE, [TWO]], (ONE, [TWO]), {}),
        ({"a": ONE, "b": {"c": TWO}}, (), {"a": ONE, "b": {"c": TWO}}),
        ("text", ("text",), {}),
    ],
)
def test_how_the_model_is_called(inputs, args, kwargs, pair):
    _, seen = calls([pair((inputs, [TWO, "label"]))])
    assert seen == [((args, kwargs), [TWO, "label"])] * 2


def test_a_packed_sequence_is_one_input():
    packed = nn.utils.rnn.pack_sequence([torch.ones(3, 2), torch.ones(2, 2)])
    _, seen = calls([(packed, 0)])
    assert all(torch.equal(args[0].data, packed.data) and len(args) == 1 for (args, _), _ in seen)


class Elsewhere:
    """Something that can be moved."""

    def __init__(self, device="elsewhere"):
        self.device = device

    def to(self, device):
        return Elsewhere(device)


def test_batches_are_moved_to_the_model():
    given = Elsewhere()
    _, seen = calls([((given, {"a": [given]}), (given,))])
    ((args, _), targets), _ = seen
    moved = (args[0], args[1]["a"][0], targets[0])
    assert [one.device for one in moved] == [torch.device("cpu")] * 3
    assert given.device == "elsewhere"


def test_nothing_is_moved_when_parameters_are_in_several_places():
    model = Weight()
    model.elsewhere = nn.Parameter(torch.ones((), device="meta"))
    seen = []
    lr_range_test(
        model,
        lambda w, target: seen.append(target.device) or w**2,
        [(0, Elsewhere())],
        torch.optim.SGD([model.w], lr=1.0),
        steps=2,
    )
    assert seen == ["elsewhere"] * 2


def test_what_ends_is_begun_anew():
    _, seen = calls([(i, i) for i in range(3)], steps=7)
    assert [target for _, target in seen] == [0, 1, 2, 0, 1, 2, 0]


def test_an_iterator_ends_the_test_and_no_batch_more_than_needed_is_taken():
    coming = iter([(i, i) for i in range(5)])
    found, seen = calls(coming, steps=3)
    assert [target for _, target in seen] == [0, 1, 2]
    found, seen = calls(coming, steps=9)
    assert [target for _, target in seen] == [3, 4]
    assert (len(found.lrs), found.diverged, found.suggestion) == (2, False, None)
    with pytest.raises(ValueError, match="batches gave no batch at all; an iterator that has been used up"):
        calls(coming)


@pytest.mark.parametrize("nothing", [[], (), iter(()), DataLoader([])])
def test_no_batch_at_all(nothing):
    with pytest.raises(ValueError, match="batches gave no batch at all"):
        calls(nothing)


@pytest.mark.parametrize(
    ("batch", "got"),
    [(torch.ones(2, 3), "Tensor"), ((1, 2, 3), "tuple of 3"), ([1], "list of 1"), ({"x": 1, "y": 2}, "dict")],
)
def test_batches_that_are_no_pairs(batch, got):
    with pytest.raises(TypeError, match=rf"batches must give pairs \(inputs, targets\), got {got}$"):
        calls([batch])


# That it leaves no trace


class Net(nn.Module):
    """Much of what a test could disturb: batch norm, dropout, buffers of all kinds, attributes, a frozen weight."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(
            nn.Linear(6, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.3), nn.Linear(16, 3), nn.Dropout(0.5)
        )
        self.frozen = nn.Parameter(torch.ones(3), requires_grad=False)
        self.unused = nn.Parameter(torch.ones(2))
        self.beside = nn.Parameter(torch.ones(3))  # trained by nobody, but it gets gradients
        self.register_buffer("assigned", torch.zeros(3), persistent=False)
        self.register_buffer("grown", None)
        self.register_buffer("expanded", torch.zeros(1).expand(4))
        self.calls = 0
        self.seen = []
        self.cache = {"mean": torch.zeros(3)}
        self.body[5].eval()

    def forward(self, x):
        self.calls += 1
        self.seen.append(self.calls)
        self.cache["mean"].add_(1)
        self.cache[self.calls] = None
        self.expanded[:1].add_(1)
        y = self.body(x) * self.frozen + self.beside
        self.assigned = self.assigned * 0.9 + y.detach().mean(0)
        self.grown = y.detach().clone()
        return y


def batch(seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(8, 6, generator=generator), torch.randint(0, 3, (8,), generator=generator)


BATCHES = [batch(0), batch(1), batch(2)]
DATA = TensorDataset(torch.cat([x for x, _ in BATCHES]), torch.cat([y for _, y in BATCHES]))

OPTIMIZERS = {
    "torch-sgd": lambda groups: torch.optim.SGD(groups, lr=0.05, momentum=0.9),
    "torch-adamw": lambda groups: torch.optim.AdamW(groups, lr=torch.tensor(0.01), foreach=False),
    "torch-adamw-fused": lambda groups: torch.optim.AdamW(groups, lr=0.01, fused=True),
    "sgd": lambda groups: optim.SGD(groups, lr=0.05, momentum=0.9, backend="eager", skip_nonfinite=True),
    "adamw-eager": lambda groups: optim.AdamW(groups, lr=torch.tensor(0.01), backend="eager", max_grad_norm=1.0),
    "adamw-compiled": lambda groups: optim.AdamW(groups, lr=0.01, backend="compiled", max_grad_norm=1.0),
    "asgd": lambda groups: optim.ASGD(groups, lr=0.01, backend="eager"),
}
NAMES = [pytest.param(name, marks=backend("compiled").marks if name == "adamw-compiled" else ()) for name in OPTIMIZERS]


def training(name, *, before=3, device="cpu"):
    """A model and its optimizer after a few steps."""
    torch.manual_seed(0)
    model = Net().to(device)
    elsewhere = nn.Parameter(torch.ones(2, device=device))  # of no module
    optimizer = OPTIMIZERS[name]([{"params": list(model.body.parameters())}, {"params": [model.unused, elsewhere]}])
    train(model, optimizer, before)
    return model, optimizer


def train(model, optimizer, steps):
    losses = []
    for i in range(steps):
        x, y = (one.to(model.frozen.device) for one in BATCHES[i % 3])
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def range_test(model, optimizer, batches=BATCHES, loss_fn=nn.functional.cross_entropy, **options):
    return lr_range_test(model, loss_fn, batches, optimizer, **{"steps": 12, "start": 1e-4} | options)


def frozen(value):
    """The content of a value, and which object it is where that matters."""
    if isinstance(value, Tensor):
        grad = frozen(value.grad) if value.is_leaf else None
        content = (
            value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes() if value.numel() else b""
        )
        return id(value), value.data_ptr(), tuple(value.shape), value.dtype, content, value.requires_grad, grad
    if isinstance(value, torch.Generator):
        return frozen(value.get_state())[4]
    if isinstance(value, dict):
        return id(value), [(key if isinstance(key, str) else id(key), frozen(one)) for key, one in value.items()]
    if isinstance(value, (list, tuple)):
        return type(value), [frozen(one) for one in value]
    return value if isinstance(value, (int, float, str, bytes, type(None))) else id(value)


ENGINE_INTERNAL = ("_plan", "_in_kernel")


def fingerprint(model, optimizer, *others):
    """All that anybody could see of both, and of the random states."""
    return {
        "modules": [frozen({k: v for k, v in vars(m).items() if k != "_modules"})[1] for m in model.modules()],
        "optimizer": frozen({k: v for k, v in vars(optimizer).items() if k not in ENGINE_INTERNAL})[1],
        "norm": [
            float(one)
            for one in (getattr(optimizer, "grad_norm", 0), getattr(optimizer, "skipped_steps", 0))
            if one is not None
        ],
        "random": (
            random.getstate(),
            frozen(torch.get_rng_state())[4],
            np.random.get_state()[1].tobytes(),
            np.random.get_state()[2],
        ),
        "others": [frozen(one) for one in others],
    }


@pytest.mark.parametrize("before", [0, 3], ids=["new", "mid-training"])
@pytest.mark.parametrize("name", NAMES)
def test_everything_is_as_it_was(name, before):
    model, optimizer = training(name, before=before)
    was = fingerprint(model, optimizer)
    found = range_test(model, optimizer)
    assert len(found.lrs) == 12 or found.diverged
    assert fingerprint(model, optimizer) == was
    # A control: the same steps, made by hand, leave traces in all of it.
    train(model, optimizer, 1)
    now = fingerprint(model, optimizer)
    assert all(now[part] != was[part] for part in ("modules", "optimizer", "random"))


TRACES = {
    "parameter": lambda model, opt: model.body[0].weight.data.mul_(1 + 1e-6),
    "parameter of no module": lambda model, opt: opt.param_groups[1]["params"][1].data.add_(1e-6),
    "another parameter": lambda model, opt: setattr(model, "unused", nn.Parameter(model.unused.detach().clone())),
    "requires_grad": lambda model, opt: model.frozen.requires_grad_(),
    "gradient": lambda model, opt: model.body[0].weight.grad.add_(1e-6),
    "another gradient": lambda model, opt: setattr(model.beside, "grad", model.beside.grad.clone()),
    "no gradient": lambda model, opt: setattr(model.beside, "grad", None),
    "running mean": lambda model, opt: model.body[1].running_mean.add_(1e-6),
    "buffer": lambda model, opt: setattr(model, "assigned", model.assigned.clone()),
    "expanded buffer": lambda model, opt: model.expanded[:1].add_(1),
    "cache": lambda model, opt: model.cache["mean"].add_(1),
    "attribute": lambda model, opt: setattr(model, "calls", 0),
    "list": lambda model, opt: model.seen.pop(),
    "mode": lambda model, opt: model.train(),
    "state": lambda model, opt: opt.state[model.body[0].weight]["exp_avg"].mul_(1 + 1e-6),
    "another state": lambda model, opt: opt.load_state_dict(opt.state_dict()),
    "less state": lambda model, opt: opt.state.pop(model.body[0].weight),
    "count": lambda model, opt: opt.state[model.body[0].weight]["step"].add_(1),
    "rate": lambda model, opt: opt.param_groups[0]["lr"].add_(1e-6),
    "another tensor as rate": lambda model, opt: opt.param_groups[0].update(lr=opt.param_groups[0]["lr"].clone()),
    "group key": lambda model, opt: opt.param_groups[0].update(initial_lr=1.0),
    "attribute of the optimizer": lambda model, opt: setattr(opt, "_opt_called", True),
    "python's randomness": lambda model, opt: random.random(),
    "numpy's randomness": lambda model, opt: np.random.rand(),
    "torch's randomness": lambda model, opt: torch.rand(1),
}


@pytest.mark.parametrize("trace", TRACES)
def test_each_trace_would_be_noticed(trace):
    model, optimizer = training("torch-adamw")
    was = fingerprint(model, optimizer)
    assert fingerprint(model, optimizer) == was
    with torch.no_grad():
        TRACES[trace](model, optimizer)
    assert fingerprint(model, optimizer) != was


@pytest.mark.parametrize("trace", TRACES)
def test_each_trace_is_undone(trace):
    model, optimizer = training("torch-adamw")
    optimizer.register_step_post_hook(lambda *_: torch.no_grad()(TRACES[trace])(model, optimizer))
    was = fingerprint(model, optimizer)
    range_test(model, optimizer)
    assert fingerprint(model, optimizer) == was


def test_gradients_from_before_are_as_they_were_even_if_others_write_there():
    model, optimizer = training("torch-sgd")
    grad = model.body[0].weight.grad
    optimizer.register_step_post_hook(lambda *_: grad.add_(1))
    was = fingerprint(model, optimizer)
    range_test(model, optimizer)
    assert fingerprint(model, optimizer) == was


class Trap:
    """Raises when it is called, but not the first few times."""

    def __init__(self, error, after):
        self.error, self.left = error, after

    def __call__(self, *_):
        self.left -= 1
        if self.left < 0:
            raise self.error


TRAPS = {
    "batches": lambda trap, *_: {"batches": (trap() or one for one in itertools.cycle(BATCHES))},
    "model": lambda trap, model, _: model.body[2].register_forward_hook(trap) and {},
    "loss": lambda trap, *_: {"loss_fn": lambda y, target: trap() or nn.functional.cross_entropy(y, target)},
    "backward": lambda trap, model, _: model.body[4].register_full_backward_hook(trap) and {},
    "step": lambda trap, _, opt: opt.register_step_post_hook(trap) and {},
}


@pytest.mark.parametrize("after", [0, 1, 5])
@pytest.mark.parametrize("error", [ZeroDivisionError, KeyboardInterrupt])
@pytest.mark.parametrize("where", TRAPS)
@pytest.mark.parametrize("name", ["torch-sgd", "torch-adamw", "adamw-eager"])
def test_an_exception_leaves_everything_as_it_was(name, where, error, after):
    model, optimizer = training(name)
    trap = Trap(error, after)
    options = TRAPS[where](trap, model, optimizer)
    was = fingerprint(model, optimizer)
    with pytest.raises(error):
        range_test(model, optimizer, **options)
    assert trap.left == -1
    assert fingerprint(model, optimizer) == was


@pytest.mark.parametrize("after", [0, 3])
@pytest.mark.parametrize("wrong", [Tensor.item, lambda loss: loss.expand(2), lambda loss: None])
def test_a_wrong_loss_leaves_everything_as_it_was(wrong, after):
    model, optimizer = training("torch-sgd")
    count = itertools.count()

    def loss_fn(y, target):
        loss = nn.functional.cross_entropy(y, target)
        return loss if next(count) < after else wrong(loss)

    was = fingerprint(model, optimizer)
    with pytest.raises(TypeError, match="loss_fn must return a tensor of one"):
        range_test(model, optimizer, loss_fn=loss_fn)
    assert fingerprint(model, optimizer) == was


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_a_scripted_model_is_as_it_was():
    model = torch.jit.script(nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Linear(8, 3)))
    optimizer = torch.optim.SGD([next(model.parameters())], lr=0.1, momentum=0.9)

    def content():
        return [frozen(one)[4:] for one in (*model.parameters(), *model.buffers())]

    was = content()
    range_test(model, optimizer)
    assert (content(), len(optimizer.state)) == (was, 0)
    model(BATCHES[0][0])
    assert content() != was


def test_a_buffer_that_gets_a_graph_loses_it_again():
    model = Weight()
    model.register_buffer("sum", torch.zeros((), dtype=torch.float64))
    optimizer = torch.optim.SGD([model.w], lr=1.0)
    was = fingerprint(model, optimizer)
    with pytest.raises(
        RuntimeError, match=r"backward through the graph a second time|modified by an inplace operation"
    ):
        lr_range_test(model, lambda w, _: model.sum.add_(w**2) + 0, [(0, 0)], optimizer)
    assert fingerprint(model, optimizer) == was


def test_tensors_of_inference_mode_are_let_alone():
    model, optimizer = training("torch-sgd")
    with torch.inference_mode():
        model.cached = torch.ones(3)
    was = fingerprint(model, optimizer)
    range_test(model, optimizer)
    assert fingerprint(model, optimizer) == was


def test_no_closure_no_step():
    model = Net()
    optimizer = torch.optim.LBFGS(model.body.parameters())
    was = fingerprint(model, optimizer)
    with pytest.raises(TypeError, match="closure"):
        range_test(model, optimizer)
    assert fingerprint(model, optimizer) == was


# That training goes on as if nothing had been


def outcome(name, meanwhile, device="cpu"):
    """What three more steps lead to, with something done between."""
    model, optimizer = training(name, device=device)
    meanwhile(model, optimizer)
    losses = train(model, optimizer, 4)
    tensors = [*model.parameters(), *model.buffers(), torch.get_rng_state()]
    for group in optimizer.param_groups:
        for param in group["params"]:
            tensors += [param, *optimizer.state[param].values()]
    return losses, [frozen(one)[2:5] for one in tensors if isinstance(one, Tensor)]


def nothing(model, optimizer):
    pass


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", NAMES)
def test_training_goes_on_with_the_same_bits(name, device):
    undisturbed = outcome(name, nothing, device)
    assert outcome(name, lambda *both: range_test(*both), device) == undisturbed
    assert outcome(name, lambda *both: range_test(*both, stop_at=1.01, smoothing=0.0), device) == undisturbed


CHANGES = {
    **{name: TRACES[name] for name in ("parameter", "running mean", "torch's randomness", "less state", "mode")},
    "rate": lambda model, opt: opt.param_groups[0].update(lr=0.011),
    "momentum": lambda model, opt: next(iter(opt.state[model.body[0].weight].values())).add_(0.01),
    "buffer": lambda model, opt: model.assigned.add_(1),
}


@pytest.mark.parametrize("name", ["torch-sgd", "torch-adamw", "adamw-eager", "adamw-compiled"])
@pytest.mark.parametrize("change", CHANGES)
def test_what_would_change_the_bits(name, change):
    assert outcome(name, torch.no_grad()(CHANGES[change])) != outcome(name, nothing)


LOADERS = {
    "shuffle": lambda _: {"shuffle": True},
    "shuffle by a generator": lambda generator: {"shuffle": True, "generator": generator},
    "sampler": lambda generator: {"sampler": RandomSampler(DATA, generator=generator)},
    "batch sampler": lambda generator: {
        "batch_size": 1,
        "batch_sampler": BatchSampler(RandomSampler(DATA, generator=generator), 5, drop_last=False),
    },
}


@pytest.mark.parametrize("kind", LOADERS)
def test_a_loader_hands_out_the_same_order_afterwards(kind):
    def order(meanwhile):
        model, optimizer = training("torch-sgd")
        loader = DataLoader(DATA, **{"batch_size": 5} | LOADERS[kind](torch.Generator().manual_seed(1)))
        first = [y.tolist() for _, y in loader]
        meanwhile(model, optimizer, loader)
        return first, [y.tolist() for _, y in loader]

    assert order(range_test) == order(lambda *_: None)
    assert order(lambda model, optimizer, loader: next(iter(loader))) != order(lambda *_: None)


def test_schedulers_do_not_notice():
    for with_test in (False, True):
        model, optimizer = training("torch-sgd", before=0)
        scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 2)
        if with_test:
            range_test(model, optimizer)
        assert not getattr(optimizer, "_opt_called", False)
        with pytest.warns(UserWarning, match=r"lr_scheduler\.step\(\)` before"):
            scheduler.step()
        assert optimizer.param_groups[0]["lr"] == 0.05


def test_a_skipped_first_step_still_counts_as_none():
    def after(meanwhile):
        torch.manual_seed(0)
        model = Weight([1.0] * 4)
        w = model.w
        optimizer = optim.SGD(
            [w], 0.1, momentum=0.9, dampening=0.5, capturable=True, skip_nonfinite=True, backend="eager"
        )
        w.grad = torch.full_like(w, math.nan)
        optimizer.step()
        meanwhile(model, optimizer)
        skipped = optimizer.skipped_steps.item()
        for _ in range(2):
            w.grad = torch.ones_like(w)
            optimizer.step()
        return w.tolist(), skipped

    def test(model, optimizer):
        lr_range_test(model, lambda y, _: y.square().sum(), [(0, 0)], optimizer, steps=4)

    def step(model, optimizer):
        model.w.grad = torch.zeros_like(model.w)
        optimizer.step()

    assert after(test) == after(nothing)
    assert after(step) != after(nothing)


def test_it_trains_where_gradients_are_off():
    model, optimizer = training("torch-sgd")
    with torch.no_grad():
        without = range_test(model, optimizer)
    assert without == range_test(model, optimizer)


def test_copies_and_originals_see_the_same():
    model, optimizer = training("torch-adamw")
    assert range_test(model, optimizer) == range_test(model, optimizer)
    other = copy.deepcopy(model)
    trained = torch.optim.AdamW(other.body.parameters(), lr=0.01)
    assert range_test(other, trained) != range_test(model, optimizer)  # a control: without the optimizer's state


# Bad input


def good():
    model = Weight()
    return {
        "model": model,
        "loss_fn": lambda w, _: w**2,
        "batches": [(0, 0)],
        "optimizer": torch.optim.SGD(model.parameters(), lr=1.0),
    }


@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        ({"model": torch.sin}, TypeError, "model must be a torch.nn.Module, got builtin_function_or_method"),
        ({"model": nn.Linear}, TypeError, "model must be a torch.nn.Module, got type"),
        ({"model": nn.LazyLinear(2)}, ValueError, "lazy parameters have no shape to return to; call the model"),
        ({"loss_fn": "mse"}, TypeError, "loss_fn must be callable"),
        ({"batches": 3}, TypeError, r"batches must give pairs \(inputs, targets\), got int"),
        ({"optimizer": torch.optim.SGD}, TypeError, "type is not an Optimizer"),
        ({"optimizer": None}, TypeError, "NoneType is not an Optimizer"),
        ({"start": 0}, ValueError, "start must be > 0, got 0"),
        ({"start": -1.0}, ValueError, "start must be > 0"),
        ({"start": 10.0}, ValueError, r"start must be < end, got start=10\.0 and end=10\.0"),
        ({"start": 2.0, "end": 1.0}, ValueError, "start must be < end"),
        ({"start": math.nan}, ValueError, "start must be a finite number"),
        ({"end": math.inf}, ValueError, "end must be a finite number"),
        ({"end": "10"}, TypeError, "end must be a number, got '10'"),
        ({"steps": 1}, ValueError, "steps must be a number of steps >= 2, got 1"),
        ({"steps": 10.5}, ValueError, r"steps must be a whole number, got 10\.5"),
        ({"steps": "10"}, TypeError, "steps must be a number"),
        ({"smoothing": 1.0}, ValueError, r"smoothing must be >= 0 and < 1, got 1\.0"),
        ({"smoothing": -0.1}, ValueError, "smoothing must be >= 0 and < 1"),
        ({"smoothing": None}, TypeError, "smoothing must be a number"),
        ({"stop_at": 1.0}, ValueError, r"stop_at must be > 1, or inf, got 1\.0"),
        ({"stop_at": math.nan}, ValueError, "stop_at must be a finite number"),
        ({"stop_at": "4"}, TypeError, "stop_at must be a number"),
    ],
)
def test_what_cannot_be_meant_raises_before_anything_happens(wrong, error, message):
    def never(*_):
        raise AssertionError("this must not be called")

    arguments = {**good(), "loss_fn": never} | wrong
    with pytest.raises(error, match=f"^lr_range_test: {message}"):
        lr_range_test(**arguments)


def test_what_can_be_meant():
    found = lr_range_test(**good(), start=torch.tensor(1e-3), end=np.float32(1), steps=np.int64(5), stop_at=math.inf)
    assert (len(found.lrs), found.lrs[-1]) == (5, 1.0)
    assert all(type(lr) is float for lr in (*found.lrs, *found.losses, *found.smoothed))
    assert lr_range_test(**good(), steps=12.0).lrs == lr_range_test(**good(), steps=12).lrs


@pytest.mark.parametrize(
    ("loss", "got"),
    [
        (lambda w: w.item(), "got float"),
        (lambda w: (w, w), "got tuple"),
        (lambda w: w.expand(3), r"got torch\.float64 of shape \(3,\); take the mean"),
        (lambda w: w + 1j, r"got torch\.complex128"),
    ],
)
def test_losses_that_are_no_single_number(loss, got):
    with pytest.raises(TypeError, match=f"loss_fn must return a tensor of one .*{got}"):
        lr_range_test(**good() | {"loss_fn": lambda w, _: loss(w)})


def test_a_loss_of_one_element_will_do():
    found = lr_range_test(**good() | {"loss_fn": lambda w, _: w.reshape(1, 1) ** 2})
    assert found == lr_range_test(**good())


def test_an_optimizer_of_another_model():
    with pytest.raises(ValueError, match="no parameter of the optimizer gets a gradient from the loss"):
        lr_range_test(**good() | {"optimizer": torch.optim.SGD(Weight().parameters(), lr=1.0)})
