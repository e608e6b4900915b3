"""The eager backend gives torch.optim's bits: parameters and states, every flag, every step."""

import copy
import inspect

import pytest
import torch

from torchopt_notes import SGD, Adafactor, Adam, AdamW
from torchopt_notes.optim.registry import optimizers
from torchopt_notes.testing import CASES, Case, ParityError, assert_parity, random_gradients
from torchopt_notes.testing.matrix import SPARSE, hole, needs_sparse

EAGER = {"backend": "eager"}
TORCH_CASES = [case for case in CASES if case.reference is not None]
DTYPES = [torch.float32, torch.float64, torch.complex64, torch.complex128]
PAIRS = [
    pytest.param(cls, cls.counterpart, id=name) for name, cls in optimizers().items() if cls.counterpart is not None
]


def takes(theirs, *names):
    return inspect.signature(theirs).parameters.keys() >= set(names)


def decay(theirs):
    return {"weight_decay": 0.1} if takes(theirs, "weight_decay") else {}


SPARSE_SHAPES = [(5, 3), (6,), (5, 2, 2)]


def takes_sparse(ours):
    return hole(ours, "eager", SPARSE) is None


def sparse_gradients(step, index, param, generator):
    gradient = random_gradients(step, index, param, generator)
    rows = torch.tensor([step % 3, 4])
    return torch.sparse_coo_tensor(rows[None], gradient[rows], param.shape, check_invariants=True)


def case_of(ours, dtype=torch.float32):
    """What the parity tests know of a class: shapes and arguments to compare it with torch's, in one dtype."""
    found = (case for case in TORCH_CASES if case.optimizer is ours and case.takes(dtype))
    return next(found, Case("sparse only", ours, shapes=SPARSE_SHAPES))


def assert_like_torch(ours, theirs, kwargs, *, gradients=lambda source: source, candidate_kwargs=EAGER, **more):
    """Equal bits unless ``ulp`` is given, with sparse gradients where no others are taken."""
    source = gradients(sparse_gradients if needs_sparse(ours) else random_gradients)
    more |= {"shapes": case_of(ours).shapes, "gradients": source}
    assert_parity(ours, theirs, kwargs=kwargs, candidate_kwargs=candidate_kwargs, **more)


@pytest.mark.parametrize(
    ("case", "dtype"),
    [pytest.param(c, d, id=f"{c.name}-{d}") for c in TORCH_CASES for d in DTYPES if c.takes(d)],
)
def test_equal_bits(case, dtype):
    report = assert_parity(
        case.optimizer, case.reference, kwargs=case.kwargs, candidate_kwargs=EAGER, dtype=dtype, shapes=case.shapes
    )
    assert report.max_units == 0
    assert report.steps == 10


@pytest.mark.parametrize(("ours", "theirs"), PAIRS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize(
    "lr", [0.01, torch.tensor(0.01), torch.tensor([0.01]), torch.tensor(0.01, dtype=torch.float64)]
)
def test_learning_rates_of_every_kind(ours, theirs, dtype, lr):
    kwargs = {"lr": lr, **decay(theirs)}
    if ours is Adafactor and isinstance(lr, torch.Tensor):
        # torch rounds the size of the step to the tensor's precision. Ours is what torch's is with a number.
        kwargs = {"lr": lr.item()}
    assert_like_torch(ours, theirs, kwargs, dtype=dtype, candidate_kwargs={**EAGER, "lr": lr})


@pytest.mark.parametrize(("ours", "theirs"), [(Adam, torch.optim.Adam), (AdamW, torch.optim.AdamW)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_tensor_betas(ours, theirs, dtype):
    kwargs = {"betas": (torch.tensor(0.8), torch.tensor([0.99])), "weight_decay": 0.1}
    assert_parity(ours, theirs, kwargs=kwargs, candidate_kwargs=EAGER, dtype=dtype)


def test_tensor_weight_decay():
    assert_parity(SGD, torch.optim.SGD, kwargs={"lr": 0.1, "weight_decay": torch.tensor(0.1)}, candidate_kwargs=EAGER)


@pytest.mark.parametrize(("ours", "theirs"), PAIRS)
def test_a_schedule(ours, theirs):
    assert_like_torch(ours, theirs, {"lr": 0.1}, lr_schedule=lambda step: 0.1 / step)


def irregular(gradients):
    def some(step, index, param, generator):
        gradient = gradients(step, index, param, generator)
        return None if (index == 1 and step < 4) or (index == 2 and step % 2) else gradient

    return some


@pytest.mark.parametrize(("ours", "theirs"), PAIRS)
def test_late_and_missing_gradients(ours, theirs):
    assert_like_torch(ours, theirs, {"lr": 0.1}, gradients=irregular)


def test_late_and_missing_gradients_with_momentum():
    assert_like_torch(SGD, torch.optim.SGD, {"lr": 0.1, "momentum": 0.9, "dampening": 0.5}, gradients=irregular)


# There torch's rule takes a number, or changes what autograd needs, so that the step or the backward pass raises.
LR_NOT_FOLLOWED_BY_TORCH = {"Adadelta", "Adagrad", "Adamax", "NAdam", "RMSprop", "Rprop"}
# There a second step changes in place what the first one's backward pass needs, so that it raises.
ONE_STEP_FOLLOWED_BY_TORCH = {"Adamax", "Rprop"}


def differentiable_cells():
    for pair in PAIRS:
        name, theirs = pair.values[1].__name__, pair.values[1]
        for extra in ({}, {"weight_decay": 0.1}, {"maximize": True}):
            for followed in (False,) if name in LR_NOT_FOLLOWED_BY_TORCH else (False, True):
                if takes(theirs, "differentiable", *extra):
                    lr = "lr followed" if followed else "lr number"
                    yield pytest.param(*pair.values, extra, followed, id=f"{pair.id}-{extra}-{lr}")


@pytest.mark.parametrize("steps", [1, 7])
@pytest.mark.parametrize(("ours", "theirs", "extra", "followed"), list(differentiable_cells()))
def test_differentiable_steps_and_their_gradients(ours, theirs, extra, followed, steps):
    results = []
    for optimizer_class in (ours, theirs):
        torch.manual_seed(0)
        start = torch.randn(7, requires_grad=True)
        lr = torch.tensor(0.1, requires_grad=True)
        param = start.clone()
        gradients = [torch.randn(7, requires_grad=True) for _ in range(steps)]
        optimizer = optimizer_class([param], lr=lr if followed else 0.1, differentiable=True, **extra)
        for gradient in gradients:
            param.grad = gradient
            optimizer.step()
        if steps == 1 or theirs.__name__ not in ONE_STEP_FOLLOWED_BY_TORCH:
            param.square().sum().backward()
        results.append([param.detach(), start.grad, *[lr.grad] * followed, *[gradient.grad for gradient in gradients]])
    assert torch.equal(results[0][0], results[1][0])
    for ours_grad, torch_grad in zip(*results, strict=True):
        torch.testing.assert_close(ours_grad, torch_grad)


def test_differentiable_amsgrad_works_where_torch_loses_its_history():
    start = torch.randn(7, requires_grad=True)
    param = start.clone()
    optimizer = Adam([param], lr=0.1, differentiable=True, amsgrad=True)
    gradients = [torch.randn(7, requires_grad=True) for _ in range(3)]
    for gradient in gradients:
        param.grad = gradient
        optimizer.step()
    param.sum().backward()
    assert all(gradient.grad is not None and gradient.grad.isfinite().all() for gradient in gradients)


@pytest.mark.parametrize("extra", [{}, {"maximize": True}], ids=str)
@pytest.mark.parametrize(("ours", "theirs"), [pair for pair in PAIRS if takes_sparse(pair.values[0])])
def test_sparse_gradients(ours, theirs, extra):
    kwargs = {"lr": 0.1, **extra}
    assert_parity(ours, theirs, kwargs=kwargs, shapes=SPARSE_SHAPES, gradients=sparse_gradients)


def test_sparse_gradients_with_momentum():
    params = [torch.nn.Parameter(torch.ones(5, 3)) for _ in range(2)]
    optimizers = [SGD(params[:1], lr=0.1, momentum=0.9), torch.optim.SGD(params[1:], lr=0.1, momentum=0.9)]
    for step in range(3):
        for param, optimizer in zip(params, optimizers, strict=True):
            param.grad = torch.sparse_coo_tensor([[step % 2, 4]], torch.full((2, 3), 1.0 + step), (5, 3))
            optimizer.step()
    assert torch.equal(params[0], params[1])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize(("ours", "theirs"), PAIRS)
def test_low_precision_is_rounded_once(ours, theirs, dtype):
    case = case_of(ours, dtype)
    # An lr without rounding: Rprop keeps it in its states.
    assert_like_torch(ours, theirs, {**case.kwargs, "lr": 0.125}, dtype=dtype, ulp=case.units)


@pytest.mark.parametrize(("ours", "theirs"), PAIRS)
def test_checkpoints_go_back_and_forth(ours, theirs):
    """In the middle of a run, with the same bits and the same group keys."""
    source = sparse_gradients if needs_sparse(ours) else random_gradients
    generator = torch.Generator().manual_seed(0)
    start = [torch.randn(shape, generator=generator) for shape in ((5, 3), (7,))]
    gradients = [[source(step, i, value, generator) for i, value in enumerate(start)] for step in range(6)]
    kwargs = {"lr": 0.1, **decay(theirs)}

    def run(classes):
        params = [torch.nn.Parameter(value.clone()) for value in start]
        saved = []
        for step, grads in enumerate(gradients):
            if step % 2 == 0:
                # Another lr, to see that the checkpoint's is taken.
                optimizer = classes[step // 2](params, **{**kwargs, "lr": 0.1 if step == 0 else 9.0})
                if saved:
                    optimizer.load_state_dict(copy.deepcopy(saved[-1]))
            for param, grad in zip(params, grads, strict=True):
                param.grad = grad.clone()
            optimizer.step()
            saved.append(optimizer.state_dict())
        return params, saved

    expected, expected_saved = run([theirs] * 3)
    for classes in ([theirs, ours, theirs], [ours, theirs, ours]):
        params, saved = run(classes)
        assert all(map(torch.equal, params, expected))
        for actual, wanted in zip(saved, expected_saved, strict=True):
            assert actual["param_groups"] == wanted["param_groups"]
            for i, state in wanted["state"].items():
                assert actual["state"][i].keys() == state.keys()
                assert all(type(actual["state"][i][name]) is type(value) for name, value in state.items())


@pytest.mark.parametrize(("ours", "theirs"), PAIRS)
def test_signatures(ours, theirs):
    """torch's arguments come first, with the same kinds and defaults; further ones can only be given by name."""
    mine, its = inspect.signature(ours).parameters, inspect.signature(theirs).parameters
    for name, parameter in its.items():
        assert (mine[name].default, mine[name].kind) == (parameter.default, parameter.kind), name
    positional = [[n for n, p in found.items() if p.kind is not p.KEYWORD_ONLY] for found in (mine, its)]
    by_position = [n for n in positional[0] if mine[n].kind is not inspect.Parameter.VAR_KEYWORD]
    assert by_position == positional[1]


@pytest.mark.parametrize(("ours", "theirs"), PAIRS)
def test_group_keys_and_defaults(ours, theirs):
    param = torch.nn.Parameter(torch.ones(2, 2))
    mine, its = ours([param]), theirs([param])
    assert mine.defaults == its.defaults
    assert list(mine.param_groups[0]) == list(its.param_groups[0])


def test_the_comparison_can_fail():
    with pytest.raises(ParityError):
        assert_parity(AdamW, torch.optim.AdamW, candidate_kwargs={"backend": "eager", "eps": 1.1e-8})
