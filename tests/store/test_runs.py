"""Runs and models as rows: ours are the truth, the neighbours' are filled where they can be."""

import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest

from clm.errors import DataError
from clm.events import RetrainingCompleted
from clm.ports import RunStatus
from tests.builders import NOW, run_end, run_start
from tests.store.conftest import WISH, artefact, change, look
from tests.store.test_outbox import started

LATER = NOW + timedelta(minutes=5)


def completed() -> RetrainingCompleted:
    return RetrainingCompleted(
        model="patchtst",
        timestamp="2026-01-02T03:09:05Z",
        job_id="p07_1",
        model_path="",
        duration_seconds=300.0,
        status="rejected",
        reason="no skill",
    )


def finish(journal, run_id: str = "p07_1", **changes: object) -> None:
    values = {
        "version": "patchtst_v20260102_030405",
        "facts": {"symbol_count": 5, "sample_count": 6000, "metrics": {"auroc": np.float64(0.51)}},
        "proof_path": Path("/state/runs/p07_1/proof.json"),
        "evidence": {"auroc": 0.51},
    }
    journal.finish_run(run_end(run_id, **{**values, **changes}), [completed()])


def test_a_run_can_be_read_from_its_start_to_its_end(journal, queue):
    """What status and show print."""
    queue.submit(WISH, NOW)
    journal.start_run(run_start(task=queue.claim(NOW), trigger_reason="drift"), [started()])
    run = journal.run("p07_1")
    assert (run.status, run.started_at, run.completed_at, run.trigger_reason) == (
        RunStatus.RUNNING,
        NOW,
        None,
        "drift",
    )
    finish(journal)
    run = journal.run("p07_1")
    assert (run.status, run.decision, run.version, run.reason, run.completed_at) == (
        RunStatus.COMPLETED,
        "REJECT",
        "patchtst_v20260102_030405",
        "no skill",
        LATER,
    )
    assert run.proof_path == "/state/runs/p07_1/proof.json"
    assert run.notes["metrics"] == {"auroc": 0.51}
    assert journal.run("p07_2") is None


def test_the_neighbours_run_follows_ours(journal, store):
    """Programs that read model_training_runs see the same facts; unknown values stay NULL."""
    journal.start_run(run_start(), [])
    row = (
        "SELECT version, status, started_at, completed_at, symbol_count, feature_count, metrics, notes "
        "FROM model_training_runs"
    )
    assert look(store, row) == [
        ("p07_1", "running", "2026-01-02 03:04:05.000000", None, None, None, None, None)
    ]
    finish(journal)
    assert look(store, row) == [
        (
            "p07_1",
            "completed",
            "2026-01-02 03:04:05.000000",
            "2026-01-02 03:09:05.000000",
            5,
            None,
            '{"auroc":0.51}',
            "REJECT: no skill",
        )
    ]


@pytest.mark.parametrize(
    ("status", "told"), [(RunStatus.INTERRUPTED, "failed"), (RunStatus.FAILED, "failed")]
)
def test_the_neighbours_are_told_only_states_they_know(journal, store, status, told):
    """Their column knows running, completed and failed."""
    journal.start_run(run_start(), [])
    finish(journal, status=status, decision=None, version=None, reason="CHILD_OOM: killed")
    assert look(store, "SELECT status, notes FROM model_training_runs") == [(told, "CHILD_OOM: killed")]


def test_a15_a_run_id_that_is_taken_is_refused_and_nothing_overwritten(journal, store):
    """Two runs in one second, or a clock that was put back."""
    journal.start_run(run_start(trigger_reason="first"), [])
    with pytest.raises(DataError, match=r"RUN_EXISTS: run p07_1"):
        journal.start_run(run_start(started_at=LATER, trigger_reason="second"), [started()])
    assert journal.run("p07_1").trigger_reason == "first"
    assert look(store, "SELECT count(*) FROM clm_outbox") == [(0,)]


def test_a15_a_name_taken_at_the_neighbours_gets_a_suffix(journal, store):
    """Their column is unique, too, and may hold rows that are not ours."""
    theirs = (
        "INSERT INTO model_training_runs (version, status, started_at, notes) "
        "VALUES ('{}', 'completed', 'x', 'theirs')"
    )
    change(store, theirs.format("p07_1"), theirs.format("p07_1-2"))
    journal.start_run(run_start(), [])
    finish(journal)
    assert look(store, "SELECT version, notes FROM model_training_runs ORDER BY id") == [
        ("p07_1", "theirs"),
        ("p07_1-2", "theirs"),
        ("p07_1-3", "REJECT: no skill"),
    ]


def test_a_run_that_is_not_there_cannot_be_finished(journal, store):
    """A restored store must not swallow the end of a run without a word."""
    with pytest.raises(DataError, match=r"RUN_UNKNOWN"):
        finish(journal)
    assert look(store, "SELECT count(*) FROM clm_outbox") == [(0,)]


def test_events_carry_the_run_and_what_asked_for_it(journal, queue, outbox):
    """A producer finds the answer to its own request by the id it sent."""
    queue.submit(replace(WISH, details={"correlation_id": "req-7"}), NOW)
    journal.start_run(run_start(task=queue.claim(NOW), trigger_reason="drift"), [started()])
    finish(journal)
    journal.start_run(run_start("p07_2"), [started()])
    told = [
        (row.event_type.split(".")[-1], row.trace_id, row.correlation_id) for row in outbox.unpublished(9)
    ]
    assert told == [
        ("started", "p07_1", "req-7"),
        ("completed", "p07_1", "req-7"),
        ("started", "p07_2", "p07_2"),
    ]


def test_a_candidate_is_recorded_here_and_at_the_neighbours_not_active(journal, store):
    """Rejected models are models, too."""
    journal.append_model(artefact(), training_samples=4200, seconds=61.5, validation_accuracy=0.58)
    assert look(store, "SELECT version, sha256, run_id, is_active FROM clm_models") == [
        ("patchtst_v20260102_030405", "c" * 64, "p07_1", 0)
    ]
    (row,) = look(
        store,
        "SELECT version_id, model_type, trained_at, training_samples, training_duration_seconds, "
        "validation_accuracy, train_accuracy, is_active, notes FROM ai_model_versions",
    )
    assert row[:-1] == (
        "patchtst_v20260102_030405",
        "patchtst",
        "2026-01-02 03:04:05.000000",
        4200,
        61.5,
        0.58,
        None,
        0,
    )
    assert json.loads(row[-1]) == {"run_id": "p07_1", "sha256": "c" * 64}


def test_a_version_that_is_taken_is_refused_and_nothing_overwritten(journal, store):
    """A version names one file for ever."""
    journal.append_model(artefact(), training_samples=1, seconds=1.0, validation_accuracy=None)
    with pytest.raises(DataError, match=r"MODEL_EXISTS"):
        journal.append_model(artefact(), training_samples=2, seconds=1.0, validation_accuracy=None)
    assert look(store, "SELECT training_samples FROM ai_model_versions") == [(1,)]


def test_the_journal_works_beside_neighbours_without_columns(journal, store):
    """The truth is in our tables; a bare or missing neighbour costs only the mirror."""
    change(
        store,
        "DROP TABLE model_training_runs",
        "CREATE TABLE model_training_runs (id INTEGER PRIMARY KEY)",
        "DROP TABLE ai_model_versions",
    )
    journal.start_run(run_start(), [started()])
    journal.append_model(artefact(), training_samples=1, seconds=1.0, validation_accuracy=None)
    finish(journal)
    assert journal.run("p07_1").status is RunStatus.COMPLETED
    assert look(store, "SELECT count(*) FROM model_training_runs") == [(0,)]


def test_a14_a_neighbour_changed_in_the_middle_of_a_run_does_not_lose_its_end(journal, store):
    """The engine migrates when it likes to; a column that we cannot fill ends the mirror only."""
    journal.start_run(run_start(), [])
    change(store, "ALTER TABLE model_training_runs RENAME COLUMN notes TO remarks")
    finish(journal)
    assert journal.run("p07_1").reason == "no skill"
    change(
        store,
        "DROP TABLE model_training_runs",
        "CREATE TABLE model_training_runs (id INTEGER PRIMARY KEY, version TEXT, status TEXT, "
        "started_at TEXT, completed_at TEXT, dataset_path TEXT, symbol_count INT, sample_count INT, "
        "feature_count INT, model_path TEXT, metrics TEXT, notes TEXT, owner TEXT NOT NULL)",
    )
    journal.start_run(run_start("p07_2"), [])
    assert journal.run("p07_2").status is RunStatus.RUNNING
