"""One learning cycle against a world in memory: what is decided, what is touched, what is left behind."""

import hashlib
import threading
from dataclasses import replace
from pathlib import Path

import orjson
import pytest

from clm.artefacts.registry import DirectoryRegistry
from clm.cycle import Policies, World, run_cycle
from clm.data.dataset import Dataset
from clm.data.reading import RawSamples
from clm.data.signal import SignalFloor, Skill
from clm.decision import DecisionKind
from clm.domain.ledger import PastAttempts
from clm.errors import Interrupted, StoreBusy, TrainingError
from clm.events import RetrainingCompleted, RetrainingFailed, RetrainingStarted
from clm.ports import PromotionState, RunStatus, StopSignal
from clm.record import CycleReport
from tests import builders
from tests.fakes import FakeBrake, FakeClock, FakeJournal, FakePromoter, FakeSource, FakeTrainer, oracle


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
        self.signal: FakeSignal | None = None
        self.audit = builders.audit_policy()

    def run(self) -> CycleReport:
        world = World(
            clock=FakeClock(),
            source=self.source,
            trainer=self.trainer,
            registry=DirectoryRegistry(self.directory / "artefacts"),
            promoter=self.promoter,
            journal=self.journal,
            brake=self.brake,
            runs_dir=self.directory / "runs",
            code_version="test",
            signal=self.signal,
        )
        policies = Policies(
            history_days=0,
            max_rows=100_000,
            data=builders.data_policy(),
            audit=self.audit,
            training=builders.training_spec(),
            train_timeout_s=60,
            evaluation=builders.evaluation_policy(),
            gates=builders.gate_policy(),
            promote=self.promote,
        )
        return run_cycle(
            world, policies, task=None, reason="a test", stop=threading.Event(), on_epoch=lambda _: None
        )

    @property
    def proof(self) -> dict[str, object]:
        (path,) = (self.directory / "runs").glob("*/proof.json")
        return orjson.loads(path.read_bytes())


class FakeSignal:
    """A probe that answers what the test says."""

    def __init__(self, p_value: float) -> None:
        self.floor = SignalFloor(
            skills={"logistic regression": Skill(auroc=0.5, p_value=p_value)}, n_rows=900, n_blocks=90
        )
        self.asked = 0

    def measure(self, dataset: Dataset, stop: StopSignal) -> SignalFloor:
        self.asked += 1
        return self.floor


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


def test_noise_is_rejected_by_the_skill_gate_and_kept_as_an_artefact(case):
    """A rejected model is evidence, and evidence is kept; the engine never sees it."""
    case.trainer.predict = oracle(0.0)
    report = case.run()
    assert report.decision.kind is DecisionKind.REJECT
    assert {v.name for v in report.pack.verdicts if v.status == "FAIL"} >= {"skill"}
    assert case.promoter.promoted == []
    assert [a.manifest.version for a in case.journal.models] == [report.version]
    assert case.journal.events[-1].status == "rejected"


def test_the_same_model_as_the_champion_is_held(case):
    """A restart of the engine for nothing gained is a risk for nothing gained."""
    case.trainer.predict_champion = case.trainer.predict
    report = case.run()
    assert report.decision.kind is DecisionKind.HOLD
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
    assert report.promotion.state is PromotionState.ABORTED
    assert case.journal.events[-1].status == "aborted"


def test_f15_the_manual_mode_leaves_the_switch_to_a_person(case):
    """Some operators never let a machine touch the engine."""
    case.promote = False
    report = case.run()
    assert case.promoter.promoted == []
    assert report.version in report.promotion.reason


def test_each_attempt_on_one_champion_is_judged_more_strictly(case):
    """Repeated tries are multiple tests; the run says which one it was and what the ledger held."""
    case.journal.past = PastAttempts(since_crown=36, sharpes=(0.1,) * 36)
    report = case.run()
    assert case.proof["attempt"]["number"] == 37
    assert report.pack.comparison.auroc_interval.confidence == pytest.approx(1 - 0.1 / (37 * 38))
    assert case.proof["ledger"] == {"rows": 36, "head_sha256": "0" * 64, "broken_because": None}
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
    assert report.promotion.state is PromotionState.ABORTED
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
    case.signal = FakeSignal(p_value=0.6)
    report = case.run()
    assert report.decision.kind is DecisionKind.PROMOTE
    assert [finding["name"] for finding in case.proof["findings"]] == ["no_skill"]
    assert case.proof["signal"]["p_value"] == 0.6
    assert "signal" in report.pack.seconds


def test_a_store_without_a_sign_of_skill_is_refused_where_that_is_the_policy(case):
    """Refused for the price of seconds, before a second is trained."""
    case.signal = FakeSignal(p_value=0.6)
    case.audit = replace(case.audit, block_without_skill=True)
    report = case.run()
    assert report.decision.kind is DecisionKind.REFUSED
    assert "no linear or tree baseline shows skill" in report.decision.reasons[0]
    assert case.trainer.jobs == []


def test_nobody_asks_for_skill_in_data_that_is_refused_anyway(case):
    """It would cost seconds and change nothing."""
    case.signal = FakeSignal(p_value=0.6)
    case.audit = replace(case.audit, min_samples=100_000)
    assert case.run().decision.kind is DecisionKind.REFUSED
    assert case.signal.asked == 0
