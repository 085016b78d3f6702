"""Rows of clm_runs and their mirror in model_training_runs, in the caller's transaction."""

from sqlalchemy import insert, select, update
from sqlalchemy.engine import Connection

from clm.clock import iso
from clm.domain.ledger import LedgerEntry, LedgerKind
from clm.domain.task import Task
from clm.ports import RunEnd, RunStart, RunStatus
from clm.store.json_text import to_text
from clm.store.ledger import append
from clm.store.neighbours import mirror_change, mirror_new_named, model_training_runs, neighbour_text
from clm.store.tables import runs


def open_run(connection: Connection, start: RunStart) -> None:
    """Insert a run with status running; its id must be new."""
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


def close_run(connection: Connection, end: RunEnd) -> bool:
    """Store the end of a run and its ledger row; return False if the run does not exist."""
    row = connection.execute(
        update(runs)
        .where(runs.c.run_id == end.run_id)
        .values(
            status=end.status.value,
            decision=end.decision,
            version=end.version,
            reason=end.reason,
            completed_at=iso(end.completed_at),
            proof_path=str(end.proof_path) if end.proof_path else None,
            facts=to_text(end.facts),
        )
        .returning(runs.c.neighbour_id)
    ).first()
    if row is None:
        return False
    append(connection, _ledger_entry(end), end.completed_at)
    mirror_change(connection, model_training_runs, row.neighbour_id, _mirrored(end))
    return True


def _ledger_entry(end: RunEnd) -> LedgerEntry:
    return LedgerEntry(
        kind=LedgerKind.RUN,
        subject=end.run_id,
        run_id=end.run_id,
        version=end.version,
        outcome=end.decision or end.status.value.upper(),
        judged=end.judged,
        reason=end.reason,
        facts=end.evidence,
    )


def _mirrored(end: RunEnd) -> dict[str, object]:
    """Return the columns of the neighbours' table, which knows only running, completed and failed."""
    status = end.status if end.status in (RunStatus.RUNNING, RunStatus.COMPLETED) else RunStatus.FAILED
    # Missing facts stay NULL: unknown is not zero.
    known = {name: end.facts[name] for name in _FACT_COLUMNS if end.facts.get(name) is not None}
    return {
        "status": status.value,
        "completed_at": neighbour_text(end.completed_at),
        "metrics": to_text(end.facts.get("metrics", {})),
        "notes": f"{end.decision}: {end.reason}" if end.decision else end.reason,
        **known,
    }


_FACT_COLUMNS = ("dataset_path", "symbol_count", "sample_count", "feature_count", "model_path")


def correlation_of(connection: Connection, run_id: str) -> str:
    """Return the id that links a run's events to its trigger; the run's own id if none is recorded."""
    query = select(runs.c.correlation_id).where(runs.c.run_id == run_id)
    return connection.execute(query).scalar() or run_id


def _correlation_id(run_id: str, task: Task | None) -> str:
    return (task.trigger.details.get("correlation_id") if task else None) or run_id
