"""The table of addresses: only what has moved is written, and never less than that."""

import pytest
import torch

from torchopt_notes.engine import launch_table
from torchopt_notes.engine.addresses import WORTHWHILE
from torchopt_notes.engine.launch_table import LaunchTable


def make_columns(n=5, slots=3):
    return [[torch.zeros(10) for _ in range(n)] for _ in range(slots)]


def make_table(columns):
    return LaunchTable(torch.device("cpu"), [10] * len(columns[0]), len(columns), range(len(columns)))


def point(table, columns):
    table.read(columns)
    return table.point()


def addresses(columns):
    return [[tensor.data_ptr() for tensor in column] for column in columns]


@pytest.fixture
def writes(monkeypatch):
    """The tables that are written, in order."""
    found = []
    original = launch_table.DeviceArray.write

    def write(array, values):
        found.append(values.tolist())
        return original(array, values)

    monkeypatch.setattr(launch_table.DeviceArray, "write", write)
    return found


def test_after_a_failure_the_old_table_is_not_taken_for_the_new_one(monkeypatch):
    columns = make_columns()
    table = make_table(columns)
    point(table, columns)
    columns[0][1] = torch.zeros(11)[1:]  # no longer aligned, so there must be other maps

    def fail(*arguments):
        raise MemoryError

    with monkeypatch.context() as patched:
        patched.setattr(launch_table, "upload", fail)
        with pytest.raises(MemoryError):
            point(table, columns)
    assert point(table, columns).tolist() == addresses(columns)
    assert [aligned for aligned, _ in table.maps] == [True, False]


@pytest.mark.parametrize("slot", range(3))
def test_a_tensor_that_moves(slot, writes):
    columns = make_columns()
    table = make_table(columns)
    point(table, columns)
    columns[slot][2] = torch.zeros(10)
    assert point(table, columns).tolist() == addresses(columns)


def test_nothing_is_written_while_nothing_moves(writes):
    columns = make_columns()
    table = make_table(columns)
    point(table, columns)
    written = len(writes)
    for _ in range(2):
        assert point(table, columns).tolist() == addresses(columns)
    assert len(writes) == written
    columns[1][0] = torch.zeros(10)
    point(table, columns)
    assert len(writes) == written + 1


@pytest.mark.parametrize("back", [True, False])
def test_only_the_last_reading_counts(back, writes):
    """Between them lies a step that was skipped."""
    columns = make_columns()
    table = make_table(columns)
    point(table, columns)
    written, before = len(writes), columns[1][0]
    columns[1][0] = torch.zeros(10)
    table.read(columns)
    columns[1][0] = before if back else torch.zeros(10)
    assert point(table, columns).tolist() == addresses(columns)
    assert len(writes) == written + (not back)


def test_a_step_after_other_tensors_stood_in(writes):
    columns = make_columns()
    table = make_table(columns)
    point(table, columns)
    table.read(columns)
    table.point(make_columns())
    assert point(table, columns).tolist() == addresses(columns)


def test_tensors_without_elements():
    """All at address 0, where a table is before anything was noted."""
    columns = [[torch.empty(0) for _ in range(5)] for _ in range(3)]
    table = LaunchTable(torch.device("cpu"), [0] * 5, 3, range(3))
    assert point(table, columns).tolist() == addresses(columns)
    columns[1][0] = torch.zeros(10)
    assert point(table, columns).tolist() == addresses(columns)


def test_tensors_that_are_known_to_be_alike():
    columns = make_columns(n=WORTHWHILE)
    table = make_table(columns)
    point(table, columns)
    columns[1][3] = torch.zeros(11)[1:]
    table.read(columns, alike=True)
    assert table.point().tolist() == addresses(columns)
    assert [aligned for aligned, _ in table.maps] == [True, False]


def test_other_tensors_in_their_place():
    columns, copies = make_columns(), make_columns()
    table = make_table(columns)
    table.read(columns)
    assert table.point(copies).tolist() == addresses(copies)
    assert table.point().tolist() == addresses(columns)


@pytest.mark.parametrize("offset", [1, 2, 3])
@pytest.mark.parametrize("slot", range(3))
def test_a_tensor_that_loses_its_alignment_and_gets_it_back(slot, offset):
    columns = make_columns()
    table = make_table(columns)
    point(table, columns)
    assert [(aligned, chunks.chosen.tolist()) for aligned, chunks in table.maps] == [(True, [True] * 5)]
    version, plain = table.version, columns[slot][3]
    columns[slot][3] = torch.zeros(10 + offset)[offset:]
    point(table, columns)
    others = [True, True, True, False, True]
    assert [(aligned, chunks.chosen.tolist()) for aligned, chunks in table.maps] == [
        (True, others),
        (False, [not other for other in others]),
    ]
    assert table.version > version
    columns[slot][3] = plain
    point(table, columns)
    assert [aligned for aligned, _ in table.maps] == [True]


def test_a_slot_whose_alignment_does_not_matter():
    columns = make_columns()
    table = LaunchTable(torch.device("cpu"), [10] * 5, 3, [0, 1])
    columns[2][0] = torch.zeros(11)[1:]
    point(table, columns)
    assert [aligned for aligned, _ in table.maps] == [True]


@pytest.mark.parametrize("moves", [True, False])
def test_a_capture_writes_and_leaves_the_ordinary_table_to_be_written_again(moves, writes, monkeypatch):
    """What is written during a capture goes to memory of the graph's own, at every replay."""
    columns = make_columns()
    table = make_table(columns)
    point(table, columns)
    monkeypatch.setattr(launch_table, "capturing", lambda: True)
    for _ in range(2):
        if moves:
            columns[1] = make_columns(slots=1)[0]
        written = len(writes)
        point(table, columns)
        assert addresses(columns) in writes[written:]
    monkeypatch.setattr(launch_table, "capturing", lambda: False)
    written = len(writes)
    point(table, columns)
    assert writes[written:] == [addresses(columns)]
    point(table, columns)
    assert len(writes) == written + 1
