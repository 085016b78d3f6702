"""Trades with a negative hold duration: a query that only the preflight check uses."""

from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import text

from clm.clock import SystemClock
from clm.ports import Clock
from clm.store.contract import check_samples
from clm.store.tables import SAMPLES
from clm.store.transactions import BUSY_LIMIT_S, Store

_IDS_KEPT = 100
_HOLD = "hold_duration_seconds"
# All parts are constants. SQLite enforces no types, so text in that column is not counted.
_OF_NUMBERS = f"FROM {SAMPLES} WHERE typeof({_HOLD}) IN ('integer', 'real')"
_COUNTS = text(f"SELECT count(*), count(*) FILTER (WHERE {_HOLD} < 0) {_OF_NUMBERS}")
_NEGATIVE = text(f"SELECT id {_OF_NUMBERS} AND {_HOLD} < 0 ORDER BY id LIMIT {_IDS_KEPT}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Holds:
    """A summary of the column `hold_duration_seconds`."""

    known: int
    negative: int
    sample_ids: tuple[int, ...]
    """Ids of the first negative samples, ascending."""


def read_holds(path: Path, clock: Clock | None = None, *, busy_limit_s: float = BUSY_LIMIT_S) -> Holds:
    """Count samples with a hold duration and those below zero; both are 0 if the column is missing.

    Raises:
        DataError: the store cannot be read.
        StoreBusy: the lock was held for too long.
    """
    with Store(path, clock or SystemClock(), busy_limit_s=busy_limit_s).reading() as connection:
        check_samples(path, connection)
        has_column = text("SELECT count(*) FROM pragma_table_info(:name) WHERE name = :column")
        if not connection.execute(has_column, {"name": SAMPLES, "column": _HOLD}).scalar_one():
            return Holds(known=0, negative=0, sample_ids=())
        known, negative = connection.execute(_COUNTS).one()
        ids = connection.execute(_NEGATIVE).scalars() if negative else ()
        return Holds(known=int(known), negative=int(negative), sample_ids=tuple(int(i) for i in ids))
