"""One learning cycle against a world in memory: what is decided, what is touched, what is left behind."""

import hashlib
import threading
from dataclasses import replace
from pathlib import Path

import orjson
import pytest

from clm.artefacts.files import sha256_of
from clm.artefacts.golden import read_golden
from clm.artefacts.registry import DirectoryRegistry
from clm.cycle import run_cycle
from clm.data.floor import Floor, FloorPolicy, Skill
from clm.data.reading import RawSamples
from clm.domain.job import ChampionRef
from clm.domain.ledger import LedgerEntry, LedgerKind
from clm.domain.line import DEFAULT_LINE
from clm.domain.load_check import LoadCheck, Route
from clm.domain.task import Task, Trigger
from clm.errors import Interrupted, StoreBusy, TrainingError
from clm.events import RetrainingCompleted, RetrainingFailed, RetrainingStarted
from clm.gates.decision import DecisionKind
from clm.ports import PromotionState, RunStatus
from clm.questions.floor import FloorInputs
from clm.questions.load_check import LoadCheckInputs, LoadCheckJob
from clm.steps.run import CycleReport
from clm.steps.world import Policies, Request, TuningPolicy, World
from tests import builders
from tests.fakes import (
    FakeBrake,
    FakeClock,
    FakeJournal,
    FakePromoter,
    FakeSource,
    FakeTrainer,
    ScriptedAsker,
    oracle,
)


class Case:
    """A world, its fakes, and a way to run one cycle in it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.source = FakeSource(builders.raw_samples())
        self.trainer = FakeTrainer(oracle(1.2))
        self.promoter = FakePromoter()
        self.journal = FakeJournal()
        self.brake = FakeBrake()
        self.promote = True
        self.floor: FakeFloor | None = None
        self.loader: FakeLoader | None = None
        self.asker = ScriptedAsker()
        self.audit = builders.audit_policy()
        self.tuning = TuningPolicy()
        self.training = builders.training_spec()
        self.code_version = "test"
        self.stop = threading.Event()

    def run(self, task: Task | None = None) -> CycleReport:
        world = World(
            line=DEFAULT_LINE,
            clock=FakeClock(),
            source=self.source,
            trainer=self.trainer,
            registry=DirectoryRegistry(self.directory / "artefacts"),
            promoter=self.promoter,
            journal=self.journal,
            brake=self.brake,
            runs_dir=self.directory / "runs",
            code_version=self.code_version,
            asker=self.asker,
        )
        if self.floor:
            self.asker.answers["floor"] = self.floor
        if self.loader:
            self.asker.answers["load_check"] = self.loader
        policies = Policies(
            history_days=0,
            max_rows=100_000,
            data=builders.data_policy(),
            audit=self.audit,
            training=self.training,
            train_timeout_s=60,
            evaluation=builders.evaluation_policy(),
            gates=builders.gate_policy(),
            promote=self.promote,
            floor=FloorPolicy(block_h=24.0, embargo_h=1.0) if self.floor else None,
            load_check=self.loader is not None,
            tuning=self.tuning,
        )
        request = Request(task=task, reason="a test", stop=self.stop, on_epoch=lambda _: None)
        return run_cycle(world, policies, request)

    @property
    def proof(self) -> dict[str, object]:
        (path,) = (self.directory / "runs").glob("*/proof.json")
        return orjson.loads(path.read_bytes())


class FakeFloor:
    """An answer to the question `floor`."""

    def __init__(self, p_value: float) -> None:
        self.floor = Floor(
            skills={"logistic regression": Skill(auroc=0.5, p_value=p_value)}, n_rows=900, n_blocks=90
        )
        self.asked = 0

    def __call__(self, inputs: FloorInputs) -> Floor:
        self.asked += 1
        return self.floor


class FakeLoader:
    """An answer to the question `load_check`: every golden row as it was, or `off`."""

    def __init__(self, off: float, p99_ms: float = 2.0) -> None:
        self.off = off
        self.p99_ms = p99_ms
        self.jobs: list[LoadCheckJob] = []

    def __call__(self, inputs: LoadCheckInputs) -> LoadCheck:
        job, golden = inputs.job, inputs.golden
        self.jobs.append(job)
        return LoadCheck(
            sha256=job.sha256,
            size_bytes=7,
            weights_finite=True,
            golden=golden,
            routes=(Route(name="the engine", p_G=golden.p_G + self.off),),
            predictions=300,
            p50_ms=1.0,
            p99_ms=self.p99_ms,
            p99_wall_ms=3.0,
        )


@pytest.fixture
def case(tmp_path: Path) -> Case:
    """A case that would be promoted."""
    return Case(tmp_path)


def test_a_model_with_skill_is_registered_and_promoted(case):
    """This is what the daemon is for."""
    report = case.run()
    assert report.decision.kind is DecisionKind.PROMOTE
    assert case.promoter.promoted == [report.version]
    assert [type(event) for event in case.journal.events] == [RetrainingStarted, RetrainingCompleted]
    assert case.journal.events[-1].status == "promoted"
    assert case.proof["decision"] == "PROMOTE"
    assert set(report.pack.seconds) == {"read", "train", "judge", "register", "promote", "total"}


def test_a_file_that_answers_as_it_was_judged_is_promoted(case):
    """The proof is about the very bytes that are registered, and is part of the verdicts."""
    case.loader = FakeLoader(off=0.0)
    report = case.run()
    assert report.decision.kind is DecisionKind.PROMOTE
    assert "parity" in report.decision.reasons[0]
    assert "budget" in report.decision.reasons[0]
    assert case.loader.jobs[0].sha256 == report.pack.artefact.manifest.sha256
    assert "prove" in report.pack.seconds


def test_f5_a_file_that_answers_otherwise_than_it_was_judged_is_rejected(case):
    """The gates would have judged one model and the engine served another."""
    case.loader = FakeLoader(off=2e-5)
    report = case.run()
    assert report.decision.kind is DecisionKind.REJECT
    assert report.decision.reasons[0].startswith(
        "parity: Largest difference in a fresh process: the engine 2.0e-05;"
    )
    assert case.promoter.promoted == []


def test_golden_rows_are_kept_with_the_artefact(case):
    """Any engine that serves the model, now or after a rollback, can be checked with them."""
    report = case.run()
    artefact = report.pack.artefact
    golden = read_golden(artefact.golden_path)
    assert golden.window_GLC.shape[:2] == (64, 128)
    assert golden.p_G.min() == case.trainer.predict(report.pack.dataset).min()
    assert golden.p_G.max() == case.trainer.predict(report.pack.dataset).max()
    assert artefact.manifest.golden_sha256 == sha256_of(artefact.golden_path)
    assert artefact.manifest.inputs.window_source == "history"
    assert not list(report.proof_dir.rglob("golden.npz"))


def test_noise_is_rejected_by_the_skill_gate_and_kept_as_an_artefact(case):
    """A rejected model is evidence, and evidence is kept; the engine never sees it."""
    case.trainer.predict = oracle(0.0)
    report = case.run()
    assert report.decision.kind is DecisionKind.REJECT
    assert {v.name for v in report.pack.verdicts if v.status == "FAIL"} >= {"skill"}
    assert case.promoter.promoted == []
    assert [a.manifest.version for a in case.journal.models] == [report.version]
    assert case.journal.events[-1].status == "rejected"


def test_a_rejection_is_explained_in_pack_row_and_event(case):
    """Unmeasured advice explains nothing: the first finding names the cause and its figure."""
    case.trainer.predict = oracle(0.0)
    case.floor = FakeFloor(p_value=0.4)
    report = case.run()
    cause = report.pack.diagnosis.cause
    assert cause.name == "no_skill"
    assert cause.statistic == pytest.approx(0.4)
    assert "no amount of the same rows" in cause.next_step
    told = case.journal.events[-1].findings
    assert told[0]["name"] == "no_skill"
    assert case.journal.facts[-1]["findings"] == told
    assert case.proof["diagnosis"]["cause"] == "no_skill"
    assert "cause: no skill" in case.proof["summary"]
    unknown = {a["name"] for a in case.proof["diagnosis"]["answers"] if a["verdict"] == "UNKNOWN"}
    assert unknown >= {"best_epoch_not_restored", "learning_rate_too_high", "time_leak"}


def test_the_same_model_as_the_champion_is_held(case):
    """A restart of the engine for nothing gained is a risk for nothing gained."""
    case.trainer.predict_champion = case.trainer.predict
    report = case.run()
    assert report.decision.kind is DecisionKind.KEEP
    assert report.pack.comparison.log_loss_minus_champion.value == 0.0
    assert case.promoter.promoted == []


def test_a_blocking_finding_refuses_before_a_second_is_trained(case):
    """A run that cannot succeed costs a second, not an hour."""
    case.source.raw = RawSamples(rows=case.source.raw.rows[:100])
    report = case.run()
    assert report.decision.kind is DecisionKind.REFUSED
    assert case.trainer.jobs == []
    assert case.journal.finished[0][1:] == (RunStatus.COMPLETED, "REFUSED")
    assert "too_few" in report.decision.reasons[0]
    assert case.proof["findings"]


def test_a_frozen_system_trains_nothing_and_says_why(case):
    """The freeze keys belong to the people who stop everything."""
    case.brake.answers = ["quantum:learning:frozen is 1"]
    report = case.run()
    assert report.decision.kind is DecisionKind.REFUSED
    assert "quantum:learning:frozen is 1" in report.decision.reasons[0]
    assert case.trainer.jobs == []


def test_a_system_frozen_while_training_promotes_nothing(case):
    """Training takes minutes; the keys are asked again before the engine is touched."""
    case.brake.answers = [None, "quantum:system:mode is LOCKDOWN"]
    report = case.run()
    assert report.decision.kind is DecisionKind.PROMOTE
    assert case.promoter.promoted == []
    assert report.promotion.state is PromotionState.WAITING
    assert case.journal.events[-1].status == "waiting"


def test_f15_the_manual_mode_leaves_the_switch_to_a_person(case):
    """Some operators never let a machine touch the engine."""
    case.promote = False
    report = case.run()
    assert case.promoter.promoted == []
    assert report.version in report.promotion.reason


def earlier_attempt(number: int) -> LedgerEntry:
    """A candidate that was judged before, with a small profit."""
    return LedgerEntry(
        kind=LedgerKind.RUN,
        subject=f"p07_{number}",
        run_id=f"p07_{number}",
        version=None,
        outcome="REJECT",
        judged=True,
        reason="no skill",
        facts={"sharpe": 0.1},
    )


def test_each_attempt_on_one_champion_is_judged_more_strictly(case):
    """Repeated tries are multiple tests; the run says which one it was and what the ledger held."""
    for n in range(36):
        case.journal.append(earlier_attempt(n))
    head = case.journal.standing().head_sha256
    report = case.run()
    assert case.proof["attempt"]["number"] == 37
    assert report.pack.comparison.auroc_interval.confidence == pytest.approx(1 - 0.1 / (37 * 38))
    assert case.proof["ledger"] == {"rows": 36, "head_sha256": head, "broken_because": None}
    assert case.proof["attempt"]["deflated_sharpe"]["n_trials"] == 37


def test_what_the_ledger_keeps_of_a_run_is_what_was_measured(case):
    """With the hash of the proof pack: neither can be changed without the other."""
    report = case.run()
    ((judged, evidence),) = case.journal.attempts
    proof = (report.proof_dir / "proof.json").read_bytes()
    assert judged is True
    assert evidence["proof_sha256"] == hashlib.sha256(proof).hexdigest()
    assert evidence["data_fingerprint"] == report.pack.dataset.fingerprint
    assert evidence["weights_hash"] == "w" * 64
    assert evidence["auroc"] == report.pack.comparison.candidate.auroc


def test_a_run_that_was_never_judged_is_no_attempt(case):
    """It has not seen the test rows."""
    case.source.raw = RawSamples(rows=case.source.raw.rows[:100])
    case.run()
    assert [judged for judged, _ in case.journal.attempts] == [False]


def test_nothing_is_promoted_by_itself_while_the_ledger_is_broken(case):
    """Attempts that cannot be counted cannot be paid for; a person may still decide."""
    case.journal.broken_because = "row 3 is edited"
    report = case.run()
    assert report.decision.kind is DecisionKind.PROMOTE
    assert case.promoter.promoted == []
    assert report.promotion.state is PromotionState.WAITING
    assert "row 3 is edited" in report.promotion.reason
    assert "row 3 is edited" in (report.proof_dir / "proof.md").read_text()


def test_a_promotion_that_was_rolled_back_is_not_called_promoted(case):
    """Readers of the stream must not believe that the new model serves."""
    case.promoter.state = PromotionState.ROLLED_BACK
    case.run()
    assert case.journal.events[-1].status == "rolled_back"


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (TrainingError("CHILD_KILLED", "killed by SIGKILL"), RunStatus.FAILED, "CHILD_KILLED"),
        (Interrupted("STOPPING", "the daemon ends"), RunStatus.INTERRUPTED, "STOPPING"),
        (ZeroDivisionError("oops"), RunStatus.FAILED, "BUG"),
    ],
)
def test_a_run_that_breaks_is_closed_with_its_reason_and_the_error_goes_on(case, error, status, code):
    """Whatever its end, a run leaves a proof pack, a closed row and an event; the task is the caller's."""
    case.trainer.error = error
    with pytest.raises(type(error)):
        case.run()
    assert case.journal.finished[0][1:] == (status, None)
    assert isinstance(case.journal.events[-1], RetrainingFailed)
    assert case.journal.events[-1].code == code
    assert str(error) in case.proof["error"]


def test_e14_a_stop_that_comes_during_a_step_ends_the_run_before_the_next_one(case):
    """The daemon has a minute to stop; the task goes back to the queue."""
    train = case.trainer.train

    def stopped_meanwhile(*arguments):
        result = train(*arguments)
        case.stop.set()
        return result

    case.trainer.train = stopped_meanwhile
    with pytest.raises(Interrupted, match="before the step judge"):
        case.run()
    assert case.journal.finished[0][1:] == (RunStatus.INTERRUPTED, None)
    assert case.journal.attempts[0][0] is False
    assert case.proof["training"]["weights_hash"] == "w" * 64


def test_e14_a_candidate_that_was_judged_is_registered_although_a_stop_came(case):
    """Its look at the test rows is in the ledger; the model must not be lost."""
    standing = case.journal.standing
    asked = []

    def stopped_before_the_verdict():
        asked.append(1)
        if len(asked) == 2:  # the run asks when it opens, and before it judges
            case.stop.set()
        return standing()

    case.journal.standing = stopped_before_the_verdict
    with pytest.raises(Interrupted, match="before the step promote"):
        case.run()
    assert len(case.journal.models) == 1
    assert case.promoter.promoted == []
    assert case.proof["artefact"]["version"] == case.journal.models[0].manifest.version


def test_a_promoted_run_that_cannot_be_closed_at_once_is_never_told_as_failed(case):
    """The engine serves the new model; a store that was busy just then changes nothing about that."""
    finish, refused = case.journal.finish_run, []

    def busy_at_first(*arguments, **facts):
        if not refused:
            refused.append(1)
            raise StoreBusy("STORE_BUSY", "the lock was held")
        finish(*arguments, **facts)

    case.journal.finish_run = busy_at_first
    with pytest.raises(StoreBusy):
        case.run()
    assert [row[1:] for row in case.journal.finished] == [(RunStatus.COMPLETED, "PROMOTE")]
    assert case.journal.events[-1].status == "promoted"
    assert case.proof["error"] is None


def test_the_proof_pack_tells_the_whole_run(case):
    """Who reads it in a year has nothing else."""
    report = case.run()
    proof = case.proof
    assert proof["data"]["fingerprint"] == report.pack.dataset.fingerprint
    assert {gate["name"] for gate in proof["gates"]} >= {"action_diversity", "skill", "beats_champion"}
    assert proof["metrics"]["candidate"]["confusion"]
    assert proof["splits"]
    text = (report.proof_dir / "proof.md").read_text()
    for word in ("PROMOTE", "AUROC", "confusion", report.version):
        assert word in text or word.capitalize() in text


def test_a_store_without_a_sign_of_skill_is_trained_with_a_warning(case):
    """The floor looks at the last step alone; the gates have the last word."""
    case.floor = FakeFloor(p_value=0.6)
    report = case.run()
    assert report.decision.kind is DecisionKind.PROMOTE
    assert [finding["name"] for finding in case.proof["findings"]] == ["no_skill"]
    assert case.proof["signal"]["p_value"] == 0.6
    assert "signal" in report.pack.seconds


def test_a_store_without_a_sign_of_skill_is_refused_where_that_is_the_policy(case):
    """Refused for the price of seconds, before a second is trained."""
    case.floor = FakeFloor(p_value=0.6)
    case.audit = replace(case.audit, block_without_skill=True)
    report = case.run()
    assert report.decision.kind is DecisionKind.REFUSED
    assert "no linear or tree baseline shows skill" in report.decision.reasons[0]
    assert case.trainer.jobs == []


def test_nobody_asks_for_skill_in_data_that_is_refused_anyway(case):
    """It would cost seconds and change nothing."""
    case.floor = FakeFloor(p_value=0.6)
    case.audit = replace(case.audit, min_samples=100_000)
    assert case.run().decision.kind is DecisionKind.REFUSED
    assert case.floor.asked == 0


def asked_by(source: str) -> Task:
    """A task of the queue."""
    trigger = Trigger(model="patchtst", reason="a test", requested_by="a test", source=source)
    return Task(task_id=1, trigger=trigger, attempts=1, created_at=builders.NOW)


CHAMPION = ChampionRef(version="v1", path=Path("/models/v1.pth"), sha256="a" * 64)
SCHEDULED = asked_by("schedule")


def test_b11_what_was_decided_on_the_same_basis_is_not_trained_again(case):
    """Minutes of a processor that the engine could use, for an answer that is known."""
    case.trainer.predict = oracle(0.0)
    first = case.run()
    again = case.run(SCHEDULED)
    assert (first.decision.kind, again.decision.kind) == (DecisionKind.REJECT, DecisionKind.SKIPPED)
    assert len(case.trainer.jobs) == 1
    assert again.decision.reasons[0].startswith(
        f"unchanged (dataset sha {first.pack.dataset.fingerprint[:12]})"
    )
    assert first.run_id in again.decision.reasons[0]
    assert case.journal.finished[1][1:] == (RunStatus.COMPLETED, "SKIPPED")
    assert case.journal.events[-1].status == "skipped"
    assert "SKIPPED before training" in (again.proof_dir / "proof.md").read_text()
    assert case.run(SCHEDULED).decision.kind is DecisionKind.SKIPPED


def test_b11_a_model_that_was_held_is_not_trained_again_either(case):
    """The same samples would give the same weights, and they were not better then."""
    case.trainer.predict_champion = case.trainer.predict
    case.promoter.serves = CHAMPION
    assert case.run(SCHEDULED).decision.kind is DecisionKind.KEEP
    assert case.run(asked_by("redis:quantum:stream:model.retrain")).decision.kind is DecisionKind.SKIPPED


@pytest.mark.parametrize("source", ["cli", "redis:quantum:stream:manual.retrain_request"])
def test_b11_a_person_who_asks_for_a_training_gets_one(case, source):
    """A manual trigger always has a reason, even if it is not stated."""
    case.trainer.predict = oracle(0.0)
    for task in (SCHEDULED, asked_by(source), None):
        assert case.run(task).decision.kind is DecisionKind.REJECT


def one_row_more(case: Case) -> None:
    case.source.raw = builders.raw_samples(1501)


def another_champion(case: Case) -> None:
    case.promoter.serves = CHAMPION


def another_setting(case: Case) -> None:
    case.training = builders.training_spec(learning_rate=2e-3)


def more_tries(case: Case) -> None:
    case.tuning = TuningPolicy(trials=3, budget_s=60.0)


def another_version(case: Case) -> None:
    case.code_version = "next"


@pytest.mark.parametrize(
    "change", [one_row_more, another_champion, another_setting, more_tries, another_version]
)
def test_b11_whatever_a_decision_depends_on_makes_it_be_taken_anew(case, change):
    """Rows, champion, settings and code each can turn a rejection into a promotion."""
    case.trainer.predict = oracle(0.0)
    case.run(SCHEDULED)
    change(case)
    assert case.run(SCHEDULED).decision.kind is DecisionKind.REJECT
    assert len(case.trainer.jobs) == 2


@pytest.mark.parametrize("state", [PromotionState.ABORTED, PromotionState.ROLLED_BACK])
def test_b11_a_promotion_that_did_not_succeed_is_tried_again(case, state):
    """The engine was down, the disk was full: that passes, and the model is still the better one."""
    case.promoter.state = state
    case.run(SCHEDULED)
    assert case.run(SCHEDULED).decision.kind is DecisionKind.PROMOTE


def test_b11_a_model_that_was_too_slow_once_is_measured_again(case):
    """The machine may have had a bad hour; nothing else of the decision can change by itself."""
    case.loader = FakeLoader(off=0.0, p99_ms=900.0)
    assert case.run(SCHEDULED).decision.kind is DecisionKind.REJECT
    case.loader = FakeLoader(off=0.0)
    assert case.run(SCHEDULED).decision.kind is DecisionKind.PROMOTE


def test_b11_a_broken_run_decides_nothing(case):
    """Its basis is in the journal, its answer is not."""
    case.trainer.error = TrainingError("CHILD_KILLED", "killed by SIGKILL")
    with pytest.raises(TrainingError):
        case.run(SCHEDULED)
    case.trainer.error = None
    assert case.run(SCHEDULED).decision.kind is DecisionKind.PROMOTE


def test_b10_where_a_reading_ended_is_in_the_record_of_the_run(case):
    """The largest id read, of a row that could be used or not, says which rows a run can have seen."""
    last = list(case.source.raw.rows[-1])
    last[0], last[1] = 9_999_999, None
    case.source.raw = RawSamples(rows=[*case.source.raw.rows, tuple(last)])
    report = case.run()
    assert report.pack.dataset.table.rejected == {"bad_symbol": 1}
    assert case.proof["data"]["last_id"] == 9_999_999
    assert "the last with id 9999999 |" in (report.proof_dir / "proof.md").read_text()
    assert case.journal.records[0].notes["last_sample_id"] == 9_999_999
