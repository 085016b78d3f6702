"""The promotion log: intent is stored before acting, and each state in one transaction with its events."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Row, select, update
from sqlalchemy.engine import Connection

from clm.domain.ledger import CROWNED, LedgerEntry, LedgerKind, LedgerRow
from clm.errors import PromotionBusy, PromotionError
from clm.events import Event, ModelPromoted
from clm.ports import (
    Clock,
    Control,
    Controls,
    PromotionKind,
    PromotionRow,
    PromotionStart,
    PromotionState,
    Reign,
)
from clm.store.controls import read_controls, set_control
from clm.store.ledger import append
from clm.store.model_rows import activate_model, adopt_model, wrongly_active
from clm.store.outbox import insert_events
from clm.store.promotion_rows import (
    endings,
    insert_promotion,
    known_sha256,
    newest_of_lineage,
    record_of,
    reigns,
    update_promotion,
)
from clm.store.run_rows import correlation_of
from clm.store.schema import has_table
from clm.store.tables import promotions
from clm.store.transactions import BUSY_LIMIT_S, Store


class SqlitePromotionLog:
    """Fulfils ports.PromotionLog."""

    def __init__(self, path: Path, clock: Clock, *, busy_limit_s: float = BUSY_LIMIT_S) -> None:
        self._store = Store(path, clock, busy_limit_s=busy_limit_s)
        self._clock = clock

    def open_promotion(self) -> PromotionRow | None:
        """Return the open promotion; None if there is no open promotion or our tables do not exist."""
        with self._store.reading() as connection:
            if not has_table(connection, promotions.name):
                return None
            row = connection.execute(select(promotions).where(promotions.c.is_open == 1)).first()
        return record_of(row) if row else None

    def begin(
        self, start: PromotionStart, events: Callable[[int], Sequence[Event]] = lambda _id: ()
    ) -> PromotionRow:
        """Insert a PREPARED row and the events built from its id.

        Raises:
            PromotionBusy: PROMOTION_BUSY if another promotion is open.
        """
        now = self._clock.now()
        with self._store.writing() as connection:
            # The write lock makes this check and the insert atomic; the unique index is a second safeguard.
            other = connection.execute(select(promotions).where(promotions.c.is_open == 1)).first()
            if other:
                raise PromotionBusy(
                    "PROMOTION_BUSY",
                    f"promotion {other.id} of {other.version} is {other.state}; {start.version} has to wait",
                )
            row = insert_promotion(connection, start, PromotionState.PREPARED, now)
            self._add_events(connection, events(row.id), start.run_id, now)
        return record_of(row)

    def advance(
        self,
        promotion_id: int,
        state: PromotionState,
        *,
        reason: str = "",
        attempts: int | None = None,
        events: Sequence[Event] = (),
        hold: str = "",
    ) -> PromotionRow:
        """Store the next state with its events; COMMITTED also makes the model the only active one.

        An empty reason or attempts of None leaves the stored value. A non-empty `hold` suspends
        automatic promotion in the same transaction, with this reason.

        Raises:
            PromotionError: PROMOTION_CLOSED, it has already ended; PROMOTION_UNKNOWN.
        """
        now = self._clock.now()
        with self._store.writing() as connection:
            before = connection.execute(select(promotions).where(promotions.c.id == promotion_id)).first()
            self._demand_open(promotion_id, before)
            row = update_promotion(connection, promotion_id, state, now, reason=reason, attempts=attempts)
            if state is PromotionState.COMMITTED:
                self._activate(connection, row, now)
            if not state.is_open:
                entry = append(connection, _ended(row), now)
                events = [_with_head(event, entry) for event in events]
            # In the same transaction: a crash must not leave a failed promotion with `auto` still on.
            if hold:
                set_control(connection, Control.SUSPENDED, value="", reason=hold, now=now)
            self._add_events(connection, events, row.run_id, now)
        return record_of(row)

    def give_back(self, before: PromotionRow) -> None:
        """Reset `attempts` and `store_count` of an open promotion to those of `before`.

        For a recovery that failed with an exception while its process survived. Its other writes remain,
        because they record what was done.
        """
        with self._store.writing() as connection:
            connection.execute(
                update(promotions)
                .where(promotions.c.id == before.promotion_id, promotions.c.is_open == 1)
                .values(attempts=before.attempts, store_count=before.store_count)
            )

    def adopt(
        self,
        *,
        path: Path,
        sha256: str,
        env_sha256: str,
        reason: str,
        known: bool,
        events: Sequence[Event],
        kind: PromotionKind = PromotionKind.ADOPT,
    ) -> None:
        """Record, with its alert, a model that the engine's file names although it was not promoted.

        An unknown model is not mirrored to the neighbours: they may have their own row for it.
        """
        now, version = self._clock.now(), path.stem
        activate = activate_model if known else adopt_model
        with self._store.writing() as connection:
            # Under the write lock, so that no promotion can commit between this read and the insert.
            before = reigns(connection)
            start = PromotionStart(
                run_id="adopted",
                version=version,
                candidate_path=path,
                candidate_sha256=sha256,
                previous_path=before[0].path if before else None,
                previous_sha256=before[0].sha256 if before else None,
                env_sha256_before=env_sha256,
                kind=kind,
                asked=reason,
                candidate_stays=True,
            )
            row = insert_promotion(connection, start, PromotionState.COMMITTED, now, reason=reason)
            append(connection, _ended(row), now)
            activate(connection, version=version, path=str(path), sha256=sha256, run_id="adopted", now=now)
            insert_events(connection, events, trace_id="adopted", correlation_id="adopted", now=now)

    def known_sha256(self, path: Path) -> str | None:
        """Return the recorded hash of a promoted file at this path, or None for any other file."""
        with self._store.reading() as connection:
            return known_sha256(connection, path) if has_table(connection, promotions.name) else None

    def ended_like(self, lineage_sha256: str) -> PromotionRow | None:
        """Return the newest promotion of this lineage that reached the engine, in any final state."""
        with self._store.reading() as connection:
            return newest_of_lineage(connection, lineage_sha256)

    def endings(self, limit: int) -> list[PromotionState]:
        """Return the final states of the latest promotions that reached the engine, newest first."""
        with self._store.reading() as connection:
            return endings(connection, limit)

    def reigns(self) -> list[Reign]:
        """Return all champions and when each served, newest first; none if our tables do not exist."""
        with self._store.reading() as connection:
            return reigns(connection) if has_table(connection, promotions.name) else []

    def wrongly_active(self, version: str) -> list[str]:
        """Return a sentence for each table in which this champion is not the only active model."""
        with self._store.reading() as connection:
            return wrongly_active(connection, version)

    def set_active(self, version: str) -> None:
        """Mark this recorded model as the active one in the model tables."""
        now = self._clock.now()
        with self._store.writing() as connection:
            reign = next(r for r in reigns(connection) if r.version == version)
            activate = activate_model if reign.kind is not PromotionKind.ADOPT else adopt_model
            activate(
                connection,
                version=version,
                path=str(reign.path),
                sha256=reign.sha256,
                run_id=reign.run_id,
                now=now,
            )

    def controls(self) -> Controls:
        """Return the controls in force."""
        with self._store.reading() as connection:
            return read_controls(connection)

    @staticmethod
    def _activate(connection: Connection, row: Row[Any], now: datetime) -> None:
        activate_model(
            connection,
            version=row.version,
            path=row.candidate_path,
            sha256=row.candidate_sha256,
            run_id=row.run_id,
            now=now,
        )

    @staticmethod
    def _add_events(connection: Connection, events: Sequence[Event], run_id: str, now: datetime) -> None:
        correlation_id = correlation_of(connection, run_id)
        insert_events(connection, events, trace_id=run_id, correlation_id=correlation_id, now=now)

    def _demand_open(self, promotion_id: int, row: Row[Any] | None) -> None:
        if row is None:
            raise PromotionError(
                "PROMOTION_UNKNOWN",
                f"promotion {promotion_id} is not in {self._store.path}; was it restored?",
            )
        if not PromotionState(row.state).is_open:
            raise PromotionError(
                "PROMOTION_CLOSED", f"promotion {promotion_id} of {row.version} is at its end: {row.state}"
            )


def _ended(row: Row[Any]) -> LedgerEntry:
    """Return the ledger entry of a promotion; only a new champion resets the count of attempts."""
    outcome = row.state
    if row.state == PromotionState.COMMITTED:
        outcome = _COMMITTED[PromotionKind(row.kind)]
    return LedgerEntry(
        kind=LedgerKind.PROMOTION,
        subject=f"promotion {row.id}",
        run_id=row.run_id,
        version=row.version,
        outcome=outcome,
        judged=False,
        reason=row.asked or row.reason,
        facts={"wanted_by": row.kind, "ended": row.reason, "sha256": row.candidate_sha256},
    )


_COMMITTED = {
    PromotionKind.CYCLE: CROWNED,
    PromotionKind.PROMOTE: CROWNED,
    PromotionKind.ROLLBACK: "RESTORED",
    PromotionKind.ADOPT: "ADOPTED",
    PromotionKind.ACTIVATE: "LIVE",
}


def _with_head(event: Event, row: LedgerRow) -> Event:
    """Add the ledger's head to a promotion event, so that rows removed later are detected."""
    if not isinstance(event, ModelPromoted):
        return event
    head = {"ledger_seq": row.seq, "ledger_sha256": row.sha256}
    return replace(event, metadata={**event.metadata, **head})
