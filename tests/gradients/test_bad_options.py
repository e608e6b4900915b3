"""Options that make no sense are refused: what was given, what is allowed, what to do; and nothing has changed."""

import math

import pytest
import torch

from tests.backends import BACKENDS
from tests.gradients.references import ONE_EACH, fill, make
from torchopt_notes import LARS, SGD, Adafactor, Adagrad, Adam, AdamW, NovoGrad, SparseAdam

CLASSES = [*[case.optimizer for case in ONE_EACH], SparseAdam]
EVERY_CLASS = pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
LIMITS = ["max_grad_norm", "max_grad_value", "adaptive_clip"]
NO_LIMITS = [-1, -0.5, 0, 0.0, math.nan, -math.inf, "1", [1.0], 1j, torch.tensor(-1.0), torch.tensor(math.nan)]
NO_LIMITS += [torch.tensor(1j), torch.ones(1, device="meta")]


def build(cls, **options):
    return cls(make([(4,), (3, 2)]), lr=0.1, **options)


def refused(cls, message, **options):
    with pytest.raises(ValueError, match=message) as raised:
        build(cls, **options)
    assert str(raised.value).startswith(cls.__name__)


@EVERY_CLASS
@pytest.mark.parametrize("name", LIMITS)
def test_limits(cls, name):
    for value in NO_LIMITS:
        allowed = rf"Invalid {name} value: .*; {name} must be a number > 0, inf, or None for no limit"
        refused(cls, allowed, **{name: value})
    refused(cls, rf"Tensor {name} must be 1-element, got shape \(2,\)", **{name: torch.ones(2)})


@EVERY_CLASS
@pytest.mark.parametrize("name", LIMITS)
def test_limits_of_every_kind_are_taken(cls, name):
    for value in (1, 0.5, math.inf, torch.tensor(2.0), torch.tensor([2.0]), torch.tensor(2)):
        if cls is SparseAdam and name == "adaptive_clip":
            refused(cls, "adaptive_clip=.* has no meaning here: a gradient of some rows", **{name: value})
        else:
            build(cls, **{name: value})
    build(cls, **{name: None})


@EVERY_CLASS
def test_norm_types(cls):
    for value in (0.999, 0, -2, -math.inf, math.nan, "2", None, torch.ones(2), torch.tensor(1j)):
        refused(cls, "Invalid grad_norm_type: .*; grad_norm_type must be a number >= 1, or inf", grad_norm_type=value)


@EVERY_CLASS
def test_l1_penalties(cls):
    for value in (-1e-9, math.nan, math.inf, None, "0", torch.ones(2), torch.tensor(-1.0), 1j, torch.tensor(1j)):
        refused(cls, "Invalid l1 value: .*; l1 must be a finite number >= 0", l1=value)


@EVERY_CLASS
def test_adaptive_eps(cls):
    for value in (0, -1e-3, math.nan, math.inf, None, "0", torch.ones(2)):
        refused(cls, "Invalid adaptive_eps value: .*; adaptive_eps must be a finite number > 0", adaptive_eps=value)


@pytest.mark.parametrize(
    ("name", "bad", "good"),
    [("max_grad_norm", -1.0, 2.0), ("grad_norm_type", 0.5, math.inf), ("max_grad_norm", torch.ones(2), 3.0)],
)
def test_attributes_keep_their_value(name, bad, good):
    optimizer = build(AdamW, max_grad_norm=1.0)
    before = getattr(optimizer, name)
    with pytest.raises(ValueError, match=f"AdamW: .*{name}"):
        setattr(optimizer, name, bad)
    assert getattr(optimizer, name) == before
    setattr(optimizer, name, good)
    assert getattr(optimizer, name) == good


@EVERY_CLASS
@pytest.mark.parametrize("name", ["max_grad_norm", "grad_norm_type", "skip_nonfinite", "backend"])
def test_what_concerns_the_whole_optimizer_is_no_group_key(cls, name):
    message = f"{name!r} concerns the whole optimizer; pass it to the constructor, not in a group"
    first, second = make([(4,), (3, 2)])
    with pytest.raises(ValueError, match=message):
        cls([{"params": [first], name: 1.0}], lr=0.1)
    optimizer = cls([first], lr=0.1)
    with pytest.raises(ValueError, match=message):
        optimizer.add_param_group({"params": [second], name: 1.0})
    assert len(optimizer.param_groups) == 1


@EVERY_CLASS
@pytest.mark.parametrize(
    "options",
    [{"max_grad_value": 0}, {"adaptive_clip": math.nan}, {"l1": -1}, {"adaptive_eps": 0}],
    ids=lambda options: next(iter(options)),
)
def test_groups_are_checked_too(cls, options):
    first, second = make([(4,), (3, 2)])
    optimizer = cls([first], lr=0.1)
    with pytest.raises(ValueError, match=next(iter(options))):
        optimizer.add_param_group({"params": [second], **options})
    assert len(optimizer.param_groups) == 1


@EVERY_CLASS
@pytest.mark.parametrize("name", ["cautious_weight_decay", "decouple_lr"])
def test_what_needs_a_decoupled_decay(cls, name):
    message = f"{name}=True is about decoupled decay; pass decoupled_weight_decay=True"
    if cls is AdamW:  # whose decay always is
        assert build(cls, **{name: True}).param_groups[0][name]
    elif cls is SparseAdam:  # which has none
        refused(cls, message, **{name: True})
    elif name in cls.unsupported:
        refused(cls, f"{name}=True has no meaning here", decoupled_weight_decay=True, **{name: True})
    else:
        refused(cls, message, decoupled_weight_decay=False, **{name: True})
        assert build(cls, decoupled_weight_decay=True, **{name: True}).param_groups[0][name]


@pytest.mark.parametrize("cls", [AdamW, Adafactor, NovoGrad], ids=lambda cls: cls.__name__)
@pytest.mark.parametrize("lr", [0.0, torch.tensor(0.0)])
def test_decouple_lr_without_an_lr(cls, lr):
    message = "decouple_lr=True divides by the group's first lr, which is 0; construct the optimizer with the lr that"
    with pytest.raises(ValueError, match=message):
        cls(make([(4,)]), lr=lr, decouple_lr=True)
    optimizer = cls(make([(4,)]), lr=0.1, decouple_lr=True)
    with pytest.raises(ValueError, match=message):
        optimizer.add_param_group({"params": make([(4,)]), "lr": lr})
    optimizer.param_groups[0]["lr"] = 0.0  # a schedule may
    fill(optimizer.param_groups[0]["params"], 0)
    optimizer.step()


@pytest.mark.parametrize("cls", [case.optimizer for case in ONE_EACH if case.takes(torch.complex64)])
@pytest.mark.parametrize("name", ["max_grad_value", "l1", "cautious_weight_decay"])
def test_complex_parameters_have_no_order(cls, name):
    message = f"{cls.__name__}: {name} compares numbers, which complex ones do not allow; use max_grad_norm"
    decoupled = {"decoupled_weight_decay": True} if cls is not AdamW and name == "cautious_weight_decay" else {}
    params = make([(4,)], torch.complex64)
    with pytest.raises(ValueError, match=message):
        cls(params, lr=0.1, **{name: 1}, **decoupled)
    optimizer = cls(make([(4,)]), lr=0.1, **{name: 1}, **decoupled)
    with pytest.raises(ValueError, match=message):
        optimizer.add_param_group({"params": params})
    assert len(optimizer.param_groups) == 1


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", ["max_grad_value", "l1", "cautious_weight_decay"])
def test_complex_parameters_and_an_option_that_comes_later(name, backend):
    params = make([(3,)]) + make([(4,)], torch.complex64)
    optimizer = Adam(params, lr=0.1, weight_decay=0.1, decoupled_weight_decay=True, backend=backend)
    optimizer.param_groups[0][name] = 0.5
    fill(params, 0)
    start = [p.detach().clone() for p in params]
    with pytest.raises(ValueError, match=f"Adam: {name} compares numbers"):
        optimizer.step()
    assert all(map(torch.equal, params, start))
    assert not optimizer.state


@pytest.mark.parametrize("cls", [SGD, Adagrad, SparseAdam], ids=lambda cls: cls.__name__)
@pytest.mark.parametrize("name", ["l1", "adaptive_clip"])
@pytest.mark.parametrize("later", [False, True], ids=["at once", "later"])
def test_sparse_gradients(cls, name, later):
    """A dense gradient beside them is not taken either."""
    table, weight = make([(5, 3), (4,)])
    params = [table] if cls is SparseAdam else [weight, table]
    if cls is SparseAdam:
        refused(cls, f"{name}=0.1 has no meaning here", **{name: 0.1})
    optimizer = cls(params, lr=0.1, **({name: 0.1} if not later and cls is not SparseAdam else {}))
    optimizer.param_groups[0][name] = 0.1
    state = {p: {k: v.clone() for k, v in s.items()} for p, s in optimizer.state.items()}
    fill([weight], 0)
    table.grad = torch.sparse_coo_tensor([[1, 1]], torch.ones(2, 3), (5, 3), check_invariants=True)
    start = [p.detach().clone() for p in params]
    none = 0 if name == "l1" else None
    message = f"{cls.__name__}: {name} is not possible with sparse gradients, .*; set {name}={none}"
    with pytest.raises(RuntimeError, match=message):
        optimizer.step()
    assert all(map(torch.equal, params, start))
    assert optimizer.state.keys() == state.keys()
    assert all(torch.equal(v, state[p][k]) for p, s in optimizer.state.items() for k, v in s.items())
    optimizer.param_groups[0][name] = none
    optimizer.step()
    assert not torch.equal(table, start[-1])


@pytest.mark.parametrize("cls", [SGD, LARS], ids=lambda cls: cls.__name__)
def test_words_that_do_not_exist(cls):
    with pytest.raises(TypeError, match=r"unexpected keyword arguments \['max_gard_norm'\]"):
        build(cls, max_gard_norm=1.0)
