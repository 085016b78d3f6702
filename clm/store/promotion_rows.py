"""Rows of clm_promotions, read and written in the caller's transaction."""

from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Row, insert, select, update
from sqlalchemy.engine import Connection

from clm.clock import iso
from clm.ports import PromotionKind, PromotionRow, PromotionStart, PromotionState, Reign
from clm.store.tables import promotions

_REACHED = (
    PromotionState.COMMITTED.value,
    PromotionState.ROLLED_BACK.value,
    PromotionState.ROLLBACK_FAILED.value,
)
"""Final states in which the engine was asked to load the model; others say nothing about the model."""
_OURS = promotions.c.kind.in_(
    [PromotionKind.CYCLE.value, PromotionKind.PROMOTE.value, PromotionKind.ROLLBACK.value]
)
"""Promotions that put a model file in place, unlike adoptions."""


def record_of(row: Row[Any]) -> PromotionRow:
    """Return the row as a PromotionRow."""
    return PromotionRow(
        promotion_id=row.id,
        kind=PromotionKind(row.kind),
        asked=row.asked,
        run_id=row.run_id,
        version=row.version,
        candidate_path=Path(row.candidate_path),
        candidate_sha256=row.candidate_sha256,
        previous_path=Path(row.previous_path) if row.previous_path else None,
        previous_sha256=row.previous_sha256,
        env_sha256_before=row.env_sha256_before,
        state=PromotionState(row.state),
        candidate_stays=bool(row.candidate_stays),
        lineage_sha256=row.lineage_sha256,
        attempts=row.attempts,
        store_count=row.store_count,
        reason=row.reason,
        updated_at=row.updated_at,
    )


def insert_promotion(
    connection: Connection, start: PromotionStart, state: PromotionState, now: datetime, *, reason: str = ""
) -> Row[Any]:
    """Insert a promotion in this state and return its row."""
    values = {
        "run_id": start.run_id,
        "version": start.version,
        "candidate_path": str(start.candidate_path),
        "candidate_sha256": start.candidate_sha256,
        "previous_path": str(start.previous_path) if start.previous_path else None,
        "previous_sha256": start.previous_sha256,
        "env_sha256_before": start.env_sha256_before,
        "kind": start.kind.value,
        "asked": start.asked,
        "candidate_stays": int(start.candidate_stays),
        "lineage_sha256": start.lineage_sha256,
        "state": state.value,
        "is_open": 1 if state.is_open else None,
        "attempts": 0,
        "store_count": 1,
        "reason": reason,
        "created_at": iso(now),
        "updated_at": iso(now),
    }
    return connection.execute(insert(promotions).values(values).returning(promotions)).one()


def update_promotion(
    connection: Connection,
    promotion_id: int,
    state: PromotionState,
    now: datetime,
    *,
    reason: str,
    attempts: int | None,
) -> Row[Any]:
    """Store the next state of a promotion; an empty reason or attempts of None leaves the stored value."""
    changes: dict[str, object] = {
        "state": state.value,
        "is_open": 1 if state.is_open else None,
        "updated_at": iso(now),
        "store_count": promotions.c.store_count + 1,
    }
    changes |= {"reason": reason} if reason else {}
    changes |= {} if attempts is None else {"attempts": attempts}
    changed = update(promotions).where(promotions.c.id == promotion_id).values(changes)
    return connection.execute(changed.returning(promotions)).one()


def known_sha256(connection: Connection, path: Path) -> str | None:
    """Return the recorded hash of a file that we put at this path, or None for any other file."""
    # A promotion aborted before its switch removed its file: a file at that path now is not ours.
    newest = (
        select(promotions.c.candidate_sha256)
        .where(
            promotions.c.candidate_path == str(path),
            promotions.c.state != PromotionState.ABORTED.value,
            _OURS,
        )
        .order_by(promotions.c.id.desc())
        .limit(1)
    )
    return connection.execute(newest).scalar()


def newest_of_lineage(connection: Connection, lineage_sha256: str) -> PromotionRow | None:
    """Return the newest promotion of this lineage that reached the engine."""
    newest = (
        select(promotions)
        .where(promotions.c.lineage_sha256 == lineage_sha256, promotions.c.state.in_(_REACHED))
        .order_by(promotions.c.id.desc())
        .limit(1)
    )
    row = connection.execute(newest).first()
    return record_of(row) if row else None


def endings(connection: Connection, limit: int) -> list[PromotionState]:
    """Return the final states of the latest promotions that reached the engine, newest first."""
    latest = (
        select(promotions.c.state)
        .where(promotions.c.state.in_(_REACHED), _OURS)
        .order_by(promotions.c.id.desc())
        .limit(limit)
    )
    return [PromotionState(state) for state in connection.execute(latest).scalars()]


def reigns(connection: Connection) -> list[Reign]:
    """Return all champions and when each served, newest first.

    The last one is the model that the first promotion found; its start is unknown.
    """
    committed = (
        select(promotions)
        .where(promotions.c.state == PromotionState.COMMITTED.value)
        .order_by(promotions.c.id.desc())
    )
    rows = connection.execute(committed).all()
    untils = [None, *(row.updated_at for row in rows)]
    shown = [_reign(row, until) for row, until in zip(rows, untils, strict=False)]
    if rows and rows[-1].previous_path and rows[-1].previous_sha256:
        path = Path(rows[-1].previous_path)
        shown.append(
            Reign(
                version=path.stem,
                path=path,
                sha256=rows[-1].previous_sha256,
                run_id="",
                kind=PromotionKind.ADOPT,
                since="",
                until=rows[-1].updated_at,
                why="it was there before us",
            )
        )
    return shown


def _reign(row: Row[Any], until: str | None) -> Reign:
    return Reign(
        version=row.version,
        path=Path(row.candidate_path),
        sha256=row.candidate_sha256,
        run_id=row.run_id,
        kind=PromotionKind(row.kind),
        since=row.updated_at,
        until=until,
        why=row.asked or row.reason,
    )
