"""The journal of runs and models: each write commits the row, its mirror and its events together."""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Row, Select, and_, null, select, update
from sqlalchemy.engine import Connection

from clm.artefacts.manifest import Artefact
from clm.domain.chain import Break, Head, breaks, gone, not_accepted, unrecorded
from clm.domain.ledger import LedgerEntry, LedgerKind, LedgerRow, LedgerStanding, standing_of
from clm.domain.waiting import Waiting, WaitingModel, WaitsFor
from clm.errors import DataError
from clm.events import Event
from clm.gates.decision import DecisionKind
from clm.ports import Clock, RunEnd, RunRow, RunStart, RunStatus
from clm.store.json_text import from_text, to_text
from clm.store.ledger import all_rows, append, closed_runs, row_of
from clm.store.model_rows import add_model, model_is_known
from clm.store.outbox import insert_events
from clm.store.run_rows import close_run, correlation_of, open_run
from clm.store.schema import has_table
from clm.store.tables import ledger, runs
from clm.store.transactions import BUSY_LIMIT_S, Store


class SqliteJournal:
    """Fulfils ports.Journal."""

    def __init__(self, path: Path, clock: Clock, *, busy_limit_s: float = BUSY_LIMIT_S) -> None:
        self._store = Store(path, clock, busy_limit_s=busy_limit_s)
        self._clock = clock

    def start_run(self, start: RunStart, events: Sequence[Event]) -> None:
        """Insert a run with status running.

        Raises:
            DataError: RUN_EXISTS; the existing run is unchanged.
        """
        with self._store.writing() as connection:
            if connection.execute(select(runs.c.run_id).where(runs.c.run_id == start.run_id)).first():
                raise DataError(
                    "RUN_EXISTS", f"run {start.run_id} is in {self._store.path} already; take another id"
                )
            open_run(connection, start)
            self._tell(connection, start.run_id, events)

    def append_model(
        self, artefact: Artefact, *, training_samples: int, seconds: float, validation_accuracy: float | None
    ) -> None:
        """Insert the candidate as inactive.

        Raises:
            DataError: MODEL_EXISTS; the existing model is unchanged.
        """
        version = artefact.manifest.version
        with self._store.writing() as connection:
            if model_is_known(connection, version):
                raise DataError(
                    "MODEL_EXISTS", f"{version} is in {self._store.path} already; nothing overwritten"
                )
            add_model(
                connection,
                artefact,
                training_samples=training_samples,
                seconds=seconds,
                validation_accuracy=validation_accuracy,
                now=self._clock.now(),
            )

    def finish_run(self, end: RunEnd, events: Sequence[Event]) -> None:
        """Close the run, append its row to the ledger and update the neighbours' tables.

        Raises:
            DataError: RUN_UNKNOWN.
        """
        with self._store.writing() as connection:
            # One transaction for run, ledger row, mirror and events: a crash shows all of them or none.
            if not close_run(connection, end):
                raise DataError(
                    "RUN_UNKNOWN", f"run {end.run_id} is not in {self._store.path}; was it restored?"
                )
            self._tell(connection, end.run_id, events)

    def append(self, entry: LedgerEntry) -> None:
        """Append a row to the ledger, unless the subject already has one."""
        with self._store.writing() as connection:
            append(connection, entry, self._clock.now())

    def standing(self) -> LedgerStanding:
        """Return the ledger's standing for the next attempt; an empty one if our tables do not exist."""
        rows, found = self._examined(())
        # A broken ledger cannot count attempts, so the standing carries the reason.
        return standing_of(rows, found[0].message if found else None)

    def ledger_row(self, kind: LedgerKind, subject: str) -> LedgerRow | None:
        """Return the row of a subject, or None."""
        with self._store.reading() as connection:
            return row_of(connection, kind, subject)

    def ledger_breaks(self, heads: Sequence[Head]) -> list[Break]:
        """Return the ledger's breaks that no operator has accepted; `heads` are heads published earlier."""
        return self._examined(heads)[1]

    def _examined(self, heads: Sequence[Head]) -> tuple[list[LedgerRow], list[Break]]:
        with self._store.reading() as connection:
            rows, ended = all_rows(connection), closed_runs(connection)
            known = has_table(connection, ledger.name)
        # A store of an older version has runs without ledger rows, which is not a break.
        found = [*breaks(rows), *(unrecorded(rows, ended) if known else ()), *gone(rows, heads)]
        return rows, not_accepted(rows, found)

    def run(self, run_id: str) -> RunRow | None:
        """Return a run, or None if it is unknown."""
        with self._store.reading() as connection:
            if not has_table(connection, runs.name):
                return None
            row = connection.execute(_runs(connection).where(runs.c.run_id == run_id)).first()
        return _record(row) if row else None

    def recent_runs(self, limit: int) -> list[RunRow]:
        """Return the latest runs, newest first; none if our tables do not exist."""
        newest_first = (runs.c.started_at.desc(), runs.c.run_id.desc())
        with self._store.reading() as connection:
            if not has_table(connection, runs.name):
                return []
            rows = connection.execute(_runs(connection).order_by(*newest_first).limit(limit)).all()
        return [_record(row) for row in rows]

    def waiting_model(self) -> WaitingModel | None:
        """Return the model of the newest run that decided to promote, if it waits for a thaw."""
        newest_first = (runs.c.started_at.desc(), runs.c.run_id.desc())
        with self._store.reading() as connection:
            if not has_table(connection, runs.name):
                return None
            passed = and_(
                runs.c.decision == DecisionKind.PROMOTE.value, runs.c.status == RunStatus.COMPLETED.value
            )
            row = connection.execute(select(runs).where(passed).order_by(*newest_first).limit(1)).first()
        return _waiting(row) if row else None

    def end_waiting(self, run_id: str, reason: str, events: Sequence[Event] = ()) -> None:
        """Record that the model of this run no longer waits for a thaw, the reason and the events."""
        with self._store.writing() as connection:
            row = connection.execute(select(runs).where(runs.c.run_id == run_id)).first()
            if row is None:
                return
            facts = {name: fact for name, fact in from_text(row.facts).items() if name != "waiting"}
            changes = {"facts": to_text(facts), "reason": reason}
            connection.execute(update(runs).where(runs.c.run_id == run_id).values(changes))
            self._tell(connection, run_id, events)

    def _tell(self, connection: Connection, run_id: str, events: Sequence[Event]) -> None:
        insert_events(
            connection,
            events,
            trace_id=run_id,
            correlation_id=correlation_of(connection, run_id),
            now=self._clock.now(),
        )


def _runs(connection: Connection) -> Select[Any]:
    """Return the query for runs and their ledger rows; a store of an older version has no ledger."""
    if not has_table(connection, ledger.name):
        return select(runs, null().label("ledger_row"))
    theirs = ledger.c.kind.in_((LedgerKind.RUN.value, LedgerKind.IMPORTED.value))
    joined = runs.outerjoin(ledger, and_(ledger.c.subject == runs.c.run_id, theirs))
    return select(runs, ledger.c.seq.label("ledger_row")).select_from(joined)


def _waiting(row: Row[Any]) -> WaitingModel | None:
    noted = from_text(row.facts).get("waiting")
    if row.version is None or not isinstance(noted, dict) or noted.get("waits_for") != WaitsFor.THAW.value:
        return None
    waiting = Waiting(
        waits_for=WaitsFor.THAW,
        champion_path=noted.get("champion_path"),
        champion_sha256=noted.get("champion_sha256"),
    )
    return WaitingModel(version=row.version, run_id=row.run_id, reason=row.reason, waiting=waiting)


def _record(row: Row[Any]) -> RunRow:
    return RunRow(
        run_id=row.run_id,
        status=RunStatus(row.status),
        decision=row.decision,
        version=row.version,
        reason=row.reason,
        started_at=datetime.fromisoformat(row.started_at),
        completed_at=datetime.fromisoformat(row.completed_at) if row.completed_at else None,
        trigger_reason=row.trigger_reason,
        proof_path=row.proof_path,
        notes=from_text(row.facts),
        ledger_row=row.ledger_row,
    )
