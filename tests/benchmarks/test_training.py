"""A GPT trained by everybody side by side: the same start, the same batches, and nobody in another's way."""

import pytest

import torchopt_notes
from benchmarks.contestants import OURS, find_contestants
from benchmarks.end_to_end import train
from tests.benchmarks.wrong import contestant

FUSED = find_contestants(["torch fused"])[1]


def trained(*contestants, steps=3):
    progress = []
    found = list(train(contestants, steps, "cpu", progress.append))
    assert progress == list(range(1, steps + 1))
    return {one["contestant"]: one for one in found}


def test_the_same_numbers_train_to_the_same_loss():
    found = trained(OURS, FUSED, contestant(), contestant("sloppy", mistake="no bias correction"))
    expected = found["torch fused"]["final_loss"]
    assert found["ours"]["final_loss"] == pytest.approx(expected, rel=1e-5)
    assert found["another"]["final_loss"] == pytest.approx(expected, rel=1e-5)
    assert found["sloppy"]["final_loss"] != pytest.approx(expected, rel=1e-3)
    for one in found.values():
        assert 0 < one["share"] < 1
        assert 0 < one["update"] < one["step"]


@pytest.mark.parametrize(
    ("other", "reason"),
    [
        (contestant(cls="Raising"), "raises RuntimeError: no kernel image"),
        (contestant(cls="RaisingLate"), "raises RuntimeError: no kernel image"),
        (contestant(cls="Refusing"), "raises AssertionError: needs another machine"),
        (contestant(optimizer="lion"), "has no such optimizer"),
    ],
    ids=["first step", "later", "construction", "optimizer"],
)
def test_who_cannot_is_left_out_and_the_others_go_on(other, reason):
    found = trained(OURS, other)
    assert found["another"] == {"contestant": "another", "skipped": reason}
    assert found["ours"]["final_loss"] > 0


@pytest.mark.parametrize("where", ["__init__", "step"])
@pytest.mark.parametrize("error", [RuntimeError, TypeError])
def test_what_ours_raises_is_not_swallowed(where, error, monkeypatch):
    def broken(self, *arguments, **options):
        raise error("in our code")

    monkeypatch.setattr(torchopt_notes, "AdamW", type("Broken", (torchopt_notes.AdamW,), {where: broken}))
    with pytest.raises(error, match="in our code"):
        trained(FUSED, OURS)
