"""What schedulers warn of: what torch's do, in its words, and nothing else."""

import warnings

import pytest
import torch.optim.lr_scheduler as torchs

import torchopt_notes.lr_scheduler as ours

from .cases import ACCUMULATING, CASES, OPTIMIZERS, PLATEAU, SINGLE, advance_schedulers
from .test_sequential import NESTED

AFTER_A_WARM_UP = "ReduceLROnPlateau after a warm-up"


def of_a_run(make, module, steps_of_optimizer, steps=5):
    """The categories, texts and files of the warnings of a run, one after the other."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        optimizer = OPTIMIZERS["torch SGD"]()
        schedulers = make(module, optimizer)
        for step in range(steps):
            if step in steps_of_optimizer:
                optimizer.step()
            advance_schedulers(schedulers, step)
    return [(one.category, str(one.message), one.filename) for one in caught]


@pytest.mark.parametrize("case", CASES)
def test_nothing_is_warned_of_in_the_right_order(case):
    assert of_a_run(CASES[case], ours, range(60), steps=60) == []


@pytest.mark.parametrize("case", NESTED)
def test_nor_with_schedulers_in_schedulers(case):
    assert of_a_run(NESTED[case], ours, range(60), steps=60) == []


@pytest.mark.parametrize("case", CASES)
def test_the_wrong_order_is_warned_of_as_by_torch(case):
    mine, theirs = (of_a_run(CASES[case], module, ()) for module in (ours, torchs))
    assert [one[:2] for one in mine] == [one[:2] for one in theirs]
    # These never look whether the optimizer has stepped, torch's neither.
    silent = case.startswith("CosineAnnealingWarmRestarts") or case in PLATEAU.keys() - {AFTER_A_WARM_UP}
    assert (mine == []) == silent


@pytest.mark.parametrize("case", ["StepLR", "LambdaLR", "CyclicLR", "OneCycleLR"])
def test_the_wrong_order_is_warned_of_once_and_at_the_line_of_the_caller(case):
    ((category, text, file),) = of_a_run(CASES[case], ours, range(1, 5))
    assert category is UserWarning
    assert text.startswith(
        "Detected call of `lr_scheduler.step()` before `optimizer.step()`. In PyTorch 1.1.0 and later"
    )
    assert file == advance_schedulers.__code__.co_filename


@pytest.mark.parametrize("module", [ours, torchs])
def test_a_step_that_was_replaced_is_warned_of(module):
    optimizer = OPTIMIZERS["torch SGD"]()
    scheduler = module.StepLR(optimizer, 3)
    optimizer.step = lambda: None
    with pytest.warns(UserWarning, match="overridden after learning rate scheduler initialization"):
        scheduler.step()


@pytest.mark.parametrize("case", SINGLE | ACCUMULATING)
def test_get_lr_outside_of_a_step_is_warned_of_as_by_torch(case):
    found = []
    for module in (ours, torchs):
        (scheduler,) = CASES[case](module, OPTIMIZERS["torch SGD"]())
        with pytest.warns(UserWarning, match="get_last_lr") as caught:
            scheduler.get_lr()
        found.append([(one.category, str(one.message)) for one in caught])
    assert found[0] == found[1]
    assert found[0][0][1].startswith("To get the last learning rate computed by the scheduler")


@pytest.mark.parametrize("case", SINGLE | ACCUMULATING)
def test_get_lr_is_allowed_again_within_the_next_step_even_if_one_has_failed(case, monkeypatch):
    optimizer = OPTIMIZERS["torch SGD"]()
    (scheduler,) = CASES[case](ours, optimizer)
    optimizer.step()
    with monkeypatch.context() as patch:
        patch.setattr(type(scheduler), "get_lr", lambda self: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            scheduler.step()
    with pytest.warns(UserWarning, match="please use `get_last_lr"):
        scheduler.get_lr()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        scheduler.step()


@pytest.mark.parametrize(
    "case", ["StepLR", "CosineAnnealingLR", "LambdaLR", "CyclicLR", "OneCycleLR", "MultiplicativeLR"]
)
def test_passing_an_epoch_is_warned_of_as_by_torch(case):
    texts = []
    for module in (ours, torchs):
        optimizer = OPTIMIZERS["torch SGD"]()
        (scheduler,) = CASES[case](module, optimizer)
        optimizer.step()
        with pytest.warns(UserWarning, match="epoch") as caught:
            scheduler.step(3)
        texts.append([str(one.message) for one in caught])
    assert texts[0] == texts[1] == [torchs.EPOCH_DEPRECATION_WARNING]


def test_passing_an_epoch_to_a_plateau_too():
    scheduler = ours.ReduceLROnPlateau(OPTIMIZERS["torch SGD"]())
    with pytest.warns(UserWarning, match="epoch") as caught:
        scheduler.step(1.0, epoch=4)
    assert [str(one.message) for one in caught] == [torchs.EPOCH_DEPRECATION_WARNING]
    assert scheduler.last_epoch == 4


def test_restarts_take_an_epoch_without_a_warning():
    optimizer = OPTIMIZERS["torch SGD"]()
    scheduler = ours.CosineAnnealingWarmRestarts(optimizer, 5)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        scheduler.step(3)
