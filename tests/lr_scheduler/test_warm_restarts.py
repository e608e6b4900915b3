"""``CosineAnnealingWarmRestarts``: fractions of epochs, and runs that begin where they should."""

import math
import random
from fractions import Fraction

import pytest
import torch.optim.lr_scheduler as torchs

import torchopt_notes.lr_scheduler as ours

from .cases import OPTIMIZERS, driven
from .comparing import far

RUNS = [(1, 1), (7, 1), (33, 1), (1, 2), (3, 2), (10, 2), (50, 2), (2, 3), (5, 3), (4, 5), (1, 10)]
BASE, FLOOR = 0.1, 0.003


def made(module, T_0, T_mult, **options):
    optimizer = OPTIMIZERS["torch SGD"]()
    return module.CosineAnnealingWarmRestarts(optimizer, T_0, T_mult, FLOOR, **options)


def place(epoch, T_0, T_mult):
    """How far in which run an epoch is, in exact numbers."""
    if T_mult == 1:
        return Fraction(epoch) % T_0, T_0
    begin, length = Fraction(0), T_0
    while begin + length <= epoch:
        begin += length
        length *= T_mult
    return Fraction(epoch) - begin, length


def exact(epoch, T_0, T_mult):
    since, length = place(epoch, T_0, T_mult)
    return FLOOR + (BASE - FLOOR) * (1 + math.cos(math.pi * float(since / length))) / 2


@pytest.mark.parametrize("batches", [2, 3, 7, 10])
@pytest.mark.parametrize("runs", RUNS)
def test_fractions_of_epochs_are_those_of_torch(runs, batches):
    mine, theirs = made(ours, *runs), made(torchs, *runs)
    for epoch in range(40):
        for batch in range(batches):
            at = epoch + batch / batches
            mine.step(at)
            theirs.step(at)
            assert mine.last_epoch == theirs.last_epoch == epoch
            # Where torch takes the logarithm of what is next to a power, it is a run behind.
            if theirs.T_cur < theirs.T_i:
                assert mine.T_cur == pytest.approx(theirs.T_cur, abs=1e-12)
                assert mine.T_i == theirs.T_i
                assert far(mine.get_last_lr(), theirs.get_last_lr(), rtol=1e-11) is None
            assert mine.get_last_lr()[0] == pytest.approx(exact(Fraction(at), *runs), rel=1e-12)


@pytest.mark.parametrize("runs", RUNS)
def test_steps_without_an_epoch_are_those_of_torch(runs):
    mine, theirs = made(ours, *runs), made(torchs, *runs)
    for epoch in range(1, 300):
        mine.step()
        theirs.step()
        assert (mine.T_cur, mine.T_i, mine.last_epoch) == (theirs.T_cur, theirs.T_i, theirs.last_epoch)
        assert type(mine.T_cur) is type(theirs.T_cur) is int
        assert far(mine.get_last_lr(), theirs.get_last_lr()) is None
        assert mine.get_last_lr()[0] == pytest.approx(exact(epoch, *runs), rel=1e-12)


@pytest.mark.parametrize("runs", RUNS)
def test_steps_after_a_fraction_keep_it_as_with_torch(runs):
    mine, theirs = made(ours, *runs), made(torchs, *runs)
    for scheduler in (mine, theirs):
        scheduler.step(0.25)
    for _ in range(100):
        mine.step()
        theirs.step()
        assert mine.last_epoch == theirs.last_epoch
        assert mine.T_cur == pytest.approx(theirs.T_cur, abs=1e-12)
        assert far(driven(mine.optimizer), driven(theirs.optimizer), rtol=1e-11) is None


@pytest.mark.parametrize("seed", range(5))
def test_epochs_in_any_order_are_where_they_are(seed):
    numbers = random.Random(seed)
    for runs in RUNS:
        scheduler = made(ours, *runs)
        for _ in range(30):
            epoch = numbers.choice([numbers.randrange(10**6), numbers.random() * 500])
            scheduler.step(epoch)
            since, length = place(Fraction(epoch), *runs)
            assert scheduler.T_i == length
            assert scheduler.T_cur == pytest.approx(float(since), abs=1e-9 * length)
            assert scheduler.last_epoch == math.floor(epoch)


def starts(T_0, T_mult, most=10**9):
    begin, length = 0, T_0
    while begin <= most:
        yield begin, length
        begin += length
        length *= T_mult


MANY = [(first, factor) for first in (*range(1, 40), 100, 365, 1000) for factor in (2, 3, 4, 5, 6, 7, 10)]


def missed(module):
    """Where a run begins and the scheduler does not see it."""
    found = []
    for runs in MANY:
        scheduler = made(module, *runs)
        for begin, length in starts(*runs):
            scheduler.step(begin)
            if (scheduler.T_cur, scheduler.T_i) != (0, length):
                found.append((*runs, begin))
    return found


def test_every_run_begins_at_its_first_epoch():
    assert missed(ours) == []


def test_where_torchs_logarithm_is_rounded_to_the_run_before_it_would_be_noticed():
    wrong = missed(torchs)
    assert len(wrong) > 10
    first, factor, begin = wrong[0]
    theirs, mine = made(torchs, first, factor), made(ours, first, factor)
    theirs.step(begin)
    mine.step(begin)
    # At the end of a run instead of the beginning of the next: at the floor instead of the top.
    assert theirs.get_last_lr()[0] == pytest.approx(FLOOR)
    assert mine.get_last_lr()[0] == BASE


@pytest.mark.parametrize("runs", RUNS)
def test_the_last_epoch_before_a_run_belongs_to_the_one_before(runs):
    scheduler = made(ours, *runs)
    for begin, length in list(starts(*runs, most=10**6))[1:40]:
        scheduler.step(begin - 1)
        before = length // runs[1]
        assert (scheduler.T_cur, scheduler.T_i) == (before - 1, before)


@pytest.mark.parametrize("runs", RUNS)
def test_last_epoch_finds_its_run_where_torch_wraps_only_once(runs):
    for last_epoch in (0, 5, 9, 29, 100, 1000):
        optimizer = OPTIMIZERS["torch SGD"]()
        for group in optimizer.param_groups:
            group["initial_lr"] = group["lr"]
        scheduler = ours.CosineAnnealingWarmRestarts(optimizer, *runs, FLOOR, last_epoch=last_epoch)
        for epoch in range(last_epoch + 1, last_epoch + 40):
            assert scheduler.last_epoch == epoch
            assert scheduler.get_last_lr()[0] == pytest.approx(exact(epoch, *runs), rel=1e-12)
            scheduler.step()


def test_torch_is_wrong_there_after_the_second_run():
    optimizer = OPTIMIZERS["torch SGD"]()
    for group in optimizer.param_groups:
        group["initial_lr"] = group["lr"]
    theirs = torchs.CosineAnnealingWarmRestarts(optimizer, 3, 2, FLOOR, last_epoch=29)
    assert theirs.get_last_lr()[0] != pytest.approx(exact(30, 3, 2), rel=1e-3)
