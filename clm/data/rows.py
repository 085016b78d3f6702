"""Read raw rows of `ai_training_samples` one by one. These rules are authoritative."""

from collections import defaultdict
from collections.abc import Iterable
from math import isfinite, isnan, nan

import numpy as np

from clm.data.columns import FORMS, ODD_FIGURES, WHY_UNLABELLED, Gathering, Layout, Reject
from clm.data.features import as_numbers, read_document
from clm.data.timestamps import parse_micros
from clm.data.words import boolean_of, is_missing, outcome_of, side_of, text_of
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
    """Return names and the values of FORMS, or the reason why there are none; None before `since`."""
    sample_id, symbol, timestamp, features, feature_names, raw_side, _, _, exit_time, raw_known, _, _ = row
    decided_at = parse_micros(timestamp)
    if since is not None and decided_at is not None and decided_at < since:
        gathering.passed_over += 1
        return None
    # type, not isinstance: True is an int in Python.
    if type(sample_id) is not int or sample_id not in _INT64:
        return Reject(sample_id, decided_at, "bad_id", example(sample_id))
    codes = gathering.symbol_codes([text_of(symbol).encode()])
    if codes is None:
        return Reject(sample_id, decided_at, "bad_symbol", example(symbol))
    if decided_at is None:
        return Reject(sample_id, None, "bad_timestamp", example(timestamp))
    resolved_at = parse_micros(exit_time)
    # A trade that ends before it starts would leak its outcome into its own features.
    if resolved_at is not None and resolved_at <= decided_at:
        return Reject(sample_id, decided_at, "exit_not_after_decision", example(exit_time))
    side, known = side_of(raw_side), boolean_of(raw_known)
    if side is None:
        return Reject(sample_id, decided_at, "bad_side", example(raw_side))
    if known is None:
        return Reject(sample_id, decided_at, "bad_outcome_known", example(raw_known))
    document = read_document(features, feature_names)
    if isinstance(document, str):
        return Reject(sample_id, decided_at, document, example(features))
    names, values = document
    outcome = _outcome(row, side, resolved_at if known else None, gathering) if known else _open(side)
    return names, (sample_id, codes[0], decided_at, *outcome, as_numbers(values))


def _open(side: int) -> tuple[object, ...]:
    """Return FORMS from `resolved_at` to `odd` of a row without a known outcome."""
    return UNRESOLVED, side, 0, WHY_UNLABELLED.index("open"), nan, nan, nan, 0


def _outcome(row: RawRow, side: int, resolved_at: int | None, gathering: Gathering) -> tuple[object, ...]:
    """Return how the trade of a row with a known outcome ended: FORMS from `resolved_at` to `odd`."""
    *_, entry_price, exit_price, exit_time, _, realized_pnl, target_class = row
    outcome = outcome_of(target_class)
    if resolved_at is None or outcome is None:
        reason, value = (
            ("bad_exit_time", exit_time) if resolved_at is None else ("bad_target_class", target_class)
        )
        gathering.examples.setdefault(reason, example(value))
        return UNRESOLVED, side, 0, WHY_UNLABELLED.index(reason), nan, nan, nan, 0
    figures = entry_price, exit_price, realized_pnl
    odd = sum(
        flag
        for flag, (name, value) in zip(
            ODD_FIGURES, zip(ODD_FIGURES.values(), figures, strict=True), strict=True
        )
        if _is_odd(name, value, gathering)
    )
    entry, exit_, pnl = map(number, figures)
    price = entry if entry > 0 else nan
    return resolved_at, side, outcome, 0, pnl, _market_return(entry, exit_), price, odd


def _is_odd(name: str, value: object, gathering: Gathering) -> bool:
    """Return whether a figure is a text that is not a number; keep an example."""
    if not isinstance(value, (str, bytes)) or is_missing(value) or not isnan(number(value)):
        return False
    gathering.examples.setdefault(f"bad_{name}", example(value))
    return True


def example(value: object) -> str:
    """Return a value as it is shown in a message."""
    shown = text_of(value) or value if isinstance(value, bytes) else value
    return f"{shown!r:.60}"


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
