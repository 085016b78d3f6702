# ruff: noqa: S608  # statements contain only our own names; values are bound
"""A connection that reads samples in short copies or pieces, so that writers never wait long."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from time import monotonic

import orjson

from clm.data.columns import Gathering
from clm.data.rows import RAW_COLUMNS
from clm.store.sample_rows import CHUNK_ROWS, IN_WINDOW, Driver, Window, read_each, read_range
from clm.store.tables import SAMPLES
from clm.store.transactions import Store

_CHUNKS_A_PIECE = 8
_PIECE_S = 0.05
"""Limits of one piece, in chunks and in seconds: in a rollback-journal store a writer waits for it."""
_LIVE = f"main.{SAMPLES}"
_COPY = "snapshot.copied"
_COLUMNS = ", ".join(RAW_COLUMNS)

BEFORE_ALL = float("-inf")
"""Smaller than every id."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PiecesRead:
    """The progress of a read in pieces."""

    last_id: float
    undisturbed: bool
    """True if no other process committed between the first and last piece: they form one snapshot."""


class SampleReader:
    """Reads from one store over one connection; close it after use."""

    def __init__(self, store: Store, *, joinable: bool) -> None:
        self._store = store
        self._joinable = joinable
        self._stride = CHUNK_ROWS
        self._pooled = store.reader.raw_connection()
        driver: Driver = self._pooled.driver_connection
        self._driver = driver
        # A row with text that is not UTF-8 must not abort the whole read.
        self._driver.text_factory = bytes
        # Copies go to memory: the reader must not write next to the store.
        self._driver.execute("ATTACH ':memory:' AS snapshot")

    def close(self) -> None:
        """Close the connection."""
        self._pooled.close()

    @contextmanager
    def snapshot(self) -> Iterator["SampleReader"]:
        """Open a snapshot of the store; a shared lock is held for the whole block."""
        self._store.patiently(self._begin)
        try:
            yield self
        finally:
            if self._driver.in_transaction:
                self._driver.execute("COMMIT")

    def count(self, window: Window) -> int:
        """Return the number of rows in the window."""
        where = f"WHERE {window.where.removeprefix('AND')}" if window.where else ""
        return int(self._driver.execute(f"SELECT count(*) FROM {_LIVE} {where}", window.bounds).fetchone()[0])

    def last_id(self) -> float:
        """Return the largest id, or BEFORE_ALL if there are no rows."""
        (last,) = self._driver.execute(f"SELECT max(id) FROM {_LIVE}").fetchone()
        return BEFORE_ALL if last is None else int(last)

    def copy(self, where: str, values: Sequence[object]) -> int:
        """Copy rows of the live table into memory, inside SQLite, and return their number."""
        self._driver.execute(f"DROP TABLE IF EXISTS {_COPY}")
        self._driver.execute(f"CREATE TABLE {_COPY} AS SELECT {_COLUMNS} FROM {_LIVE} {where}", values)
        return int(self._driver.execute(f"SELECT count(*) FROM {_COPY}").fetchone()[0])

    def copy_ids(self, ids: Sequence[int], *, and_after: float, window: Window) -> int:
        """Copy the rows with these ids, and all rows of the window with ids above `and_after`."""
        # json_each takes any number of ids as one parameter; a list of "?" has a limit.
        listed = "id IN (SELECT value FROM json_each(?))"
        values = (orjson.dumps(list(ids)).decode(), and_after, *window.bounds)
        return self.copy(f"WHERE {listed} OR (id > ? {window.where})", values)

    def read_copy(self, window: Window, gathering: Gathering) -> None:
        """Add the copied rows to `gathering`; needs no lock."""
        if not self._joinable:
            read_each(self._driver, _COPY, "", (), window, gathering)
            return
        (rows,) = self._driver.execute(f"SELECT count(*) FROM {_COPY}").fetchone()
        for first in range(1, rows + 1, CHUNK_ROWS):
            last = min(first + CHUNK_ROWS - 1, rows)
            read_range(self._driver, _COPY, "rowid", first, last, Window(since=window.since), gathering)

    def before(self, ids: Sequence[object], bound: str) -> set[int]:
        """Return the ids of those rows whose time is text before `bound`."""
        query = f"SELECT id FROM {_LIVE} WHERE id IN (SELECT value FROM json_each(?)) AND NOT {IN_WINDOW}"
        return {found for (found,) in self._driver.execute(query, (orjson.dumps(ids).decode(), bound))}

    def read_pieces(self, after_id: float, window: Window, gathering: Gathering) -> PiecesRead:
        """Add all rows with ids above `after_id` to `gathering`; writers can proceed between pieces."""
        versions = set()
        more = True
        while more:
            with self.snapshot():
                # SQLite: data_version changes if another connection has committed, and only then.
                versions.add(self._driver.execute("PRAGMA data_version").fetchone())
                after_id, more = self._read_piece(after_id, window, gathering)
        return PiecesRead(last_id=after_id, undisturbed=len(versions) == 1)

    def read_all(self, window: Window, gathering: Gathering) -> float:
        """Add all rows to `gathering` under the caller's lock and return the last id."""
        after_id, more = BEFORE_ALL, True
        while more:
            after_id, more = self._read_piece(after_id, window, gathering)
        return after_id

    def _read_piece(self, after_id: float, window: Window, gathering: Gathering) -> tuple[float, bool]:
        """Read some chunks; return the last id read and whether more rows may follow."""
        query = f"SELECT min(id), (SELECT max(id) FROM {_LIVE}) FROM {_LIVE} WHERE id > ?"
        deadline = monotonic() + _PIECE_S
        for _ in range(_CHUNKS_A_PIECE):
            first, last = self._driver.execute(query, (after_id,)).fetchone()
            if first is None:
                return after_id, False
            # A range of ids with gaps holds few rows: widen the range until it holds enough.
            end = min(first + self._stride - 1, last)
            before = len(gathering) + gathering.passed_over
            read_range(self._driver, _LIVE, "id", first, end, window, gathering)
            after_id = end
            rows = len(gathering) + gathering.passed_over - before
            if rows < CHUNK_ROWS // 2:
                self._stride *= 2
            elif rows > CHUNK_ROWS:
                self._stride = max(1, self._stride * CHUNK_ROWS // rows)
            if monotonic() > deadline:
                break
        return after_id, True

    def _begin(self) -> None:
        self._driver.execute("BEGIN")
        try:
            # BEGIN alone takes no lock; this read takes it, so that later reads cannot fail.
            self._driver.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone()
        except BaseException:
            self._driver.execute("ROLLBACK")
            raise
