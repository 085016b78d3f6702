"""Samples as raw rows: one short read, nothing held while they are worked on."""

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import text
from sqlalchemy.engine import Connection

from clm.clock import SystemClock, from_micros, iso, to_micros
from clm.data.reading import RAW_COLUMNS, RawSamples
from clm.data.timestamps import parse_micros
from clm.errors import DataError
from clm.ports import Clock
from clm.store.contract import check_samples
from clm.store.tables import SAMPLES
from clm.store.transactions import BUSY_LIMIT_S, Store

_SCAN_FROM_SHARE = 1 / 8
"""Share of the rows from which reading the whole table is faster than jumping through the index."""
_NEWEST_LOOKED_AT = 1000

# Numbers sort before all text in SQLite. A time that is no text cannot be placed in the window: its row
# is handed on, to be counted as bad.
_WINDOW = "(timestamp >= :since OR timestamp < '')"
_NEWEST = text(f"SELECT CAST(timestamp AS BLOB) FROM {SAMPLES} ORDER BY timestamp DESC LIMIT :limit")  # noqa: S608  # a constant


class SqliteSampleSource:
    """Fulfils ports.SampleSource."""

    def __init__(self, path: Path, clock: Clock | None = None, *, busy_limit_s: float = BUSY_LIMIT_S) -> None:
        self._clock = clock or SystemClock()
        self._store = Store(path, self._clock, busy_limit_s=busy_limit_s)

    def read(self, since: datetime | None, max_rows: int) -> RawSamples:
        """Return the rows decided at or after `since` as SQLite holds them, text as bytes.

        One SELECT copies them into memory within SQLite: a writer of the live store is held up for that
        copy (0.1 s for 100,000 rows), not for the three to five times longer making of Python objects.

        Raises:
            DataError: STORE_MISSING, STORE_EMPTY, STORE_CORRUPT, SCHEMA, DATA_TOO_BIG.
            StoreBusy: the lock was held for too long.
        """
        bounds = _bounds(since)
        with self._store.reading() as connection:
            check_samples(self._store.path, connection)
            everything = _count(connection, {})
            wanted = _count(connection, bounds) if bounds else everything
        if wanted > max_rows:
            raise self._too_big(wanted, max_rows)
        scan = wanted >= everything * _SCAN_FROM_SHARE
        rows = self._store.patiently(lambda: self._snapshot(bounds, scan=scan))
        # Rows may have come between the count and the copy.
        if len(rows) > max_rows:
            raise self._too_big(len(rows), max_rows)
        return RawSamples(rows=rows)

    def newest(self) -> datetime | None:
        """Return when the newest sample was decided, None for an empty table; the future does not count.

        Raises:
            DataError: as read, and DATA_BAD where none of the newest rows tells a time up to now.
            StoreBusy: the lock was held for too long.
        """
        with self._store.reading() as connection:
            check_samples(self._store.path, connection)
            times = connection.execute(_NEWEST, {"limit": _NEWEST_LOOKED_AT}).scalars().all()
        now = to_micros(self._clock.now())
        moments = [m for m in map(parse_micros, times) if m is not None and m <= now]
        if times and not moments:
            raise DataError(
                "DATA_BAD",
                f"none of the newest {len(times)} timestamps of {SAMPLES} is a time up to now "
                f"({iso(self._clock.now())}), one is {times[0]!r:.60}; is the clock right, are those rows?",
            )
        return from_micros(max(moments)) if moments else None

    def _snapshot(self, bounds: Mapping[str, object], *, scan: bool) -> list[tuple[object, ...]]:
        columns = ", ".join(RAW_COLUMNS)
        where = f"{'NOT INDEXED' if scan else ''} {f'WHERE {_WINDOW}' if bounds else ''}"
        pooled = self._store.reader.raw_connection()
        try:
            driver: Any = pooled.driver_connection
            # One row with text that is not UTF-8 must not end the whole read.
            driver.text_factory = bytes
            driver.execute("ATTACH ':memory:' AS snapshot")
            copy = f"CREATE TABLE snapshot.copied AS SELECT {columns} FROM main.{SAMPLES} {where}"  # noqa: S608  # constants
            driver.execute(copy, bounds)
            rows: list[tuple[object, ...]] = driver.execute("SELECT * FROM snapshot.copied").fetchall()
            return rows
        finally:
            pooled.close()

    def _too_big(self, rows: int, max_rows: int) -> DataError:
        return DataError(
            "DATA_TOO_BIG",
            f"{self._store.path} holds {rows} samples in the window, more than the {max_rows} that are read; "
            "shorten the history or raise the limit",
        )


def _bounds(since: datetime | None) -> dict[str, object]:
    if since is None:
        return {}
    moment = since.astimezone(UTC)
    # Without a fraction where there is none: "12:00:00" must not sort before its own bound.
    form = "%Y-%m-%d %H:%M:%S.%f" if moment.microsecond else "%Y-%m-%d %H:%M:%S"
    return {"since": moment.strftime(form)}


def _count(connection: Connection, bounds: Mapping[str, object]) -> int:
    where = f"WHERE {_WINDOW}" if bounds else ""
    return int(connection.execute(text(f"SELECT count(*) FROM {SAMPLES} {where}"), bounds).scalar_one())  # noqa: S608  # constants
