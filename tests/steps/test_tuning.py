"""After a rejection: what is tried, on what, and which try becomes a candidate of the same run."""

import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from clm.artefacts.files import sha256_of
from clm.artefacts.judgement import read_judgement
from clm.data.dataset import DataPolicy, Dataset, build_dataset
from clm.data.reading import parse_samples
from clm.diagnosis import Diagnosis, ProbeAnswer, ProbeVerdict
from clm.domain.job import TrainingJob, TrainingResult
from clm.domain.tuning import AS_SET, Trial, Tuning, TuningJob
from clm.errors import DataError, TrainingError
from clm.gates.decision import DecisionKind
from clm.questions.tune import Trials
from clm.steps.results import Proposal, Trained
from clm.steps.tuning import Reread, climb, entries
from clm.steps.world import Cycle, TuningPolicy
from tests import builders
from tests.diagnosis.test_probes import epochs
from tests.fakes import FakeClock, ScriptedAsker, oracle
from tests.test_cycle import Case, FakeFloor


def trial(number: int, excess: float | None, **what: object) -> Trial:
    """A try that ran to its end."""
    values: dict[str, object] = {
        "state": "complete",
        "variant": AS_SET,
        "settings": {"learning_rate": 1e-4},
        "epochs": 3,
        "seconds": 1.0,
    }
    return Trial(number=number, excess=excess, **{**values, **what})


class FakeTuner:
    """An answer to the question `tune`."""

    def __init__(self, *trials: Trial, why: str = "") -> None:
        self.trials, self.why = trials, why
        self.jobs: list[TuningJob] = []

    def __call__(self, job: TuningJob) -> Trials:
        self.jobs.append(job)
        if self.why:
            raise TrainingError("CHILD_FAILED", self.why)
        return Trials(trials=self.trials)


def unreadable(policy: DataPolicy) -> Dataset:
    """A store that cannot be read otherwise."""
    raise DataError("CANDLES_MISSING", "there are no candles")


def found(*names: str) -> Diagnosis:
    """A diagnosis with these findings."""
    return Diagnosis(
        answers=tuple(
            ProbeAnswer(
                name=name, verdict=ProbeVerdict.FOUND, statistic=1, threshold=0, message="m", next_step="n"
            )
            for name in names
        )
    )


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    """Windows of the simulator."""
    table = parse_samples(builders.raw_samples(), cutoff=builders.NOW, features=())
    return build_dataset(table, builders.data_policy())


def tried(
    directory: Path,
    dataset: Dataset,
    tuner: FakeTuner,
    *names: str,
    losses: Sequence[float] = (0.70,),
    reread: Reread = unreadable,
    **ladder: object,
) -> tuple[Tuning, Proposal | None]:
    """Climb after a rejection at these validation losses."""
    job = TrainingJob(
        run_id="p07_x",
        directory=directory / "job",
        spec=builders.training_spec(patience=1),
        context_length=128,
        feature_names=dataset.feature_names,
        champion=None,
        timeout_s=1,
    )
    result = TrainingResult(
        weights_path=Path("m"),
        file_sha256="",
        weights_hash="",
        n_parameters=1,
        best_epoch=1,
        stopped_because="",
        epochs=epochs(*losses),
        seconds=1,
        p_candidate_N=None,
        p_logistic_N=None,
        p_champion_N=None,
        champion_absent_because="",
    )
    policy = TuningPolicy(**{"trials": 3, "budget_s": 9, "storage": directory / "t.db", **ladder})
    cycle = Cycle(
        world=SimpleNamespace(asker=ScriptedAsker(tune=tuner), clock=FakeClock()),
        policies=SimpleNamespace(tuning=policy, data=builders.data_policy()),
        request=SimpleNamespace(stop=threading.Event()),
        run=None,
    )
    rejected = Trained(job=job, dataset=dataset, training=result, golden=None)
    tuned = climb(cycle, rejected, found(*names), reread)
    return tuned.tuning, tuned.proposal


def test_the_best_try_becomes_the_candidate_with_its_settings(tmp_path, dataset):
    """The others stay in the record."""
    tuner = FakeTuner(trial(0, -0.01), trial(1, -0.05, settings={"dropout": 0.3}), trial(2, None))
    tuning, candidate = tried(tmp_path, dataset, tuner, "misses_signal")
    assert tuning.best == 1
    assert candidate.spec.dropout == 0.3
    assert candidate.spec.patience == 3  # as it was tried
    assert candidate.dataset is dataset
    assert "patch size, depth" in tuning.left_out


@pytest.mark.parametrize(
    ("tries", "losses"),
    [
        ([trial(0, 0.002)], (0.9,)),  # better than what was rejected, worse than the base rate
        ([trial(0, -0.01)], (0.60,)),  # better than the base rate, worse than what was rejected
        ([trial(0, -0.1, state="pruned")], (0.7,)),  # never came to its end
        ([trial(0, None)], (0.7,)),
        ([], (0.7,)),
    ],
)
def test_a_try_that_is_no_better_is_no_candidate(tmp_path, dataset, tries, losses):
    """Each look at the test part costs evidence: none without a reason on validation."""
    tuning, candidate = tried(tmp_path, dataset, FakeTuner(*tries), "misses_signal", losses=losses)
    assert candidate is None
    assert tuning.best is None
    assert "no try beats" in tuning.because


def test_no_signal_no_tries(tmp_path, dataset):
    """The report says what data it would take, in the words of the finding."""
    tuner = FakeTuner()
    tuning, candidate = tried(tmp_path, dataset, tuner, "no_skill", "misses_signal")
    assert tuner.jobs == []
    assert candidate is None
    assert tuning.because == "no setting repairs no skill: n"


def test_a_cause_that_no_setting_repairs_is_not_tuned(tmp_path, dataset):
    """A hundred trials on a constant serving input teach nothing."""
    tuner = FakeTuner()
    tried(tmp_path, dataset, tuner, "serving_input_constant")
    tried(tmp_path, dataset, tuner)
    tried(tmp_path, dataset, tuner, "misses_signal", trials=0)
    tried(tmp_path, dataset, tuner, "misses_signal", budget_s=0.0)
    assert tuner.jobs == []


def test_only_the_knobs_that_the_findings_speak_for_are_turned(tmp_path, dataset):
    """Evidence instead of a search in the dark."""
    tuner = FakeTuner()
    tried(tmp_path, dataset, tuner, "features_unscaled")
    assert tuner.jobs[0].knobs == ("scaling",)


def test_another_reading_of_the_store_is_a_variant_and_its_failure_is_told(tmp_path, dataset):
    """Labels by profit can be had; candles are not there."""

    def reread(policy: DataPolicy) -> Dataset:
        if policy.window_source == "candles":
            return unreadable(policy)
        return replace(dataset, contradictions=policy.contradictions)

    names = ("outcome_contradicts_pnl", "misses_signal")
    tuner = FakeTuner(trial(0, -0.05, variant="contradictions: relabel"))
    tuning, candidate = tried(tmp_path, dataset, tuner, *names, reread=reread)
    assert candidate.data.contradictions == "relabel"
    assert candidate.dataset.contradictions == "relabel"
    assert tuning.left_out["windows of candles"] == "there are no candles"
    places = tuner.jobs[0].variants
    assert (places["contradictions: relabel"] / "train.question.npz").exists()


def test_the_study_has_the_name_of_its_data_and_settings(tmp_path, dataset):
    """What was killed goes on, and what differs is another study."""
    tuner = FakeTuner()
    tried(tmp_path, dataset, tuner, "misses_signal")
    tried(tmp_path, dataset, tuner, "misses_signal")
    tried(tmp_path, replace(dataset, fingerprint="other"), tuner, "misses_signal")
    first, second, other = (job.study for job in tuner.jobs)
    assert first == second != other


def test_every_try_is_a_row_and_only_the_candidate_is_an_attempt():
    """Tries never see a test row; the one that is to be judged counts before it is."""
    rows = entries("p07_x", Tuning(trials=(trial(0, -0.1), trial(1, None, state="failed")), best=0))
    assert [(row.subject, row.outcome, row.judged) for row in rows] == [
        ("p07_x/0", "CANDIDATE", True),
        ("p07_x/1", "FAILED", False),
    ]
    assert "learning_rate 0.0001" in rows[0].reason


class Repair:
    """A cycle whose first candidate is noise, and whose second is what the test says."""

    def __init__(self, case: Case, second: float) -> None:
        self.case = case
        case.floor = FakeFloor(p_value=0.01)
        case.tuning = TuningPolicy(trials=1, budget_s=9)
        case.asker.answers["tune"] = FakeTuner(trial(0, -0.1))
        answers = [oracle(0.0), oracle(second, seed=2)]
        case.trainer.predict = lambda dataset: answers[len(case.trainer.jobs) - 1](dataset)


def test_the_best_try_is_judged_once_and_promoted_in_the_same_run(tmp_path):
    """Both candidates are kept, one decision is taken, and the ledger counts two attempts."""
    case = Case(tmp_path)
    Repair(case, second=1.2)
    report = case.run()
    assert report.decision.kind is DecisionKind.PROMOTE
    assert [job.directory.name for job in case.trainer.jobs] == ["job", "tuned"]
    assert case.trainer.jobs[1].spec.learning_rate == 1e-4
    first, second = (artefact.manifest for artefact in case.journal.models)
    assert case.promoter.promoted == [second.version]
    assert (first.decision, second.decision) == ("REJECT", "PROMOTE")
    assert [entry.judged for entry in case.journal.entries] == [True]
    proof = case.proof
    assert proof["tuning"]["best"] == 0
    assert proof["tuning"]["lost"]["version"] == first.version
    assert proof["artefact"]["version"] == second.version
    assert proof["diagnosis"]["cause"] == "misses_signal"


def test_a_second_rejection_leaves_the_first_one_in_the_report(tmp_path):
    """The diagnosis explains the first model; the report shows the second next to it."""
    case = Case(tmp_path)
    Repair(case, second=0.0)
    report = case.run()
    assert report.decision.kind is DecisionKind.REJECT
    first, second = (artefact.manifest.version for artefact in case.journal.models)
    assert report.version == case.proof["artefact"]["version"] == first
    assert case.proof["tuning"]["lost"]["version"] == second
    assert case.promoter.promoted == []
    (run_dir,) = (tmp_path / "runs").iterdir()
    kept = read_judgement(run_dir).evidence.p_candidate_N
    assert (kept == report.pack.comparison.p_candidate_N).all(), "what verify-run reads is the first's"


@pytest.mark.parametrize("breaks", ["train", "register"])
def test_e15_a_retry_that_fails_leaves_a_report_of_one_candidate(tmp_path, breaks):
    """Figures of one model next to the training of another would be believed."""
    case = Case(tmp_path)
    Repair(case, second=1.2)
    adapter = case.trainer if breaks == "train" else case.journal
    name = "train" if breaks == "train" else "append_model"
    original, calls = getattr(adapter, name), []

    def broken_the_second_time(*arguments, **named):
        calls.append(1)
        if len(calls) == 2:
            raise TrainingError("CHILD_KILLED", "killed by SIGKILL")
        return original(*arguments, **named)

    setattr(adapter, name, broken_the_second_time)
    with pytest.raises(TrainingError):
        case.run()
    ((judged, evidence),) = case.journal.attempts
    assert judged is True
    (run_dir,) = (tmp_path / "runs").iterdir()
    assert case.proof["evidence_sha256"] == sha256_of(run_dir / "predictions.npz")
    assert evidence["auroc"] == case.proof["metrics"]["candidate"]["auroc"]
    first = case.journal.models[0].manifest.version
    artefact = case.proof["artefact"]
    assert (artefact and artefact["version"]) == (first if breaks == "train" else None)
