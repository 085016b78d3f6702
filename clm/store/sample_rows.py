# statements contain only our own names; values are bound
"""Read rows of the sample table: many rows as a few joined texts, doubtful rows one by one."""

import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Any

from sqlalchemy import text
from sqlalchemy.engine import Connection

from clm.data.bulk import ODD, JoinedRows, read_joined_rows
from clm.data.columns import Gathering
from clm.data.features import MAX_TEXT_BYTES
from clm.data.rows import RAW_COLUMNS, read_rows
from clm.data.words import BOOLEANS, OUTCOMES, SIDES
from clm.store.tables import SAMPLES

CHUNK_ROWS = 2048
"""Rows per join: enough to amortise a statement, few enough to stay in the cache."""
_EACH_BY_ITSELF = 64
"""A doubtful chunk is halved until it has this many rows."""
_LONGEST_RESULT_BYTES = 8 << 20
_ANY_LENGTH = 1_000_000_000
"""SQLite's compiled-in default."""
_LIMIT_LENGTH = sqlite3.SQLITE_LIMIT_LENGTH

Driver = Any  # the sqlite3.Connection below SQLAlchemy, which offers more than SQLAlchemy's interface


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """The guarantees that a sample table's declarations give."""

    has_id_key: bool
    """`id` is the integer primary key, and rows are stored in its order."""
    texts_are_texts: bool
    """Columns of names and features have text affinity, and text is UTF-8."""

    @property
    def joinable(self) -> bool:
        """Whether rows can be joined in SQL without changing a value."""
        return self.has_id_key and self.texts_are_texts


def shape_of(connection: Connection) -> Shape:
    """Return the shape that the store's schema declares."""
    query = text("SELECT name, upper(type), pk FROM pragma_table_info(:name)")
    declared = {name: (form, key) for name, form, key in connection.execute(query, {"name": SAMPLES})}
    encoding = connection.exec_driver_sql("PRAGMA encoding").scalar_one()
    keyed = [name for name, (_, key) in declared.items() if key]
    textual = ("symbol", "features", "feature_names")
    return Shape(
        has_id_key=keyed == ["id"] and declared["id"][0] == "INTEGER",
        texts_are_texts=encoding == "UTF-8"
        and all(any(word in declared[name][0] for word in ("CHAR", "CLOB", "TEXT")) for name in textual),
    )


# Numbers sort before all text in SQLite, and numbers as text before the digit that years begin with. They
# cannot be compared with the window here; the parser reads them, or counts them as bad. The dash keeps the
# bound a text: a column with numeric affinity would compare with the number 2.
IN_WINDOW = "(timestamp >= ? OR timestamp < '2-' OR timestamp IS NULL)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """The rows to read: SQL filters coarsely by time, and rows before `since` are dropped after parsing."""

    where: str = ""
    """An SQL condition that starts with AND, or ""."""
    bounds: tuple[object, ...] = ()
    since: int | None = None


def read_range(
    driver: Driver, table: str, key: str, first: int, last: int, window: Window, gathering: Gathering
) -> None:
    """Add the rows with keys first..last to `gathering`."""
    range_ = (first, last, *window.bounds)
    joined = _joined(driver, table, key, range_, window)
    if joined and (not joined.count or read_joined_rows(joined, gathering, since=window.since)):
        return
    if last - first < _EACH_BY_ITSELF or (joined and joined.count <= _EACH_BY_ITSELF):
        read_each(driver, table, f"WHERE {key} BETWEEN ? AND ? {window.where}", range_, window, gathering)
        return
    middle = (first + last) // 2
    read_range(driver, table, key, first, middle, window, gathering)
    read_range(driver, table, key, middle + 1, last, window, gathering)


def read_each(
    driver: Driver, table: str, where: str, values: tuple[object, ...], window: Window, gathering: Gathering
) -> None:
    """Add rows to `gathering` one by one."""
    read_rows(driver.execute(f"{_EACH} FROM {table} {where}", values), gathering, since=window.since)


def _joined(
    driver: Driver, table: str, key: str, range_: tuple[object, ...], window: Window
) -> JoinedRows | None:
    """Return rows as joined texts, or None if the result would be too long."""
    where = f"FROM {table} NOT INDEXED WHERE {key} BETWEEN ? AND ? {window.where}"
    try:
        driver.setlimit(_LIMIT_LENGTH, _LONGEST_RESULT_BYTES)
        texts = driver.execute(f"{_TEXTS} {where}", range_).fetchone()
        longest = 0
        if texts[5] and len(texts[5]) > MAX_TEXT_BYTES:
            (longest,) = driver.execute(f"{_LONGEST} {where}", range_).fetchone()
        figures = list(chain.from_iterable(driver.execute(f"{_FIGURES} {where} ORDER BY {key}", range_)))
    except sqlite3.DataError:  # longer than the limit
        return None
    finally:
        driver.setlimit(_LIMIT_LENGTH, _ANY_LENGTH)
    return JoinedRows(
        count=texts[0],
        ids=texts[1],
        symbols=texts[2],
        timestamps=texts[3],
        exit_times=texts[4],
        features=texts[5],
        least_features=texts[6],
        greatest_features=texts[7],
        longest_features=longest or 0,
        names_counted=texts[8],
        least_names=texts[9],
        greatest_names=texts[10],
        figures=figures,
    )


_USUAL = ("BUY", "SELL", "WIN", "LOSS", "NEUTRAL")


def _code(column: str, words: Mapping[str, int], units: Mapping[int, float]) -> str:
    """Return SQL for the code of a word; a missing value is 0, and anything else is ODD.

    The usual spellings are compared first and as they are: changing the case costs time.
    """
    usual = {
        name: value for name, value in words.items() if name in ("BUY", "SELL", "WIN", "LOSS", "NEUTRAL")
    }
    exact, any_case = (
        " ".join(f"WHEN '{word}' THEN {units[value]}" for word, value in group.items())
        for group in (usual, words)
    )
    other = f"CASE upper({column}) {any_case} WHEN '' THEN 0.0 ELSE "
    other += f"CASE WHEN {column} IS NULL THEN 0.0 ELSE {ODD} END END"
    return f"CASE {column} COLLATE BINARY {exact} ELSE {other} END"


def _last_text(column: str) -> str:
    """Return SQL for the last text in byte order; NULL if there are BLOBs, which hide text."""
    last = f"max({column} COLLATE BINARY)"
    return f"CASE WHEN {last} < x'' THEN {last} END"


# A NULL must be visible: if it were left out, another row with two values could hide it.
_TEXTS = f"""
SELECT count(*), group_concat(id), group_concat(ifnull(symbol, '')), group_concat(ifnull(timestamp, '')),
  group_concat(ifnull(exit_time, '')), group_concat(ifnull(features, '')),
  min(features COLLATE BINARY), {_last_text("features")},
  count(feature_names), min(feature_names COLLATE BINARY), {_last_text("feature_names")}"""
_BOOLEANS = " ".join(f"WHEN '{word}' THEN {16.0 * known}" for word, known in BOOLEANS.items())
_LONGEST = "SELECT max(length(CAST(features AS BLOB)))"
_FIGURES = f"""
SELECT id + 0.0, ifnull(entry_price, 9e999), ifnull(exit_price, 9e999), ifnull(realized_pnl, 9e999),
  {_code("execution_side", SIDES, {1: 1.0, -1: 2.0, 0: 0.0})}
  + {_code("target_class", OUTCOMES, {1: 4.0, -1: 8.0, 0: 12.0})}
  + CASE outcome_known WHEN 1 THEN 16.0 WHEN 0 THEN 0.0
    ELSE CASE upper(outcome_known) {_BOOLEANS}
      ELSE CASE WHEN outcome_known IS NULL THEN 0.0 ELSE {ODD} END END END"""


def _cut(column: str) -> str:
    """Return SQL that truncates a text above the limit to one byte over it."""
    whole = f"length(CAST({column} AS BLOB)) <= {MAX_TEXT_BYTES} OR typeof({column}) NOT IN ('text', 'blob')"
    return f"CASE WHEN {whole} THEN {column} ELSE substr(CAST({column} AS BLOB), 1, {MAX_TEXT_BYTES + 1}) END"


_EACH = "SELECT " + ", ".join(
    _cut(column) if column in ("features", "feature_names") else column for column in RAW_COLUMNS
)
