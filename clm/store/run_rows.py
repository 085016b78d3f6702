"""Rows of clm_runs within a transaction of the caller, and their mirror in model_training_runs."""

from collections.abc import Mapping
from datetime import datetime

from sqlalchemy import insert, select, update
from sqlalchemy.engine import Connection

from clm.clock import iso
from clm.domain.ledger import LedgerEntry, LedgerKind
from clm.domain.task import Task
from clm.ports import RunStart, RunStatus
from clm.store.json_text import to_text
from clm.store.ledger import append
from clm.store.neighbours import mirror_change, mirror_new_named, model_training_runs, neighbour_text
from clm.store.tables import runs


def open_run(connection: Connection, start: RunStart) -> None:
    """Insert a running run; its id must be new."""
    task, began = start.task, neighbour_text(start.started_at)
    mirrored = {"version": start.run_id, "status": "running", "started_at": began}
    connection.execute(
        insert(runs).values(
            run_id=start.run_id,
            task_id=task.task_id if task else None,
            correlation_id=_correlation_id(start.run_id, task),
            model=task.trigger.model if task else start.family,
            status=RunStatus.RUNNING.value,
            reason="",
            trigger_reason=start.trigger_reason,
            started_at=iso(start.started_at),
            facts="{}",
            neighbour_id=mirror_new_named(connection, model_training_runs, "version", mirrored),
        )
    )


def close_run(
    connection: Connection,
    run_id: str,
    *,
    status: RunStatus,
    completed_at: datetime,
    decision: str | None,
    version: str | None,
    reason: str,
    facts: Mapping[str, object],
    proof_path: str | None,
    judged: bool,
    evidence: Mapping[str, object],
) -> bool:
    """Write how a run ended, and its row in the ledger; return whether there is such a run."""
    result = connection.execute(
        update(runs)
        .where(runs.c.run_id == run_id)
        .values(
            status=status.value,
            decision=decision,
            version=version,
            reason=reason,
            completed_at=iso(completed_at),
            proof_path=proof_path,
            facts=to_text(facts),
        )
        .returning(runs.c.neighbour_id)
    ).first()
    if result is None:
        return False
    attempt = LedgerEntry(
        kind=LedgerKind.RUN,
        subject=run_id,
        run_id=run_id,
        version=version,
        outcome=decision or status.value.upper(),
        judged=judged,
        reason=reason,
        facts=evidence,
    )
    append(connection, attempt, completed_at)
    # The neighbours know running, completed and failed; `notes` says which failure it was.
    told = status if status in (RunStatus.RUNNING, RunStatus.COMPLETED) else RunStatus.FAILED
    mirrored: dict[str, object] = {
        "status": told.value,
        "completed_at": neighbour_text(completed_at),
        "metrics": to_text(facts.get("metrics", {})),
        "notes": f"{decision}: {reason}" if decision else reason,
    }
    # Facts that are not there stay as they are, NULL: unknown is not zero.
    mirrored |= {name: facts[name] for name in _FACT_COLUMNS if facts.get(name) is not None}
    mirror_change(connection, model_training_runs, result.neighbour_id, mirrored)
    return True


_FACT_COLUMNS = ("dataset_path", "symbol_count", "sample_count", "feature_count", "model_path")


def correlation_of(connection: Connection, run_id: str) -> str:
    """Return what ties the events of a run to what asked for it; the run's id where nothing is known."""
    query = select(runs.c.correlation_id).where(runs.c.run_id == run_id)
    return connection.execute(query).scalar() or run_id


def _correlation_id(run_id: str, task: Task | None) -> str:
    return (task.trigger.details.get("correlation_id") if task else None) or run_id
