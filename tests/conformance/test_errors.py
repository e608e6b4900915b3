"""What must be refused: the same exception, with torch's words in it."""

import re

import pytest
import torch
from torch.nn import Parameter

from tests.conformance import wrong
from tests.conformance.database import Input
from tests.conformance.harness import NOT_TORCHS, conforms, every_input, one_input, where
from tests.conformance.problems import assert_same_outcome, loss, outcome, run, set_gradients, weights

BAD_PARAMETERS = {
    "no parameters": list,
    "parameters that were used up": lambda: iter(()),
    "None": lambda: None,
    "a tensor": lambda: torch.zeros(2, requires_grad=True),
    "numbers": lambda: [1.0],
    "a set": lambda: [{"params": {Parameter(torch.zeros(2, 2))}}],
    "a set without groups": lambda: {Parameter(torch.zeros(2, 2))},
    "a result": lambda: [Parameter(torch.zeros(2, 2)) * 2],
    "integers": lambda: [torch.zeros(2, 2, dtype=torch.long)],
    "a group without parameters": lambda: [{"lr": 0.1}],
    "no parameters in a group": lambda: [{"params": []}],
    "one that needs no gradient": lambda: [torch.zeros(2, 2)],
}
BAD = [Input(name, {}) for name in BAD_PARAMETERS]
NOT_TORCHS += BAD


@conforms(wrong.refuses_nothing, lambda pair: pair.error_inputs)
def test_error_inputs_raise_what_torch_raises(subject):
    """Every error input raises torch's exception with torch's words, at construction or at the step, as torch."""
    entry = subject.given.make()
    given = entry.optimizer_error_input
    params = [Parameter(torch.randn(1, 1))] if given.params is None else given.params
    made = []
    error = outcome(lambda: made.append(subject.ours(params, backend=subject.backend, **given.kwargs)))
    if entry.error_on.name == "STEP_ERROR":
        with subject.part():
            assert error is None, f"raised at construction: {error!r}"
        if error is None:
            error = outcome(made[0].step)
    with subject.part():
        assert type(error) is entry.error_type, f"{error!r} instead of {entry.error_type.__name__}"
    with subject.part():
        assert re.search(entry.error_regex, str(error)), f"{error!r} does not say {entry.error_regex!r}"


@conforms(wrong.refuses_nothing, lambda pair: BAD)
def test_bad_parameters_are_refused_as_torch_refuses_them(subject):
    """What is no list of parameters raises torch's exception with torch's words, or is taken as torch takes it."""
    params = BAD_PARAMETERS[subject.given.name]
    # The words for None are Python's.
    words = subject.given.name != "None"
    assert_same_outcome(
        lambda: subject.ours(params(), backend=subject.backend), lambda: subject.pair.theirs(params()), words=words
    )


@conforms(wrong.steps_over_anything, everywhere=False)
def test_gradients_of_the_other_layout_are_refused_as_torch_refuses_them(subject):
    """Sparse gradients, or dense ones where only sparse ones are taken, raise torch's exception with torch's words, or
    are taken."""

    def step(make):
        params = weights()
        optimizer = make(params)
        set_gradients(subject, params)
        for param in params:
            param.grad = param.grad.to_dense() if subject.pair.sparse_only else param.grad.to_sparse(1)
        optimizer.step()

    # Elsewhere an operation that torch needs happens not to exist; those words are nobody's contract.
    reasoned = "sparse gradients" in str(outcome(lambda: step(subject.torchs)))
    assert_same_outcome(lambda: step(subject.make), lambda: step(subject.torchs), words=reasoned)


@conforms(wrong.refuses_meta, one_input, everywhere=False)
def test_parameters_on_the_meta_device_do_as_in_torch(subject):
    """A step of parameters that hold no data works, or raises, as with torch's."""

    def step(make):
        params = [Parameter(torch.zeros(3, 2, device="meta"))]
        optimizer = make(params)
        params[0].grad = torch.zeros(3, 2, device="meta")
        if subject.pair.sparse_only:
            params[0].grad = torch.sparse_coo_tensor(torch.zeros(1, 1), torch.zeros(1, 2), (3, 2), device="meta")
        optimizer.step()

    # Where torch raises, it is because an operation cannot do it.
    assert_same_outcome(lambda: step(subject.make), lambda: step(subject.torchs), words=False)


def fused_on_cpu(pair):
    return "cpu" in pair.info.supports_fused_on


@conforms(wrong.steps_over_anything, where(fused_on_cpu, every_input), everywhere=False)
def test_fused_refuses_parameters_on_the_meta_device(subject):
    """``fused=True`` refuses parameters without data with torch's exception and words."""

    def step(make):
        params = [Parameter(torch.zeros(3, device="meta"))]
        optimizer = make(params, fused=True)
        params[0].grad = torch.zeros(3, device="meta")
        optimizer.step()

    begins = "`fused=True` requires all the params to be floating point Tensors of supported devices"
    theirs, ours = outcome(lambda: step(subject.torchs)), outcome(lambda: step(lambda *a, **k: made(subject, *a, **k)))
    assert type(ours) is type(theirs) is RuntimeError, f"ours: {ours!r}; torch: {theirs!r}"
    assert begins in str(theirs)
    assert begins in str(ours)


def made(subject, params, **more):
    return subject.ours(params, **{**subject.kwargs, **more})


@conforms(wrong.loads_as_it_is, one_input)
def test_checkpoints_that_do_not_fit_are_refused(subject):
    """A state dict with another number of groups or parameters raises torch's exception with torch's words."""
    for change in ("groups", "params"):

        def load(make, change=change):
            params = weights()
            optimizer = make(params)
            run(subject, optimizer, params, 1, objective=loss)
            saved = optimizer.state_dict()
            if change == "groups":
                saved["param_groups"] = saved["param_groups"] * 2
            else:
                saved["param_groups"][0]["params"] = [0]
            optimizer.load_state_dict(saved)

        error = outcome(lambda: load(subject.torchs))
        assert isinstance(error, ValueError)
        assert_same_outcome(lambda: load(subject.make), lambda: load(subject.torchs))


def test_the_outcome_of_what_works_is_nothing():
    assert outcome(lambda: 1) is None
    with pytest.raises(AssertionError, match="torch"):
        assert_same_outcome(lambda: 1, lambda: int("x"))


def test_neither_a_more_general_nor_a_more_special_type_is_the_same():
    def raises(kind):
        raise kind("x")

    assert_same_outcome(lambda: raises(KeyError), lambda: raises(KeyError))
    for general, special in ((Exception, ValueError), (RuntimeError, NotImplementedError)):
        for ours, theirs in ((general, special), (special, general)):
            with pytest.raises(AssertionError, match="torch"):
                assert_same_outcome(lambda ours=ours: raises(ours), lambda theirs=theirs: raises(theirs))
