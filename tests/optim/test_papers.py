"""Optimizers that torch.optim does not have, against their papers.

See :mod:`tests.optim.papers` and :mod:`tests.optim.layerwise_papers`.
"""

import inspect

import numpy as np
import pytest
import torch

from tests.backends import BACKENDS
from tests.optim.layerwise_papers import LAYERWISE, LAYERWISE_BY_HAND
from tests.optim.papers import PAPERS as ELEMENTWISE
from torchopt_notes import ADOPT, LAMB, LARS, Adan, AdEMAMix, Lion, NovoGrad, Signum, StableAdamW

STEPS = 25
PAPERS = {**ELEMENTWISE, **LAYERWISE}
SETS = [
    pytest.param(name, arguments, id=f"{name}-{i}")
    for name, paper in PAPERS.items()
    for i, arguments in enumerate([paper.required, paper.full, *paper.others])
]


def problem(steps=STEPS, seed=0):
    """A start and gradients. The first weight's gradient is always zero, the second's always the same."""
    rng = np.random.default_rng(seed)
    grads = rng.normal(size=(steps, 41))
    grads[:, 0], grads[:, 1] = 0, 1
    return rng.normal(size=41), list(grads)


def run(optimizer_class, w, grads, lr=None, **arguments):
    """The weights after each step. The first one is a 0-d parameter of its own."""
    params = [torch.nn.Parameter(torch.tensor(part)) for part in (w[0], w[1:])]
    rates = None if lr is None else np.broadcast_to(lr, len(grads))
    optimizer = optimizer_class(params, **arguments, **({} if lr is None else {"lr": float(rates[0])}))
    path = []
    for i, g in enumerate(grads):
        if rates is not None:
            optimizer.param_groups[0]["lr"] = float(rates[i])
        for param, part in zip(params, (g[0], g[1:]), strict=True):
            param.grad = torch.tensor(part)
        optimizer.step()
        path.append(np.concatenate([param.detach().numpy().reshape(-1) for param in params]))
    return path


def reference(paper, w, grads, **arguments):
    """What ``run`` should give: each parameter on its own, because some rules measure a whole one."""
    parts = [paper.reference(w[part], [g[part] for g in grads], **arguments) for part in (slice(0, 1), slice(1, None))]
    return np.concatenate(parts, axis=1)


def falling(lr):
    """A learning rate for every step: what an optimizer remembers of earlier rates shows."""
    return lr / np.sqrt(np.arange(1, STEPS + 1))


def check(path, expected):
    np.testing.assert_allclose(path, expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize(("name", "arguments"), SETS)
@pytest.mark.parametrize("backend", BACKENDS)
def test_the_paper(name, arguments, backend):
    """The first set compares the defaults."""
    paper, (w, grads) = PAPERS[name], problem()
    if "lr" in arguments:
        arguments = {**arguments, "lr": falling(arguments["lr"])}
    check(run(paper.optimizer, w, grads, backend=backend, **arguments), reference(paper, w, grads, **arguments))


@pytest.mark.parametrize("name", PAPERS)
@pytest.mark.parametrize("backend", BACKENDS)
def test_numbers_worked_out_on_the_device(name, backend):
    paper, (w, grads) = PAPERS[name], problem()
    path = run(paper.optimizer, w, grads, backend=backend, capturable=True, **paper.full)
    check(path, reference(paper, w, grads, **paper.full))


def changed(value):
    """The value, with one thing changed a little."""
    if isinstance(value, bool):
        return [not value]
    if isinstance(value, tuple):
        return [(*value[:i], value[i] * 0.99, *value[i + 1 :]) for i in range(len(value))]
    return [value * 0.99]


@pytest.mark.parametrize("name", PAPERS)
def test_another_hyperparameter_is_noticed(name):
    """Each argument is changed in the first set that has it."""
    paper, (w, grads) = PAPERS[name], problem()
    names = set(inspect.signature(paper.reference).parameters) - {"w", "grads"}
    for arguments in (paper.full, *paper.others):
        path = run(paper.optimizer, w, grads, backend="eager", **arguments)
        check(path, reference(paper, w, grads, **arguments))
        for argument in names & set(arguments):
            for other in changed(arguments[argument]):
                with pytest.raises(AssertionError):
                    check(path, reference(paper, w, grads, **{**arguments, argument: other}))
        names -= set(arguments)
    assert not names


@pytest.mark.parametrize("name", PAPERS)
def test_defaults(name):
    ours, theirs = (
        inspect.signature(function).parameters for function in (PAPERS[name].optimizer, PAPERS[name].reference)
    )
    own = theirs.keys() - {"w", "grads", "maximize"}
    assert {argument: ours[argument].default for argument in own} == {a: theirs[a].default for a in own}


REFUSED = [
    (Lion, {"betas": (0.9, 0.99, 0.999)}, "Lion: betas must be a pair of numbers"),
    (Signum, {"momentum": 1.0}, r"Signum: Invalid momentum value: 1.0; momentum must be in \[0, 1\)"),
    (ADOPT, {"clip_exponent": -1}, "ADOPT: Invalid clip_exponent value: -1"),
    (AdEMAMix, {"betas": (0.9, 0.999)}, r"AdEMAMix: betas must be 3 numbers in \[0, 1\)"),
    (AdEMAMix, {"betas": (0.9, 0.9, torch.tensor(0.9))}, "betas must be either all floats or all Tensors"),
    (AdEMAMix, {"alpha": -1}, "AdEMAMix: Invalid alpha value: -1"),
    (AdEMAMix, {"t_alpha": float("inf")}, "AdEMAMix: Invalid t_alpha value: inf"),
    (Adan, {"betas": (0.9, 0.9, 1.0)}, r"Adan: Invalid beta parameter at index 2: 1.0; betas\[2\] must be in"),
    (Adan, {"eps": -1}, "Adan: Invalid epsilon value: -1"),
    (LAMB, {"clamp_value": -1}, "LAMB: Invalid clamp_value: -1"),
    (LARS, {"lr": 1, "trust_coefficient": 0}, "LARS: Invalid trust_coefficient value: 0"),
    (LARS, {"lr": 1, "momentum": 0, "nesterov": True}, "LARS: nesterov=True requires a momentum"),
    (NovoGrad, {"betas": (0.9, 1.0)}, "NovoGrad: Invalid beta parameter at index 1: 1.0"),
    (StableAdamW, {"eps": 0}, "StableAdamW: Invalid epsilon value: 0"),
]


@pytest.mark.parametrize(("optimizer_class", "arguments", "message"), REFUSED)
def test_values_out_of_range(optimizer_class, arguments, message):
    with pytest.raises(ValueError, match=message):
        optimizer_class([torch.nn.Parameter(torch.ones(2))], **arguments)


@pytest.mark.parametrize("name", PAPERS)
def test_derivatives_of_a_step(name):
    """By the learning rate and along a change of all gradients, against differences of the reference."""
    paper, (w, grads) = PAPERS[name], problem(steps=5)
    w, grads = w[2:], [g[2:] for g in grads]
    arguments = {key: value for key, value in paper.full.items() if key != "lr"}
    rng = np.random.default_rng(1)
    weights, direction = rng.normal(size=w.shape), rng.normal(size=(5, *w.shape))

    start = torch.from_numpy(w).clone().requires_grad_()
    param, lr = start.clone(), torch.tensor(0.1, dtype=torch.float64, requires_grad=True)
    inputs = [torch.from_numpy(g).requires_grad_() for g in grads]
    optimizer = paper.optimizer([param], lr=lr, differentiable=True, **arguments)
    for g in inputs:
        param.grad = g
        optimizer.step()
    (param * torch.from_numpy(weights)).sum().backward()

    def loss(lr, change):
        moved = [g + change * d for g, d in zip(grads, direction, strict=True)]
        return (paper.reference(w, moved, lr=lr, **arguments)[-1] * weights).sum()

    small = 1e-6
    along = sum((0.0 if g.grad is None else (g.grad.numpy() * d).sum()) for g, d in zip(inputs, direction, strict=True))
    np.testing.assert_allclose(param.detach().numpy(), paper.reference(w, grads, lr=0.1, **arguments)[-1], rtol=1e-12)
    np.testing.assert_allclose(lr.grad.item(), (loss(0.1 + small, 0) - loss(0.1 - small, 0)) / 2 / small, rtol=1e-6)
    np.testing.assert_allclose(along, (loss(0.1, small) - loss(0.1, -small)) / 2 / small, rtol=1e-6, atol=1e-7)


BY_HAND = {
    # λ: 2 · (1 - 0.5 · 0.1) = 1.9. c = 0.5 · 0 + 0.5 · 1 > 0, so 1.9 - 0.5 = 1.4. m = 0.25 · 1.
    # λ: 1.4 · 0.95 = 1.33. c = 0.5 · 0.25 - 0.5 · 2 = -0.875 < 0, so 1.33 + 0.5.
    "lion": ({"lr": 0.5, "betas": (0.5, 0.75), "weight_decay": 0.1}, 2.0, [1.0, -2.0], [1.4, 1.83]),
    # m = 0.25 · 4 = 1 > 0, so 2 - 0.5. m = 0.75 · 1 - 0.25 · 2 = 0.25, still > 0: 1.5 - 0.5.
    "signum": ({"lr": 0.5, "momentum": 0.75}, 2.0, [4.0, -2.0], [1.5, 1.0]),
    # m = 0.5 · 3 = 1.5, m̂ = 1.5 / 0.5 = 3. s = 0.25 · (3 - 1.5)² + 1 = 25/16, ŝ = s / 0.25 = 6.25.
    # 1 - 0.7 · 3 / (2.5 + 1) = 1 - 0.6.
    "adabelief": ({"lr": 0.7, "betas": (0.5, 0.75), "eps": 1.0}, 1.0, [3.0], [0.4]),
    # n = 0.25 · 2² = 1, n̂ = 1 / 0.25 = 4. m = 0.5 · 2 / (2 + 1) = 1/3, m̂ = 2/3. 1 - 0.6 · 2/3 = 0.6.
    # n = 0.75 · 1 + 0.25 · 4 = 1.75, n̂ = 1.75 / (1 - 0.75²) = 4. m = 0.5 · 1/3 - 0.5 · 2/3 = -1/6, m̂ = m / 0.75 = -2/9.
    # 0.6 + 0.6 · 2/9.
    "laprop": ({"lr": 0.6, "betas": (0.5, 0.75), "eps": 1.0}, 1.0, [2.0, -2.0], [0.6, 0.6 + 0.4 / 3]),
    # v = 2² = 4, and nothing else. Then 6 / 2 = 3, clipped to 1; m = 0.5 · 1; 1 - 0.2 · 0.5 = 0.9.
    # v = 0.75 · 4 + 0.25 · 6² = 12. -3 / √12 = -0.866 lies within 2^(1/4) = 1.19; m = 0.5 · 0.5 - 0.5 · 3 / √12.
    "adopt": (
        {"lr": 0.2, "betas": (0.5, 0.75)},
        1.0,
        [2.0, 6.0, -3.0],
        [1.0, 0.9, 0.9 - 0.2 * (0.25 - 1.5 / 12**0.5)],
    ),
    # m = 0.75 · 2 = 1.5, m̂ = 1.5 / 0.75 = 2. v = 0.25 · 2² = 1, v̂ = 1 / 0.25 = 4. Halfway, α is 4 / 2 = 2; the half-
    # lives of 1/4 and 1/2 are 1/2 and 1, so that of β₃ is 3/4: β₃ = 2^(-4/3), and s = (1 - β₃) · 2.
    # 1 - 0.3 · (2 + 2 · 2 · (1 - β₃)) / (2 + 1).
    "ademamix": (
        {"lr": 0.3, "betas": (0.25, 0.75, 0.5), "alpha": 4.0, "eps": 1.0, "t_alpha": 2, "t_beta3": 2},
        1.0,
        [2.0],
        [1 - 0.1 * (2 + 4 * (1 - 2 ** (-4 / 3)))],
    ),
    # m = 0.5 · 2 = 1, m̂ = 2; d = 0; n = 0.25 · 2² = 1, n̂ = 4. 1 - 0.3 · 2 / (2 + 1) = 0.8.
    # Change 4. m = 0.5 · 1 + 0.5 · 6 = 3.5, m̂ = 3.5 / 0.75 = 14/3. d = 0.25 · 4 = 1, d̂ = 1 / (1 - 0.75²) = 16/7.
    # n = 0.75 · 1 + 0.25 · (6 + 0.75 · 4)² = 21, n̂ = 21 / 0.4375 = 48. 0.8 - 0.3 · (14/3 + 0.75 · 16/7) / (√48 + 1).
    "adan": (
        {"lr": 0.3, "betas": (0.5, 0.75, 0.75), "eps": 1.0},
        1.0,
        [2.0, 6.0],
        [0.8, 0.8 - 0.3 * (14 / 3 + 12 / 7) / (48**0.5 + 1)],
    ),
    **LAYERWISE_BY_HAND,
}


@pytest.mark.parametrize("name", PAPERS)
@pytest.mark.parametrize("backend", BACKENDS)
def test_steps_worked_out_by_hand(name, backend):
    paper, (arguments, start, grads, expected) = PAPERS[name], BY_HAND[name]
    start = np.atleast_1d(start)
    grads, expected = (np.reshape(path, (-1, start.size)) for path in (grads, expected))
    check(paper.reference(start, grads, **arguments), expected)
    w = torch.nn.Parameter(torch.tensor(start))
    optimizer = paper.optimizer([w], backend=backend, **arguments)
    for g, value in zip(grads, expected, strict=True):
        w.grad = torch.tensor(g)
        optimizer.step()
        check(w.detach().numpy(), value)


@pytest.mark.parametrize("name", PAPERS)
@pytest.mark.parametrize("backend", BACKENDS)
def test_a_gradient_that_is_no_number_shows(name, backend):
    """Only where it is, or in the whole layer if that is measured. ADOPT's first gradient does not move weights."""
    w = torch.nn.Parameter(torch.ones(20))
    optimizer = PAPERS[name].optimizer([w], backend=backend, **PAPERS[name].required)
    for _ in range(2):
        w.grad = torch.ones(20).index_fill(0, torch.tensor([3]), torch.nan)
        optimizer.step()
    assert w.isnan().nonzero().flatten().tolist() == ([3] if name in ELEMENTWISE else list(range(20)))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("optimizer_class", [Lion, Signum])
def test_sign_steps_have_one_size(optimizer_class, backend):
    w, grads = problem()
    path = run(optimizer_class, w, grads, lr=0.25, backend=backend)
    moved = np.abs(np.diff([w, *path], axis=0))
    assert not moved[:, 0].any()  # the sign of zero is zero
    np.testing.assert_allclose(moved[:, 1:], 0.25, rtol=1e-14)


@pytest.mark.parametrize("backend", BACKENDS)
def test_signum_without_momentum_follows_the_gradients_sign(backend):
    w = torch.nn.Parameter(torch.zeros(4))
    w.grad = torch.tensor([2.0, -3.0, 0.0, 1e-30])
    optimizer = Signum([w], lr=0.5, momentum=0, backend=backend)
    optimizer.step()
    assert w.tolist() == [-0.5, 0.5, 0.0, -0.5]
    assert not optimizer.state[w]


@pytest.mark.parametrize("backend", BACKENDS)
def test_ademamix_without_the_slow_mean_is_adamw(backend):
    w, grads = problem()
    shared = {"lr": 0.1, "eps": 1e-3, "weight_decay": 0.1}
    path = run(AdEMAMix, w, grads, betas=(0.8, 0.99, 0.999), alpha=0.0, backend=backend, **shared)
    check(path, run(torch.optim.AdamW, w, grads, betas=(0.8, 0.99), **shared))


@pytest.mark.parametrize("backend", BACKENDS)
def test_adans_first_gradient_has_not_changed(backend):
    """For each parameter, at its own first gradient: the step is Adam's, η·g / (|g| + ε)."""
    params = [torch.nn.Parameter(torch.ones(5, dtype=torch.float64)) for _ in range(2)]
    optimizer = Adan(params, lr=0.25, eps=1.0, backend=backend)
    params[0].grad = torch.full_like(params[0], 4.0)
    optimizer.step()
    check(params[0].detach().numpy(), 0.8)  # 1 - 0.25 · 4 / (4 + 1)
    params[1].grad = torch.full_like(params[1], -1.0)
    optimizer.step()
    check(params[1].detach().numpy(), 1.125)  # 1 + 0.25 · 1 / (1 + 1)
    assert not optimizer.state[params[1]]["exp_avg_diff"].any()
    assert torch.equal(optimizer.state[params[1]]["previous_grad"], params[1].grad)


@pytest.mark.parametrize("clip_exponent", [0.25, None])
@pytest.mark.parametrize("backend", BACKENDS)
def test_adopts_first_gradient_moves_nothing(backend, clip_exponent):
    """Whatever it is, and although there is no denominator yet."""
    w = torch.nn.Parameter(torch.ones(6))
    w.grad = torch.tensor([0.0, 2.0, -3.0, 1e38, torch.inf, torch.nan])
    optimizer = ADOPT([w], lr=0.1, eps=0, clip_exponent=clip_exponent, backend=backend)
    optimizer.step()
    assert torch.equal(w, torch.ones(6))
    assert not optimizer.state[w]["exp_avg"].any()
    assert optimizer.state[w]["exp_avg_sq"][:3].tolist() == [0, 4, 9]
