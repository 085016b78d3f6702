"""Read raw rows of `ai_training_samples` one by one. These rules are authoritative."""

from collections import defaultdict
from collections.abc import Iterable
from math import isfinite, nan

import numpy as np

from clm.data.columns import FORMS, WHY_UNLABELLED, Gathering, Layout, Reject
from clm.data.features import as_numbers, read_document
from clm.data.timestamps import parse_micros
from clm.domain.sample import UNRESOLVED

RAW_COLUMNS = (
    "id",
    "symbol",
    "timestamp",
    "features",
    "feature_names",
    "execution_side",
    "entry_price",
    "exit_price",
    "exit_time",
    "outcome_known",
    "realized_pnl",
    "target_class",
)
"""The columns a cycle reads, in the order of a raw row."""

SIDES = {"BUY": 1, "SELL": -1}
OUTCOMES = {"WIN": 1, "LOSS": -1, "NEUTRAL": 0}
_YES = (1, "1", b"1", "true", b"true")
_INT64 = range(-(2**63), 2**63)

RawRow = tuple[object, ...]
"""As SQLite gave it, in the order of RAW_COLUMNS: text may be bytes, numbers may be text."""


def read_rows(rows: Iterable[RawRow], gathering: Gathering, *, since: int | None = None) -> None:
    """Add rows to `gathering`, each as a sample or a reject; rows before `since` are skipped."""
    samples: dict[tuple[Layout, bool], list[tuple[object, ...]]] = defaultdict(list)
    for row in rows:
        read = _read_row(row, gathering, since)
        if isinstance(read, Reject):
            gathering.rejects.append(read)
        elif read:
            names, sample = read
            values = sample[-1]
            samples[names, all(map(isfinite, values))].append(sample)  # type: ignore[call-overload]
    for (names, whole), kept in samples.items():
        columns = {
            name: np.array(values, dtype=form)
            for (name, form), values in zip(FORMS.items(), zip(*kept, strict=True), strict=True)
        }
        gathering.add(names, columns, whole=whole)


def _read_row(
    row: RawRow, gathering: Gathering, since: int | None
) -> tuple[Layout, tuple[object, ...]] | Reject | None:
    """Return names and values of FORMS, or a Reject; None for a row before `since`."""
    sample_id, symbol, timestamp, features, feature_names, _, _, _, exit_time, _, _, _ = row
    decided_at = parse_micros(timestamp)
    if since is not None and decided_at is not None and decided_at < since:
        gathering.passed_over += 1
        return None
    # type, not isinstance: True is an int in Python.
    if type(sample_id) is not int or sample_id not in _INT64:
        return Reject(sample_id, decided_at, "bad_id")
    codes = gathering.symbol_codes([_text(symbol).encode()])
    if codes is None:
        return Reject(sample_id, decided_at, "bad_symbol")
    if decided_at is None:
        return Reject(sample_id, None, "bad_timestamp")
    resolved_at = parse_micros(exit_time)
    # A trade that ends before it starts would leak its outcome into its own features.
    if resolved_at is not None and resolved_at <= decided_at:
        return Reject(sample_id, decided_at, "exit_not_after_decision")
    document = read_document(features, feature_names)
    if isinstance(document, str):
        return Reject(sample_id, decided_at, document)
    names, values = document
    return names, (sample_id, codes[0], decided_at, *_outcome(row, resolved_at), as_numbers(values))


def _outcome(row: RawRow, resolved_at: int | None) -> tuple[object, ...]:
    """Return how the trade of a row ended: FORMS from `resolved_at` to `market_return`."""
    _, _, _, _, _, side, entry_price, exit_price, _, outcome_known, realized_pnl, target_class = row
    outcome = OUTCOMES.get(_text(target_class))
    unlabelled = _why_unlabelled(outcome_known, resolved_at, outcome)
    known = not unlabelled
    return (
        resolved_at if known else UNRESOLVED,
        SIDES.get(_text(side), 0),
        outcome if known else 0,
        WHY_UNLABELLED.index(unlabelled),
        number(realized_pnl) if known else nan,
        _market_return(number(entry_price), number(exit_price)) if known else nan,
    )


def _why_unlabelled(outcome_known: object, resolved_at: int | None, outcome: int | None) -> str:
    # Only known forms of true count; any other value leaves the trade open.
    if outcome_known not in _YES:
        return "open"
    if resolved_at is None:
        return "bad_exit_time"
    return "bad_target_class" if outcome is None else ""


def _market_return(entry_price: float, exit_price: float) -> float:
    return exit_price / entry_price - 1 if entry_price > 0 and exit_price > 0 else nan


def number(value: object) -> float:
    """Return a finite number, or NaN for any other value."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str, bytes)):
        return nan
    try:
        read = float(value)
    except (ValueError, OverflowError):
        return nan
    return read if isfinite(read) else nan


def _text(value: object) -> str:
    """Return the text if it is valid UTF-8, else the empty text."""
    try:
        if isinstance(value, bytes):
            return value.decode()
        if isinstance(value, str):
            return value if value.isascii() else value.encode().decode()
    except UnicodeError:
        pass
    return ""
