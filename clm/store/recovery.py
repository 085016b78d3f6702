"""Recovery at start: tasks and runs that a crash left running."""

from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Row, exists, select
from sqlalchemy.engine import Connection

from clm.clock import iso
from clm.events import Event, RetrainingCompleted, RetrainingFailed
from clm.ports import PromotionState, RunEnd, RunStatus
from clm.store.outbox import insert_events
from clm.store.run_rows import close_run
from clm.store.tables import promotions, runs, tasks
from clm.store.task_rows import COMPLETED, RUNNING, put_back, set_status

CUT_OFF = "its process was killed or crashed while this run was on; the task, if any, goes back to the queue"
PROMOTED = "the promotion was committed; the daemon was killed before it could say so"


def recover(connection: Connection, now: datetime) -> list[str]:
    """Requeue running tasks, close running runs, and return the ids of interrupted runs.

    A run whose promotion was committed is completed, not interrupted: its model is in use.
    """
    interrupted: list[str] = []
    for run in connection.execute(_left_running()).all():
        # The promotion's own commit is the fact; the run's row only lags behind it.
        if run.promoted:
            _complete(connection, run, now)
        else:
            _interrupt(connection, run, now)
            interrupted.append(run.run_id)
    for task_id in connection.execute(select(tasks.c.id).where(tasks.c.status == RUNNING)).scalars().all():
        put_back(connection, task_id, now, CUT_OFF)
    return interrupted


def _left_running() -> Any:
    committed = exists().where(
        promotions.c.run_id == runs.c.run_id, promotions.c.state == PromotionState.COMMITTED.value
    )
    columns = (runs, committed.label("promoted"))
    return select(*columns).where(runs.c.status == RunStatus.RUNNING.value).order_by(runs.c.started_at)


def _interrupt(connection: Connection, run: Row[Any], now: datetime) -> None:
    failed = RetrainingFailed(
        model=run.model, timestamp=iso(now), job_id=run.run_id, error=CUT_OFF, code="INTERRUPTED"
    )
    _close(connection, run, _end(run, now, RunStatus.INTERRUPTED, f"INTERRUPTED: {CUT_OFF}"), failed)


def _complete(connection: Connection, run: Row[Any], now: datetime) -> None:
    version, path = connection.execute(
        select(promotions.c.version, promotions.c.candidate_path).where(
            promotions.c.run_id == run.run_id, promotions.c.state == PromotionState.COMMITTED.value
        )
    ).one()
    completed = RetrainingCompleted(
        model=run.model,
        timestamp=iso(now),
        job_id=run.run_id,
        model_path=path,
        duration_seconds=(now - datetime.fromisoformat(run.started_at)).total_seconds(),
        status="promoted",
        reason=PROMOTED,
    )
    end = replace(_end(run, now, RunStatus.COMPLETED, PROMOTED), decision="PROMOTE", version=version)
    _close(connection, run, end, completed)
    if run.task_id is not None:
        set_status(connection, run.task_id, now, status=COMPLETED, outcome="PROMOTE")


def _end(run: Row[Any], now: datetime, status: RunStatus, reason: str) -> RunEnd:
    return RunEnd(
        run_id=run.run_id,
        status=status,
        completed_at=now,
        decision=run.decision,
        version=run.version,
        reason=reason,
        proof_path=Path(run.proof_path) if run.proof_path else None,
        # The run may have used the test rows: a crash must not yield an uncounted attempt.
        judged=True,
    )


def _close(connection: Connection, run: Row[Any], end: RunEnd, event: Event) -> None:
    close_run(connection, end)
    insert_events(
        connection,
        [event],
        trace_id=run.run_id,
        correlation_id=run.correlation_id,
        now=end.completed_at,
    )
