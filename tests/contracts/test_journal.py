"""The rules of ports.Journal, for the store's journal and for the fake that stands in for it."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest

from clm.domain.ledger import CROWNED, GENESIS, LedgerEntry, LedgerKind
from clm.errors import DataError
from clm.events import RetrainingCompleted, RetrainingStarted
from clm.ports import Journal, RunStatus
from clm.store.create import create_store
from clm.store.migrate import migrate
from clm.store.outbox import SqliteOutbox
from clm.store.runs import SqliteJournal
from tests.builders import NOW, run_end, run_start
from tests.fakes import FakeClock, FakeJournal
from tests.store.conftest import artefact

LATER = NOW + timedelta(minutes=5)
VERSION = "patchtst_v20260102_030405"

STARTED = RetrainingStarted(model="patchtst", timestamp="t", job_id="p07_1", trigger_reason="drift")
COMPLETED = RetrainingCompleted(
    model="patchtst",
    timestamp="t",
    job_id="p07_1",
    model_path="",
    duration_seconds=300.0,
    status="rejected",
    reason="no skill",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A journal, and the types of the events that were committed with its rows."""

    journal: Journal
    events: Callable[[], list[str]]

    def start(self, run_id: str = "p07_1", minutes: int = 0) -> None:
        self.journal.start_run(
            run_start(run_id, started_at=NOW + timedelta(minutes=minutes), trigger_reason="drift"), [STARTED]
        )

    def finish(self, run_id: str = "p07_1", **changes: object) -> None:
        values: dict[str, object] = {
            "version": VERSION,
            "facts": {"sample_count": 6000, "metrics": {"auroc": np.float64(0.51)}},
            "proof_path": Path("/state/runs/p07_1/proof.json"),
            "evidence": {"sharpe": 0.1},
        }
        self.journal.finish_run(run_end(run_id, **{**values, **changes}), [COMPLETED])


def in_memory(_directory: Path) -> Case:
    journal = FakeJournal()
    return Case(journal=journal, events=lambda: [event.event_type for event in journal.events])


def in_the_store(directory: Path) -> Case:
    path = directory / "store.db"
    create_store(path)
    migrate(path)
    outbox = SqliteOutbox(path, FakeClock())
    return Case(
        journal=SqliteJournal(path, FakeClock()),
        events=lambda: [row.event_type for row in outbox.unpublished(100)],
    )


@pytest.fixture(params=[in_memory, in_the_store], ids=["fake", "sqlite"])
def case(request: pytest.FixtureRequest, tmp_path: Path) -> Case:
    made: Case = request.param(tmp_path)
    return made


def test_a_started_run_is_running_and_its_event_is_committed_with_it(case: Case) -> None:
    """`clm status` and the readers of the stream see the same run."""
    case.start()
    run = case.journal.run("p07_1")
    assert run is not None
    assert (run.status, run.started_at, run.trigger_reason) == (RunStatus.RUNNING, NOW, "drift")
    assert (run.completed_at, run.decision, run.version, run.ledger_row) == (None, None, None, None)
    assert case.events() == ["learning.retraining.started"]


def test_a_run_id_that_is_taken_is_refused_without_a_change(case: Case) -> None:
    """The first run keeps its row, and no event announces the second."""
    case.start()
    with pytest.raises(DataError, match=r"RUN_EXISTS: .*p07_1"):
        case.start(minutes=5)
    run = case.journal.run("p07_1")
    assert run is not None
    assert run.started_at == NOW
    assert case.events() == ["learning.retraining.started"]


def test_a_finished_run_comes_back_with_everything_that_was_recorded(case: Case) -> None:
    """Figures come back as plain JSON values, as every reader of the store gets them."""
    case.start()
    case.finish()
    run = case.journal.run("p07_1")
    assert run is not None
    assert (run.status, run.decision, run.version, run.reason) == (
        RunStatus.COMPLETED,
        "REJECT",
        VERSION,
        "no skill",
    )
    assert (run.started_at, run.completed_at, run.trigger_reason) == (NOW, LATER, "drift")
    assert run.proof_path == "/state/runs/p07_1/proof.json"
    assert run.notes == {"sample_count": 6000, "metrics": {"auroc": 0.51}}
    assert type(run.notes["metrics"]["auroc"]) is float  # type: ignore[index]
    assert run.ledger_row == 1
    assert case.events() == ["learning.retraining.started", "learning.retraining.completed"]


def test_a_run_that_left_no_proof_pack_has_no_path(case: Case) -> None:
    """A disk that was full: None, not the text "None"."""
    case.start()
    case.finish(status=RunStatus.FAILED, decision=None, version=None, proof_path=None)
    run = case.journal.run("p07_1")
    assert run is not None
    assert (run.status, run.decision, run.version, run.proof_path) == (RunStatus.FAILED, None, None, None)


def test_a_run_that_is_not_recorded_cannot_be_finished(case: Case) -> None:
    """A restored store must not swallow the end of a run: neither an event nor a row in the ledger."""
    with pytest.raises(DataError, match=r"RUN_UNKNOWN: .*p07_1"):
        case.finish()
    assert case.journal.run("p07_1") is None
    assert case.events() == []
    assert case.journal.standing().rows == 0


def test_recent_runs_are_the_newest_by_their_start_running_ones_included(case: Case) -> None:
    """The order of writing does not count."""
    for minutes, name in ((2, "b"), (1, "a"), (3, "c")):
        case.start(name, minutes)
    case.finish("a")
    assert [run.run_id for run in case.journal.recent_runs(2)] == ["c", "b"]
    assert [run.run_id for run in case.journal.recent_runs(9)] == ["c", "b", "a"]


def test_a_version_is_recorded_once(case: Case) -> None:
    """A version names one file for ever."""

    def record(version: str) -> None:
        case.journal.append_model(
            artefact(version), training_samples=1, seconds=1.0, validation_accuracy=None
        )

    record(VERSION)
    with pytest.raises(DataError, match=f"MODEL_EXISTS: {VERSION}"):
        record(VERSION)
    record("patchtst_v20260102_030406")


def test_an_empty_ledger_knows_no_attempt_and_no_champion(case: Case) -> None:
    """The first candidate is judged at the plain level."""
    standing = case.journal.standing()
    assert (standing.rows, standing.head_sha256) == (0, GENESIS)
    assert (standing.champion, standing.crowned_at, standing.broken_because) == (None, None, None)
    assert (standing.past.since_crown, standing.past.sharpes) == (0, ())


def test_every_finished_run_is_one_row_and_only_judged_ones_are_attempts(case: Case) -> None:
    """A refused run never looked at the test rows, so it does not make the next judgement stricter."""
    heads = [GENESIS]
    for name, judged, evidence in (("a", True, {"sharpe": 0.1}), ("b", False, {}), ("c", True, {})):
        case.start(name)
        case.finish(name, judged=judged, evidence=evidence)
        heads.append(case.journal.standing().head_sha256)
    standing = case.journal.standing()
    assert standing.rows == 3
    assert (standing.past.since_crown, standing.past.sharpes) == (2, (0.1, None))
    assert len(set(heads)) == 4, "each row changes the head"


def test_an_entry_is_appended_once_for_its_kind_and_subject(case: Case) -> None:
    """A try that is recorded again after a crash must not count twice."""
    trial = LedgerEntry(
        kind=LedgerKind.TRIAL,
        subject="p07_1/3",
        run_id="p07_1",
        version=None,
        outcome="TRIED",
        judged=True,
        reason="",
    )
    case.journal.append(trial)
    head = case.journal.standing().head_sha256
    case.journal.append(replace(trial, outcome="OTHER"))
    assert (case.journal.standing().rows, case.journal.standing().head_sha256) == (1, head)
    case.journal.append(replace(trial, subject="p07_1/4"))
    case.journal.append(replace(trial, kind=LedgerKind.RUN))
    assert case.journal.standing().rows == 3


def test_attempts_are_counted_from_the_last_crowning(case: Case) -> None:
    """The run of the champion itself was an attempt on the champion before."""
    for name in ("a", "champion"):
        case.start(name)
    case.finish("a")
    case.journal.append(
        LedgerEntry(
            kind=LedgerKind.PROMOTION,
            subject="1",
            run_id="champion",
            version=VERSION,
            outcome=CROWNED,
            judged=False,
            reason="",
        )
    )
    case.finish("champion", decision="PROMOTE")
    standing = case.journal.standing()
    assert standing.champion == VERSION
    assert standing.crowned_at is not None
    assert standing.past.since_crown == 0
    case.start("b")
    case.finish("b")
    assert case.journal.standing().past.since_crown == 1
    assert len(case.journal.standing().past.sharpes) == 3
