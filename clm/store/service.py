"""When a model began to serve, according to the promotions."""

from datetime import datetime
from pathlib import Path

from sqlalchemy import select

from clm.ports import Clock, PromotionState
from clm.store.schema import has_table
from clm.store.tables import promotions
from clm.store.transactions import BUSY_LIMIT_S, Store


def serving_since(
    path: Path, version: str, clock: Clock, *, busy_limit_s: float = BUSY_LIMIT_S
) -> datetime | None:
    """Return when the newest committed promotion ended, or None if it was of another version."""
    newest = (
        select(promotions.c.version, promotions.c.updated_at)
        .where(promotions.c.state == PromotionState.COMMITTED.value)
        .order_by(promotions.c.id.desc())
        .limit(1)
    )
    with Store(path, clock, busy_limit_s=busy_limit_s).reading() as connection:
        row = connection.execute(newest).first() if has_table(connection, promotions.name) else None
    return datetime.fromisoformat(row.updated_at) if row and row.version == version else None
