"""State dicts: the same as torch's, from one to the other and back, whatever their age."""

import copy
import dataclasses
import io

import pytest
import torch

import torchopt_notes
from tests.conformance import wrong
from tests.conformance.database import PAIRS, on_cpu
from tests.conformance.harness import Subject, conforms, every_input, where
from tests.conformance.problems import (
    assert_alike,
    assert_number,
    assert_params,
    assert_saved,
    both,
    run,
    weights,
)

ADDED_LATER = ("fused", "decoupled_weight_decay")
NAMES = ("matrix", "vector")


def named(params, yes=True):
    return list(zip(NAMES, params, strict=True)) if yes else params


def go_on(subject, optimizers, steps=2):
    """Takes the same further steps with each (parameters, optimizer)."""
    for params, optimizer in optimizers:
        run(subject, optimizer, params, steps)


@conforms(wrong.saves_at_random)
def test_they_are_deterministic_and_equal_torchs(subject):
    """Keys, their order, types and values are torch's; asking twice, or another optimizer with the same past, gives the
    same; with and without names."""
    for names in (False, True):
        mine, again, its = weights(), weights(), weights()
        optimizers = [subject.make(named(mine, names)), subject.make(named(again, names))]
        theirs = subject.torchs(named(its, names))
        for optimizer, params in zip((*optimizers, theirs), (mine, again, its), strict=True):
            assert_saved(subject, optimizers[0].state_dict(), optimizers[0].state_dict())
            run(subject, optimizer, params, 3)
        saved = optimizers[0].state_dict()
        assert_saved(subject, optimizers[0].state_dict(), saved)
        assert_saved(subject, optimizers[1].state_dict(), saved)
        assert_saved(subject, saved, theirs.state_dict())


@conforms(wrong.saves_half)
def test_they_go_from_torch_to_ours_and_back(subject):
    """torch's state dict loads in the middle of a run, and ours loads into torch's; the run ends as torch's would."""
    expected = weights()
    run(subject, subject.torchs(expected), expected, 6)
    params = weights()
    saved = None
    for make in (subject.torchs, subject.make, subject.torchs):
        optimizer = make(params, lr=0.5)
        if saved is None:
            optimizer = make(params)
        else:
            optimizer.load_state_dict(saved)
        run(subject, optimizer, params, 2)
        saved = copy.deepcopy(optimizer.state_dict())
    assert_params(subject, params, expected)


@conforms(wrong.loads_as_it_is, where(lambda pair: pair.info.not_og_supported_flags, every_input), one_variant=False)
def test_older_ones_load(subject):
    """State dicts without the keys that torch has added since load as into torch's, and steps go on as torch's."""
    (mine, ours), (its, theirs) = both(subject, 2)
    for optimizer in (ours, theirs):
        saved = copy.deepcopy(optimizer.state_dict())
        for group in saved["param_groups"]:
            for key in (*subject.pair.info.not_og_supported_flags, *ADDED_LATER):
                group.pop(key, None)
        optimizer.load_state_dict(saved)
    for i, (group, other) in enumerate(zip(ours.param_groups, theirs.param_groups, strict=True)):
        for key in sorted((group.keys() | other.keys()) - {"params"}):
            with subject.part():
                assert key in other, f"group {i}, {key}: {group[key]!r} instead of no such key"
                assert key in group, f"group {i}, {key}: no such key instead of {other[key]!r}"
                assert_number(subject, group[key], other[key], f"group {i}, {key}")
    # A checkpoint without the key is one of a run without it.
    go_on(without(subject, "capturable"), [(mine, ours), (its, theirs)])
    assert_params(subject, mine, its)


def without(subject, key):
    kwargs = {name: value for name, value in subject.kwargs.items() if name != key}
    return dataclasses.replace(subject, given=dataclasses.replace(subject.given, arguments=kwargs))


@conforms(wrong.saves_no_names, slow=True)
def test_named_ones_load_into_unnamed_optimizers_and_back(subject):
    """Every combination of named and unnamed, with torch's result."""
    for saved_with in (False, True):
        for loaded_with in (False, True):
            results = []
            for make in (subject.make, subject.torchs):
                source, params = weights(), weights()
                first = make(named(source, saved_with))
                run(subject, first, source, 2)
                second = make(named(params, loaded_with))
                second.load_state_dict(first.state_dict())
                run(subject, second, params, 1)
                results.append((params, second))
            assert_alike(subject, *results)


@conforms(wrong.loads_as_it_is)
def test_step_counts_that_are_no_tensors_load(subject):
    """Those of versions that counted in Python numbers load; from then on tensors count, and steps are torch's."""
    (mine, ours), (its, theirs) = both(subject, 2)
    for optimizer in (ours, theirs):
        saved = copy.deepcopy(optimizer.state_dict())
        for state in saved["state"].values():
            if isinstance(state.get("step"), torch.Tensor):
                state["step"] = state["step"].item()
        optimizer.load_state_dict(saved)
    # The count's own type is compared, too.
    for param, other in zip(mine, its, strict=True):
        if "step" in theirs.state.get(other, {}) and not subject.pair.sparse_only:
            assert isinstance(ours.state[param]["step"], torch.Tensor)
            assert ours.state[param]["step"].dtype == theirs.state[other]["step"].dtype
    go_on(subject, [(mine, ours), (its, theirs)])
    assert_alike(subject, (mine, ours), (its, theirs))


@conforms(wrong.saves_another_type)
def test_they_survive_a_file_that_holds_weights_only(subject):
    """``torch.save`` and ``torch.load(weights_only=True)`` give back what was saved, to ours and to torch's."""
    (mine, ours), (_, theirs) = both(subject, 3)
    buffer = io.BytesIO()
    torch.save(ours.state_dict(), buffer)
    buffer.seek(0)
    loaded = torch.load(buffer, weights_only=True)
    assert_saved(subject, loaded, theirs.state_dict())
    other = subject.make([torch.nn.Parameter(param.detach().clone()) for param in mine])
    other.load_state_dict(loaded)
    assert_saved(subject, other.state_dict(), ours.state_dict())


@conforms(wrong.loads_nothing, where(lambda pair: pair.name == "AdamW", every_input))
def test_adams_load_into_adamw(subject):
    """AdamW goes on from the states of Adam with its own kind of decay, as torch's does."""
    results = []
    for make, adam in ((subject.make, torchopt_notes.Adam), (subject.torchs, torch.optim.Adam)):
        params = weights()
        kwargs = {key: value for key, value in subject.kwargs.items() if key != "capturable"}
        first = adam(params, **kwargs)
        run(subject, first, params, 2)
        second = make(params)
        second.load_state_dict(first.state_dict())
        run(subject, second, params, 2)
        results.append((params, second))
    assert_alike(subject, *results)
    assert second.param_groups[0]["decoupled_weight_decay"] is True


@conforms(wrong.loads_nothing, where(lambda pair: not pair.sparse_only, lambda pair: [pair.representative]))
def test_states_get_the_parameters_dtype_as_in_torch(subject):
    """fp32 states that are loaded for bf16 parameters: their dtypes, and their values in torch's dtype."""
    results = []
    for make in (subject.make, subject.torchs):
        source = weights()
        first = make(source)
        run(subject, first, source, 1)
        second = make(weights(torch.bfloat16))
        second.load_state_dict(first.state_dict())
        results.append(second.state_dict()["state"])
    assert list(results[0]) == list(results[1]), f"states of {list(results[0])} instead of {list(results[1])}"
    for key, expected in results[1].items():
        found = results[0][key]
        assert sorted(found) == sorted(expected), f"state {key} has {sorted(found)} instead of {sorted(expected)}"
        for name in sorted(expected):
            state, other = found[name], expected[name]
            with subject.part():
                assert state.dtype == other.dtype, f"state {key}, {name}: {state.dtype} instead of {other.dtype}"
            # A fast backend's fp32 state may be another by its last digit, and then round to the next bf16 number.
            bound = {"rtol": 0, "atol": 0} if subject.exact else {}
            torch.testing.assert_close(
                state.to(other.dtype), other, **bound, msg=lambda text, name=name: f"{name}: {text}"
            )


@conforms(wrong.loads_nothing, lambda pair: [given for given in pair.inputs if on_cpu(given)])
def test_a_second_state_dict_of_a_loaded_optimizer_is_the_first(subject):
    """Loading a state dict and asking for it again gives the same."""
    (params, ours), _ = both(subject, 3)
    saved = copy.deepcopy(ours.state_dict())
    other = subject.make(params)
    other.load_state_dict(saved)
    assert_saved(subject, other.state_dict(), saved)


def test_the_comparison_of_state_dicts_can_fail():
    if not PAIRS:
        pytest.skip("this torch has no database of optimizers")
    pair = PAIRS[0]
    subject = Subject(pair, pair.representative, "eager", pair.ours)
    (_, ours), (_, theirs) = both(subject, 1)
    changed = copy.deepcopy(ours.state_dict())
    changed["state"][0]["step"] += 1
    with pytest.raises(AssertionError, match="step"):
        assert_saved(subject, changed, theirs.state_dict())
