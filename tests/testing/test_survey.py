"""What the survey runs, what it makes of the outcomes, and what it says about them."""

import json
import math
from pathlib import Path

import pytest
import torch

from tests.testing.wrong import WrongAdam
from torchopt_notes import SGD, Adam, AdamW, list_optimizers
from torchopt_notes.testing import CASES, FLOAT64, Histogram, Outcome, error_growth, pages
from torchopt_notes.testing.comparison import EDGES, histogram_of
from torchopt_notes.testing.explained import EXPLAINED, Explained, explanation
from torchopt_notes.testing.plan import DEFAULT_DTYPES, plan
from torchopt_notes.testing.reports import as_json, failures, page, share
from torchopt_notes.testing.scenarios import SCENARIOS
from torchopt_notes.testing.survey import Cell, Job, Result, cells, run, run_all, stale
from torchopt_notes.testing.trials import DTYPES, SURVEYED, OurCase, ThirdParty


def job(case="nadam", dtype="bf16", scenarios=("shapes", "checkpoint"), backend="eager"):
    return Job(OurCase(case), backend, dtype, scenarios=scenarios)


def result(*outcomes, case="nadam", dtype="bf16", backend="eager", **more):
    return Result(job(case, dtype, backend=backend), "torch.optim.NAdam", tuple(outcomes), **more)


def test_a_histogram_counts_and_adds():
    one = histogram_of(torch.tensor([1.0, 1.0, 1.0]), torch.tensor([1.0, 1 + 2**-22, torch.nan]))
    assert one.counts == (1, 0, 1, 0, 0, 0, 0, 1)
    assert one.largest == math.inf
    both = one + histogram_of(torch.tensor([0.0]), torch.tensor([0.0]))
    assert both.counts[0] == 2
    assert str(both) == "equal: 50.00 %, ≤ 2: 25.00 %, farther: 25.00 %"
    assert str(Histogram()) == "nothing"
    assert len(both.counts) == len(EDGES)


def test_a_histogram_counts_what_the_rounded_reference_equals():
    exact = torch.tensor([1 / 3], dtype=torch.float64)
    assert histogram_of(exact.bfloat16(), exact).counts[0] == 1


@pytest.mark.parametrize("optimizer", [Adam, AdamW, SGD])
def test_growth_notices_a_learning_rate_that_is_a_little_off_in_either_direction(optimizer):
    reference, kwargs = getattr(torch.optim, optimizer.__name__), {"lr": 1e-2}
    right = error_growth(optimizer, reference, kwargs=kwargs, candidate_kwargs={"backend": "eager"})
    assert right.problem == ""
    assert right.ratio == 1
    for change in (1 + 3e-5, 1 - 3e-5):
        biased = error_growth(optimizer, reference, kwargs=kwargs, candidate_kwargs={"lr": 1e-2 * change})
        assert "after 1,000 steps" in biased.problem


class NotANumber(SGD):
    """Loses its weights in the third step."""

    def _step(self, closure):
        super()._step(closure)
        self.count = getattr(self, "count", 0) + 1
        if self.count == 3:
            with torch.no_grad():
                self.param_groups[0]["params"][0].fill_(torch.nan)


def test_growth_that_is_no_number_is_a_problem_with_any_reference():
    for reference in (torch.optim.SGD, FLOAT64):
        assert "nan" in error_growth(NotANumber, reference, oracle=SGD, steps=5).problem
    found = error_growth(SGD, FLOAT64, candidate_kwargs={"lr": 0.5}, steps=5)
    assert found.problem == ""
    assert max(found.errors) < 1e-6  # the oracle's learning rate is the candidate's


@pytest.mark.parametrize(
    ("request_", "message"),
    [({"steps": 0}, "steps must be"), ({"steps": 1.5}, "steps must"), ({"shape": (3, 0)}, "shape")],
)
def test_growth_of_nothing_is_refused(request_, message):
    with pytest.raises(ValueError, match=message):
        error_growth(SGD, torch.optim.SGD, **request_)


def test_what_is_explained_does_not_fail():
    found = run(job())
    assert [outcome.verdict for outcome in found.outcomes] == ["same", "explained"]
    assert "mu_product" in found.outcomes[1].explanation
    assert "got torch.float32" in found.outcomes[1].reason
    assert not found.failures
    assert cells([found])[0].status == "explained"


def test_an_explanation_is_for_what_it_names():
    assert explanation("nadam-decoupled", "compiled", "fp64", "switch")
    assert explanation("nadam", "eager", "fp32", "switch") is None
    assert explanation("adam", "eager", "bf16", "switch") is None
    assert explanation("nadam", "eager", "bf16", "groups") is None


def test_every_explanation_names_something():
    names = {scenario.name for scenario in SCENARIOS} | {"growth"}
    for entry in EXPLAINED:
        assert entry.dtypes
        assert set(entry.dtypes) <= DTYPES.keys()
        assert any(
            entry.covers(case.name, b, entry.dtypes[0], entry.scenario) for case in CASES for b in DEFAULT_DTYPES
        )
        assert entry.scenario in names
        assert entry.reason.endswith(".")


def test_an_explanation_is_stale_once_nothing_differs():
    entry = Explained("nadam", "checkpoint", ("bf16",), "Why.")
    same, differs = Outcome("checkpoint", "same"), Outcome("checkpoint", "explained", "what", "Why.")
    assert stale([result(same)], [entry]) == [entry]
    assert stale([result(differs)], [entry]) == []
    assert stale([result(same), result(differs, backend="compiled")], [entry]) == []
    assert stale([result(same, case="adam"), result(Outcome("shapes", "same"))], [entry]) == []


def test_a_failure_is_said_in_words():
    found = result(Outcome("groups", "failed", "step 2, params[0][1]: got 1.0, expected 2.0"))
    assert failures([found]) == [
        "nadam, eager, bf16, against torch.optim.NAdam: scenario groups: step 2, params[0][1]: got 1.0, expected 2.0"
    ]


def test_what_a_job_raises_is_its_failure_and_no_end_of_the_others():
    results = run_all([Job(OurCase("no-such-case"), "eager", "fp32"), job(scenarios=("shapes",))], workers=0)
    assert [bool(one.failures) for one in results] == [True, False]
    assert "the comparison itself raised" in results[0].failures[0].reason


def test_processes_give_what_one_process_gives():
    jobs = [job("lion", "fp32", ("shapes",)), job("sgd", "fp32", ("groups", "schedule"))]
    done = []
    shared, alone = run_all(jobs, 2, done.append), run_all(jobs, 0)
    assert len(done) == 2
    assert [one.job for one in shared] == jobs
    assert [one.outcomes for one in shared] == [one.outcomes for one in alone]


def test_the_plan_covers_every_case_dtype_and_optimizer():
    jobs = plan(backends=["eager"])
    assert {one.subject.name for one in jobs if one.dtype == "fp32"} == {case.name for case in SURVEYED}
    for dtype, torch_dtype in DTYPES.items():
        wanted = {case.optimizer.__name__ for case in SURVEYED if case.takes(torch_dtype)}
        assert {one.subject.optimizer for one in jobs if one.dtype == dtype} == wanted
    assert {one.subject.optimizer for one in jobs if one.growth_steps} == {case.optimizer.__name__ for case in CASES}
    assert {one.subject.optimizer.lower() for one in jobs} == set(list_optimizers())
    assert len(plan(backends=["eager"], every_case=True)) > len(jobs)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"optimizer": "adamm"}, "no optimizer is called 'adamm'; there are adabelief, adadelta"),
        ({"backends": ["cuda"]}, "no backend is called 'cuda'; there are eager, compiled, triton"),
        ({"dtypes": ["float32"]}, "no dtype is called 'float32'; there are fp32, bf16"),
        ({"scenarios": ["shape"]}, "no scenario is called 'shape'"),
        (
            {"optimizer": "adafactor-eps", "dtypes": ["complex64"], "backends": ["eager"]},
            "'adafactor-eps' takes none of the dtypes complex64",
        ),
    ],
)
def test_a_plan_of_nothing_says_what_there_is(arguments, message):
    with pytest.raises(ValueError, match=message):
        plan(**arguments)


def test_a_cell_sums_up_its_cases():
    first = result(Outcome("shapes", "same", histogram=Histogram((3, 1, 0, 0, 0, 0, 0, 0), 1.0), error=0.5), error=0.5)
    second = result(Outcome("groups", "same", histogram=Histogram((4,) + (0,) * 7), error=0.7), error=0.7)
    (cell,) = cells([first, second])
    assert cell.histogram.counts[:2] == (7, 1)
    assert (cell.error, cell.worst, cell.status) == (0.7, "groups (nadam)", "same")
    assert math.isnan(cell.error_ratio)
    assert Cell("NAdam", "eager", "bf16", (result(Outcome("x", "failed", "y")),)).status == "failed"


def test_less_than_all_is_not_100_percent():
    assert (share(1.0), share(0.999999), share(0.5)) == ("100 %", "99.99 %", "50.00 %")


def test_the_reference_page_is_up_to_date():
    committed = Path(__file__).parent.parent.parent / "docs" / "parity-reference.md"
    assert committed.read_text() == f"{pages.page()}\n", (
        "python -m torchopt_notes.testing.pages > docs/parity-reference.md"
    )


def test_json_and_page_hold_everything():
    results = [run(job()), result(Outcome("groups", "failed", "why"), error=math.inf)]
    found = json.loads(json.dumps(as_json(results, EXPLAINED[:1], 1.0, 2), allow_nan=False))
    assert found["passed"] is False
    assert found["counts"] == {"same": 1, "explained": 1, "failed": 1}
    assert [outcome["verdict"] for outcome in found["cells"][0]["cases"][0]["outcomes"]] == ["same", "explained"]
    assert "stale" in found["stale"][0]
    text = page(results, [])
    assert "| `NAdam` | eager | bf16 | torch.optim.NAdam |" in text
    assert "**explained**, checkpoint: torch casts `mu_product`" in text
    assert "**failed**, groups: why" in text


def third_party(mistake=None, **more):
    path = f"{WrongAdam.__module__}:WrongAdam"
    arguments = {"mistake": mistake} if mistake else {}
    return ThirdParty(path, "adam", arguments | more)


def test_a_third_partys_right_optimizer_passes_and_a_wrong_one_does_not():
    right = run(Job(third_party(), "-", "fp32", growth_steps=30))
    assert not right.failures
    assert right.against == "torch.optim.Adam"
    wrong = run(Job(third_party("replaces NaN"), "-", "fp32", scenarios=("shapes", "not-finite")))
    assert [outcome.scenario for outcome in wrong.failures] == ["not-finite"]


class OtherNames(WrongAdam):
    """Keeps one state more, so that states cannot be compared."""

    drift = 0.0

    def update(self, param, group):
        """One step, which may spoil a state a little."""
        super().update(param, group)
        if state := self.state[param]:
            state["extra"] = torch.zeros(1)
            state["exp_avg"].mul_(1 + self.drift)


class DriftingState(OtherNames):
    """Whose average grows."""

    drift = 1e-4


def test_without_equal_names_states_are_left_alone_and_still_matter():
    for cls, failing in ((OtherNames, False), (DriftingState, True)):
        subject = ThirdParty(f"{__name__}:{cls.__name__}", "adam")
        assert subject.trial().states is False
        assert bool(run(Job(subject, "-", "fp32", scenarios=("shapes", "longer"))).failures) is failing


@pytest.mark.parametrize(
    ("subject", "message"),
    [
        (ThirdParty("tests.testing.wrong"), "must name a module and a class"),
        (ThirdParty("no_such_module:Adam"), "cannot be imported: No module named 'no_such_module'"),
        (ThirdParty("tests.testing.wrong:MISTAKES"), "is no torch.optim.Optimizer"),
        (ThirdParty("tests.testing.wrong:WrongAdam"), "no optimizer here is called 'wrongadam'; name the counterpart"),
        (third_party(learning_rate=0.1), "neither takes 'learning_rate'"),
        (third_party(betas=3), "cannot take a step with"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_cannot_be_compared_says_why(subject, message):
    with pytest.raises(ValueError, match=message):
        subject.trial()


def test_arguments_go_to_who_takes_them():
    trial = third_party(lr=0.5, weight_decay=0.25, mistake="clips gradients").trial()
    assert trial.kwargs == {"lr": 0.5, "betas": (0.9, 0.999), "eps": 1e-8}
    assert trial.candidate_kwargs == {"mistake": "clips gradients"}
    assert trial.reference.keywords == {"weight_decay": 0.25}
