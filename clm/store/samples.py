"""Read samples as columns: strictly validated, consistent, and without blocking writers for long."""

from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from sqlalchemy import text
from sqlalchemy.engine import Connection

from clm.clock import SystemClock, from_micros, iso, to_micros
from clm.data.columns import Gathering, Reject, SampleColumns
from clm.data.timestamps import parse_micros
from clm.errors import DataError
from clm.ports import Clock
from clm.store.contract import check_samples
from clm.store.failures import translated
from clm.store.memory import available_bytes, bytes_to_read
from clm.store.sample_cache import SampleCache
from clm.store.sample_growth import Known, catch_up
from clm.store.sample_reader import BEFORE_ALL, SampleReader
from clm.store.sample_rows import IN_WINDOW, Window, shape_of
from clm.store.tables import SAMPLES
from clm.store.transactions import BUSY_LIMIT_S, Store

_COPIED_ROWS = 200_000
"""Maximum rows copied inside SQLite under one lock; 100,000 rows hold it for about 0.1 s."""
_COPIED_BYTES = 256 << 20
_SCAN_FROM_SHARE = 1 / 8
"""Share of the rows above which a full table scan is faster than the index."""
_NEWEST_LOOKED_AT = 1000
_ZONES = timedelta(days=2)
"""Times are stored as local time, which differs from UTC by less than this."""
_PROBES = 128
"""Random settled rows that are compared with the store at each use of the cache."""

_NEWEST = text(f"SELECT CAST(timestamp AS BLOB) FROM {SAMPLES} ORDER BY timestamp DESC LIMIT :limit")  # noqa: S608  # a constant
_ANY_EARLIER = text(
    f"SELECT EXISTS (SELECT 1 FROM {SAMPLES} WHERE timestamp >= '' AND timestamp < :bound)"  # noqa: S608  # a constant
)
_NEWEST_FEATURES = f"SELECT substr(features, 1, 65536) AS features FROM {SAMPLES} ORDER BY id DESC LIMIT 1"  # noqa: S608  # a constant
_COMMAS = text(f"SELECT length(features) - length(replace(features, ',', '')) FROM ({_NEWEST_FEATURES})")  # noqa: S608  # a constant


class SqliteSampleSource:
    """Fulfils ports.SampleSource."""

    def __init__(
        self,
        path: Path,
        clock: Clock | None = None,
        *,
        busy_limit_s: float = BUSY_LIMIT_S,
        cache: SampleCache | None = None,
        available: Callable[[], int | None] = available_bytes,
    ) -> None:
        self._clock = clock or SystemClock()
        self._store = Store(path, self._clock, busy_limit_s=busy_limit_s)
        self._cache = cache
        self._available = available

    def read(self, since: datetime | None, max_rows: int) -> SampleColumns:
        """Return the rows decided at or after `since`, and all rows whose time cannot be parsed.

        Up to 200,000 rows are one snapshot, copied into memory inside SQLite. The copy blocks writers
        (0.1 s for 100,000 rows). More rows are read in pieces of 16,000, and writers proceed in between.
        If a writer did, rows that can have changed are read again in one final snapshot: new rows and
        rows without a label. A labelled sample rewritten in that time is returned in its old or its new
        form. If rows were removed, all rows are read again.

        With a cache, rows that were settled at the last read are not read again (see SampleCache).

        Raises:
            DataError: STORE_MISSING, STORE_EMPTY, STORE_CORRUPT, SCHEMA, DATA_TOO_BIG.
            StoreBusy: the lock was held for too long.
        """
        with self._store.reading() as connection:
            check_samples(self._store.path, connection)
            shape = shape_of(connection)
            window = _window(connection, since)
            features = int(connection.execute(_COMMAS).scalar() or 0) + 1
        reader = SampleReader(self._store, joinable=shape.joinable)
        with translated(self._store.path), closing(reader):
            if self._cache and shape.joinable:
                columns = self._read_cached(self._cache, reader, max_rows, features)
                if columns is not None:
                    return _cut(columns, since, reader)
            with reader.snapshot():
                everything = reader.count(Window())
                wanted = reader.count(window) if window.where else everything
            self._check_size(wanted, max_rows, features)
            share = wanted / everything if everything else 1.0
            copied_bytes = self._store.path.stat().st_size * share
            # Without an integer key there are no ranges to read, so the copy is the only way.
            if not shape.has_id_key or (wanted <= _COPIED_ROWS and copied_bytes <= _COPIED_BYTES):
                return self._read_copied(reader, window, max_rows, scan=share >= _SCAN_FROM_SHARE)
            return _read_in_pieces(reader, window, wanted)

    def newest(self) -> datetime | None:
        """Return the latest decision time up to now, or None for an empty table.

        Raises:
            DataError: as read, and DATA_BAD if none of the newest rows has a readable time up to now.
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

    def _read_copied(
        self, reader: SampleReader, window: Window, max_rows: int, *, scan: bool
    ) -> SampleColumns:
        where = f"WHERE {IN_WINDOW}" if window.where else ""
        with reader.snapshot():
            rows = reader.copy(f"{'NOT INDEXED' if scan else ''} {where}", window.bounds)
        # Rows may have been added between the count and the copy.
        if rows > max_rows:
            raise self._too_many(rows, max_rows)
        gathering = Gathering(rows)
        reader.read_copy(window, gathering)
        return gathering.finish()

    def _read_cached(
        self, cache: SampleCache, reader: SampleReader, max_rows: int, features: int
    ) -> SampleColumns | None:
        """Return all rows, regardless of the window, or None if the cache does not help."""
        known = cache.load(self._store.path, self._clock.now())
        with reader.snapshot():
            behind = reader.last_id() - known.last_id
            if not known.rows:
                rows = reader.count(Window())
                if not cache.from_rows <= rows <= max_rows:
                    return None
                self._check_size(rows, max_rows, features)
        if behind > _COPIED_ROWS:
            gathering = Gathering(0 if known.rows else rows)
            last_id = reader.read_pieces(known.last_id, Window(), gathering).last_id
            seen = known.rows + len(gathering)
            known = known.grown(gathering.finish(), last_id, seen, pending_too=False)
        caught_up = catch_up(reader, known, Window(), probes=_PROBES)
        if caught_up is None:
            columns, last_id, rows = _read_under_one_lock(reader, Window(), known.rows)
            caught_up = columns, Known.nothing().grown(columns, last_id, rows, pending_too=True)
        columns, known = caught_up
        cache.save(self._store.path, known)
        return columns if columns.rows_read <= max_rows else None

    def _check_size(self, rows: int, max_rows: int, features: int) -> None:
        if rows > max_rows:
            raise self._too_many(rows, max_rows)
        needed, available = bytes_to_read(rows, features), self._available()
        if available is not None and needed > available:
            raise DataError(
                "DATA_TOO_BIG",
                f"{self._store.path} holds {rows} samples of about {features} features in the window; "
                f"to read them takes about {needed / 1e9:.1f} GB, {available / 1e9:.1f} GB are free; "
                "shorten the history",
            )

    def _too_many(self, rows: int, max_rows: int) -> DataError:
        return DataError(
            "DATA_TOO_BIG",
            f"{self._store.path} holds {rows} samples in the window, more than the {max_rows} that are read; "
            "shorten the history or raise the limit",
        )


def _read_in_pieces(reader: SampleReader, window: Window, wanted: int) -> SampleColumns:
    gathering = Gathering(wanted)
    pieces = reader.read_pieces(BEFORE_ALL, window, gathering)
    rows = len(gathering) + gathering.passed_over
    columns = gathering.finish()
    if pieces.undisturbed:
        return columns
    caught_up = catch_up(
        reader, Known.nothing().grown(columns, pieces.last_id, rows, pending_too=True), window
    )
    return caught_up[0] if caught_up else _read_under_one_lock(reader, window, rows)[0]


def _read_under_one_lock(
    reader: SampleReader, window: Window, expected: int
) -> tuple[SampleColumns, float, int]:
    """Return all rows, the last id and the number of rows; writers wait (2 s per million rows)."""
    gathering = Gathering(expected)
    with reader.snapshot():
        last_id = reader.read_all(window, gathering)
    rows = len(gathering) + gathering.passed_over
    return gathering.finish(), last_id, rows


def _window(connection: Connection, since: datetime | None) -> Window:
    if since is None:
        return Window()
    moment = since.astimezone(UTC)
    # A wide bound for the index on text; the exact comparison follows on parsed times.
    bound = f"{moment - _ZONES:%Y-%m-%d %H:%M:%S}"
    if not connection.execute(_ANY_EARLIER, {"bound": bound}).scalar_one():
        return Window(since=to_micros(moment))
    return Window(where=f"AND {IN_WINDOW}", bounds=(bound,), since=to_micros(moment))


def _cut(columns: SampleColumns, since: datetime | None, reader: SampleReader) -> SampleColumns:
    """Return the rows that a read with `since` would have returned."""
    if since is None:
        return columns
    earliest = to_micros(since)
    blocks = []
    for block in columns.blocks:
        # The cache holds all rows, because a cut by time would make it useless for the next history.
        late_enough_R = block.decided_at_R >= earliest
        blocks.append(block if late_enough_R.all() else block.take(late_enough_R))
    timeless = [reject.sample_id for reject in columns.rejects if reject.decided_at is None]
    bound = f"{since.astimezone(UTC) - _ZONES:%Y-%m-%d %H:%M:%S}"
    outside = reader.before(timeless, bound) if timeless else set()

    def wanted(reject: Reject) -> bool:
        if reject.decided_at is None:
            return reject.sample_id not in outside
        return reject.decided_at >= earliest

    return replace(columns, blocks=tuple(blocks), rejects=tuple(filter(wanted, columns.rejects)))
