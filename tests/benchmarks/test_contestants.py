"""Who is timed: that everybody can be made, says why not, and is what its name says."""

import pytest
import torch

from benchmarks.contestants import (
    CONTESTANTS,
    HYPERPARAMETERS,
    OURS,
    YARDSTICK,
    Contestant,
    Entry,
    UnavailableError,
    find_contestants,
)
from benchmarks.contestants.own import EAGER, TORCH
from benchmarks.contestants.peers import PEERS
from tests.benchmarks.wrong import contestant

AT_HOME = tuple(one for one in (OURS, EAGER, *TORCH) if "cpu" not in one.left_out)
ADAMW = HYPERPARAMETERS["adamw"]


def some_params():
    params = [torch.nn.Parameter(torch.randn(shape)) for shape in ((3, 5), (7,), (1,))]
    for param in params:
        param.grad = torch.randn_like(param)
    return params


@pytest.fixture
def _not_compiled(monkeypatch):
    """What goes through torch.compile is tested on its own: here it would take minutes."""
    monkeypatch.setattr(torch, "compile", lambda function: function)


@pytest.mark.usefixtures("_not_compiled")
@pytest.mark.parametrize(
    ("one", "optimizer"),
    [
        pytest.param(one, name, id=f"{one.name}-{name}")
        for one in AT_HOME
        for name in one.entries
        if name in HYPERPARAMETERS
    ],
)
def test_each_of_ours_and_of_torchs_steps(one, optimizer):
    params = some_params()
    before = [param.detach().clone() for param in params]
    made = one.maker(optimizer, HYPERPARAMETERS[optimizer], "cpu")(params)
    for _ in range(2):  # ADOPT's first step moves nothing
        made.step()
    assert not any(torch.equal(param, old) for param, old in zip(params, before, strict=True))
    group = made.param_groups[0]
    assert {key: group[key] for key in HYPERPARAMETERS[optimizer]} == HYPERPARAMETERS[optimizer]


def test_every_optimizer_that_is_measured_is_ours():
    same_as_another, sparse_only = "momentum", "sparseadam"
    assert OURS.entries.keys() - HYPERPARAMETERS.keys() == {same_as_another, sparse_only}
    assert HYPERPARAMETERS.keys() <= OURS.entries.keys()
    assert EAGER.entries.keys() == OURS.entries.keys()


@pytest.mark.parametrize("one", PEERS, ids=lambda one: one.name)
def test_other_packages_optimizers_are_among_ours(one):
    """A mistyped name would be left out with a reason, and nobody would notice."""
    assert one.entries.keys() <= HYPERPARAMETERS.keys()


@pytest.mark.parametrize("flag", ["fused", "foreach"])
def test_torchs_forms_are_what_they_are_called(flag):
    (form,) = find_contestants([f"torch {flag}"])[1:]
    (default,) = find_contestants(["torch default"])[1:]
    made, plain = (one.maker("adamw", ADAMW, "cpu")(some_params()).defaults[flag] for one in (form, default))
    assert made is True
    assert plain is not True


def test_the_reference_takes_part_only_by_its_name():
    assert EAGER not in find_contestants(["*"])
    assert EAGER not in find_contestants(["ours*"])
    assert EAGER in find_contestants(["ours eager"])


def test_ours_eager_is_eager():
    ours, eager = (one.maker("adamw", ADAMW, "cpu")(some_params()).backend for one in (OURS, EAGER))
    assert (ours, eager) == ("auto", "eager")


@pytest.mark.parametrize("optimizer", HYPERPARAMETERS)
def test_the_yardstick_is_fused_adamw_whatever_the_optimizer(optimizer):
    made = YARDSTICK.maker(optimizer, HYPERPARAMETERS[optimizer], "cpu")(some_params())
    assert type(made) is torch.optim.AdamW
    assert made.defaults["fused"] is True
    # The other optimizer's learning rate is none of its business.
    assert made.defaults["lr"] == 1e-3


def test_only_the_yardstick_is_one():
    assert YARDSTICK.yardstick
    assert YARDSTICK not in CONTESTANTS
    assert not any(one.yardstick for one in CONTESTANTS)


@pytest.mark.parametrize(
    ("one", "optimizer", "device", "reason"),
    [
        (Contestant("a", "a", "no_such_module", {"adamw": Entry("A")}), "adamw", "cpu", "No module named"),
        (contestant(cls="NoSuchClass"), "adamw", "cpu", "AttributeError: .* has no attribute 'NoSuchClass'"),
        (contestant(), "lion", "cpu", "has no such optimizer"),
        (contestant(devices=("cuda",)), "adamw", "cpu", "does not run on cpu"),
        (find_contestants(["torch fused"])[1], "lion", "cpu", "has no such optimizer"),
        (find_contestants(["apex"])[1], "adamw", "cpu", "does not run on cpu"),
        (find_contestants(["torch for-loop"])[1], "adamw", "cpu", "is torch's default on a CPU"),
    ],
    ids=["module", "class", "optimizer", "device", "torch", "apex", "for-loop"],
)
def test_who_cannot_run_says_why(one, optimizer, device, reason):
    with pytest.raises(UnavailableError, match=reason):
        one.maker(optimizer, HYPERPARAMETERS[optimizer], device)


@pytest.mark.parametrize("message", ["libcudart.so.12: cannot open\nshared object", ""], ids=["long", "empty"])
def test_a_package_built_for_another_machine_says_so_in_one_line(message, tmp_path, monkeypatch):
    (tmp_path / "built_elsewhere.py").write_text(f"raise OSError({message!r})")
    monkeypatch.syspath_prepend(tmp_path)
    one = Contestant("a", "a", "built_elsewhere", {"adamw": Entry("A")})
    with pytest.raises(UnavailableError) as caught:
        one.maker("adamw", ADAMW, "cpu")
    assert str(caught.value) == f"OSError: {message.split(chr(10))[0]}"


def test_arguments_are_renamed_fixed_and_left_out():
    hyper = {"lr": 0.1, "momentum": 0.9, "eps": 1e-8}
    assert Entry("A").arguments(hyper) == hyper
    assert Entry("A", renamed={"momentum": "beta"}).arguments(hyper) == {"lr": 0.1, "beta": 0.9, "eps": 1e-8}
    assert Entry("A", fixed={"eps": 0.0, "fused": True}).arguments(hyper) == {**hyper, "eps": 0.0, "fused": True}
    assert Entry("A", only=("lr",), fixed={"x": 1}).arguments(hyper) == {"lr": 0.1, "x": 1}
    assert Entry("A", only=()).arguments(hyper) == {}


def test_further_arguments_win():
    made = OURS.maker("adamw", ADAMW, "cpu")(some_params(), backend="eager", lr=0.5)
    assert (made.backend, made.defaults["lr"]) == ("eager", 0.5)


@pytest.mark.parametrize("name", ["torch foreach compiled", "torch foreach"])
def test_a_compiled_contestants_step_is_what_torch_compile_returns(name, monkeypatch):
    calls = []

    def compile_(function):
        def compiled():
            calls.append(function)
            return function()

        return compiled

    monkeypatch.setattr(torch, "compile", compile_)
    (one,) = find_contestants([name])[1:]
    params = some_params()
    before = params[0].detach().clone()
    made = one.maker("adamw", ADAMW, "cpu")(params)
    made.step()
    assert not torch.equal(params[0], before)
    assert len(calls) == one.compiled == (name == "torch foreach compiled")


@pytest.mark.full
def test_a_compiled_step_is_torchs_step():
    updated = []
    for name in ("torch foreach", "torch foreach compiled"):
        torch.manual_seed(0)
        params = some_params()
        (one,) = find_contestants([name])[1:]
        one.maker("adamw", ADAMW, "cpu")(params).step()
        updated.append(params)
    torch.testing.assert_close(*updated)


def test_names_and_patterns_find_contestants_and_always_ours():
    assert find_contestants(["torch fused"])[0] is OURS
    assert [one.name for one in find_contestants(["TORCH f*"])] == [
        *("ours", "torch for-loop", "torch foreach", "torch fused", "torch foreach compiled")
    ]
    assert find_contestants(["*"]) == tuple(one for one in CONTESTANTS if not one.by_name)
    assert len({one.name for one in CONTESTANTS}) == len(CONTESTANTS)


def test_an_unknown_contestant_lists_what_there_is():
    with pytest.raises(ValueError, match="no contestant is called 'jax'; there are ours, torch default") as caught:
        find_contestants(["torch fused", "jax"])
    assert all(one.name in str(caught.value) for one in CONTESTANTS)


def test_the_version_is_the_installed_one():
    assert torch.__version__.startswith(find_contestants(["torch fused"])[1].version.split("+")[0])
    assert contestant().version is None
