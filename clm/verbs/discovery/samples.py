"""The store's sample table, compared with what a cycle reads."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import orjson
from sqlalchemy.engine import Connection

from clm.data.reading import RAW_COLUMNS
from clm.errors import ClmError
from clm.store.connection import open_store
from clm.store.existing import SAMPLE_COLUMNS
from clm.store.failures import translated
from clm.store.tables import SAMPLES
from clm.verbs.discovery.databases import read_tables

_NEWEST = 1000
"""Number of rows whose features are examined."""
_SHOWN = {"symbol", "predicted_action", "execution_side", "target_class", "feature_names"}
"""Columns whose text is shown unchanged; in all others, digits and letters are masked."""


def store_facts(path: Path) -> dict[str, object]:
    """Return the store's tables and the form of its samples; unreadable parts are reported."""
    facts: dict[str, object] = {"path": str(path)}
    try:
        facts["tables"] = read_tables(path)
        facts["size_bytes"] = path.stat().st_size
        with translated(path), open_store(path, read_only=True).connect() as connection:
            driver = connection.connection.driver_connection
            # One row with invalid UTF-8 must not stop the inventory.
            driver.text_factory = bytes  # type: ignore[union-attr]  # a sqlite3 connection
            facts["samples"] = _samples(connection)
    except ClmError as error:
        facts["unreadable"] = str(error)
    except OSError as error:
        facts["unreadable"] = f"{path}: {error.strerror}"
    return facts


def _samples(connection: Connection) -> dict[str, object]:
    columns = [_text(row[1]) for row in connection.exec_driver_sql(f"PRAGMA table_info({SAMPLES})")]
    missing = [name for name in RAW_COLUMNS if name not in columns]
    facts: dict[str, object] = {
        "columns_read": len(RAW_COLUMNS),
        "columns_missing": missing,
        "columns_unknown": [name for name in columns if name not in SAMPLE_COLUMNS],
    }
    if missing:
        return facts | {"usable": False, "because": f"it lacks {', '.join(missing)}"}
    first, last = connection.exec_driver_sql(
        f"SELECT min(timestamp), max(timestamp) FROM {SAMPLES} WHERE typeof(timestamp) = 'text'"  # noqa: S608
    ).one()
    newest = connection.exec_driver_sql(
        f"SELECT features, feature_names FROM {SAMPLES} ORDER BY timestamp DESC LIMIT {_NEWEST}"  # noqa: S608
    ).all()
    return facts | {
        "usable": bool(newest),
        "because": "it has every column that a cycle reads; `clm preflight` checks their content"
        if newest
        else "it has every column that a cycle reads, but no row; `clm backfill` makes samples from candles",
        "classes": _groups(connection, "target_class"),
        "symbols": _groups(connection, "symbol"),
        "sides": _groups(connection, "execution_side"),
        "outcome_known": _groups(connection, "outcome_known"),
        "first": _text(first),
        "last": _text(last),
        "features": _features([(text, names) for text, names in newest]),
        "masked_row": _masked_row(connection),
    }


def _groups(connection: Connection, column: str) -> dict[str, int]:
    query = f"SELECT {column}, count(*) FROM {SAMPLES} GROUP BY {column} ORDER BY count(*) DESC LIMIT 50"  # noqa: S608
    return {_text(value): int(count) for value, count in connection.exec_driver_sql(query)}


def _features(rows: Sequence[tuple[object, object]]) -> dict[str, object]:
    """Return the feature formats of the newest samples, and how often each name occurs."""
    forms: Counter[str] = Counter()
    present: Counter[str] = Counter()
    for text, names_text in rows:
        document, names = _loaded(text), _loaded(names_text)
        if isinstance(document, dict):
            forms["object"] += 1
            present.update(name for name, value in document.items() if _is_number(value))
        elif isinstance(document, list):
            forms[f"array of {len(document)}"] += 1
            named = names if isinstance(names, list) and len(names) == len(document) else range(len(document))
            present.update(
                str(name) for name, value in zip(named, document, strict=True) if _is_number(value)
            )
        else:
            forms["missing or not readable"] += 1
    return {
        "rows_looked_at": len(rows),
        "forms": dict(forms),
        "completeness": {name: count / len(rows) for name, count in present.most_common(100)},
    }


def _loaded(text: object) -> object:
    try:
        return orjson.loads(text) if isinstance(text, (bytes, str)) else None
    except orjson.JSONDecodeError:
        return None


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _masked_row(connection: Connection) -> dict[str, str] | None:
    """Return the newest row, masked: every digit is a 9, every letter of free text an x."""
    row = connection.exec_driver_sql(f"SELECT * FROM {SAMPLES} ORDER BY timestamp DESC LIMIT 1").first()  # noqa: S608
    if row is None:
        return None
    return {name: masked(name, value) for name, value in _columns(row._mapping.items())}


def _columns(items: Iterable[tuple[object, object]]) -> Iterable[tuple[str, object]]:
    return ((_text(name), value) for name, value in items)


def masked(column: str, value: object) -> str:
    """Return a value's form instead of its content."""
    text = _text(value)[:300]
    if value is None or column in _SHOWN:
        return text
    without_digits = re.sub(r"\d", "9", text)
    keep_letters = column == "features" or not isinstance(value, (str, bytes))
    return without_digits if keep_letters else re.sub(r"[^\W\d_]", "x", without_digits)


def _text(value: object) -> str:
    text = value.decode(errors="replace") if isinstance(value, bytes) else str(value)
    return "".join(char if char.isprintable() else "?" for char in text[:500])
