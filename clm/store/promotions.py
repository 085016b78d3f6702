"""The durable record of promotions: intent before act, state and events in one transaction."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from sqlalchemy import Row, insert, select, update

from clm.clock import iso
from clm.domain.ledger import CROWNED, LedgerEntry, LedgerKind, LedgerRow
from clm.errors import PromotionError
from clm.events import Event, ModelPromoted
from clm.ports import Clock, PromotionRecord, PromotionState
from clm.store.ledger import append
from clm.store.model_rows import activate_model
from clm.store.outbox import insert_events
from clm.store.run_rows import correlation_of
from clm.store.schema import has_table
from clm.store.tables import promotions
from clm.store.transactions import BUSY_LIMIT_S, Store


class SqlitePromotionLog:
    """Fulfils ports.PromotionLog."""

    def __init__(self, path: Path, clock: Clock, *, busy_limit_s: float = BUSY_LIMIT_S) -> None:
        self._store = Store(path, clock, busy_limit_s=busy_limit_s)
        self._clock = clock

    def open_promotion(self) -> PromotionRecord | None:
        """Return the promotion that is not at its end; None also where our tables have not been made."""
        with self._store.reading() as connection:
            if not has_table(connection, promotions.name):
                return None
            row = connection.execute(select(promotions).where(promotions.c.is_open == 1)).first()
        return _record(row) if row else None

    def begin(
        self,
        *,
        run_id: str,
        version: str,
        candidate_path: Path,
        candidate_sha256: str,
        previous_path: Path | None,
        previous_sha256: str | None,
        env_sha256_before: str,
    ) -> PromotionRecord:
        """Insert a PREPARED row.

        Raises:
            PromotionError: PROMOTION_BUSY when one is open already.
        """
        now = iso(self._clock.now())
        with self._store.writing() as connection:
            # Under the write lock nobody can come between this look and the insert; the unique index
            # stands behind it.
            other = connection.execute(select(promotions).where(promotions.c.is_open == 1)).first()
            if other:
                raise PromotionError(
                    "PROMOTION_BUSY",
                    f"promotion {other.id} of {other.version} is {other.state}; {version} has to wait",
                )
            row = connection.execute(
                insert(promotions)
                .values(
                    run_id=run_id,
                    version=version,
                    candidate_path=str(candidate_path),
                    candidate_sha256=candidate_sha256,
                    previous_path=str(previous_path) if previous_path else None,
                    previous_sha256=previous_sha256,
                    env_sha256_before=env_sha256_before,
                    state=PromotionState.PREPARED.value,
                    is_open=1,
                    attempts=0,
                    reason="",
                    created_at=now,
                    updated_at=now,
                )
                .returning(promotions)
            ).one()
        return _record(row)

    def advance(
        self,
        promotion_id: int,
        state: PromotionState,
        *,
        reason: str = "",
        attempts: int | None = None,
        events: Sequence[Event] = (),
    ) -> PromotionRecord:
        """Store the next state with its events; COMMITTED also makes the model the one active one.

        An empty reason and attempts of None leave what is recorded.

        Raises:
            PromotionError: PROMOTION_CLOSED, it is at its end already; PROMOTION_UNKNOWN.
        """
        now = self._clock.now()
        changes: dict[str, object] = {"state": state.value, "is_open": 1 if state.is_open else None}
        changes |= {"updated_at": iso(now)}
        changes |= {"reason": reason} if reason else {}
        changes |= {} if attempts is None else {"attempts": attempts}
        with self._store.writing() as connection:
            before = connection.execute(select(promotions).where(promotions.c.id == promotion_id)).first()
            self._demand_open(promotion_id, before)
            row = connection.execute(
                update(promotions)
                .where(promotions.c.id == promotion_id)
                .values(changes)
                .returning(promotions)
            ).one()
            if state is PromotionState.COMMITTED:
                activate_model(
                    connection,
                    version=row.version,
                    path=row.candidate_path,
                    sha256=row.candidate_sha256,
                    run_id=row.run_id,
                    now=now,
                )
                crown = append(connection, _crown(row), now)
                events = [_with_head(event, crown) for event in events]
            insert_events(
                connection,
                events,
                trace_id=row.run_id,
                correlation_id=correlation_of(connection, row.run_id),
                now=now,
            )
        return _record(row)

    def known_sha256(self, path: Path) -> str | None:
        """Return the recorded hash of a promoted file at this path, None for a stranger."""
        # A promotion given up before its switch took its file away: whatever lies there now is a stranger.
        newest = (
            select(promotions.c.candidate_sha256)
            .where(
                promotions.c.candidate_path == str(path), promotions.c.state != PromotionState.ABORTED.value
            )
            .order_by(promotions.c.id.desc())
            .limit(1)
        )
        with self._store.reading() as connection:
            if not has_table(connection, promotions.name):
                return None
            return connection.execute(newest).scalar()

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


def _crown(row: Row[Any]) -> LedgerEntry:
    return LedgerEntry(
        kind=LedgerKind.CROWN,
        subject=f"promotion {row.id}",
        run_id=row.run_id,
        version=row.version,
        outcome=CROWNED,
        judged=False,
        reason=f"the engine runs on {row.version}",
        facts={"sha256": row.candidate_sha256, "path": row.candidate_path},
    )


def _with_head(event: Event, crown: LedgerRow) -> Event:
    """Let the news of a promotion carry the ledger's head: rows that are taken away later are missed."""
    if not isinstance(event, ModelPromoted):
        return event
    head = {"ledger_seq": crown.seq, "ledger_sha256": crown.sha256}
    return replace(event, metadata={**event.metadata, **head})


def _record(row: Row[Any]) -> PromotionRecord:
    return PromotionRecord(
        promotion_id=row.id,
        run_id=row.run_id,
        version=row.version,
        candidate_path=Path(row.candidate_path),
        candidate_sha256=row.candidate_sha256,
        previous_path=Path(row.previous_path) if row.previous_path else None,
        previous_sha256=row.previous_sha256,
        env_sha256_before=row.env_sha256_before,
        state=PromotionState(row.state),
        attempts=row.attempts,
        reason=row.reason,
    )
