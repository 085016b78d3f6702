"""Raw rows of `ai_training_samples` to a SampleTable; bad rows are counted, never filled in."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from math import isfinite, nan
from typing import NamedTuple

import numpy as np

from clm.clock import to_micros
from clm.data.features import parse_features
from clm.data.timestamps import parse_micros
from clm.domain.sample import UNRESOLVED, Floats, SampleTable

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

_SIDES = {"BUY": 1, "SELL": -1}
_OUTCOMES = {"WIN": 1, "LOSS": -1, "NEUTRAL": 0}
_YES = (1, "1", b"1", "true", b"true")
_INT64 = range(-(2**63), 2**63)


@dataclass(frozen=True, slots=True, kw_only=True)
class RawSamples:
    """Rows as SQLite gave them: text may be bytes, numbers may be text; nothing is trusted yet."""

    rows: Sequence[tuple[object, ...]]
    """Each in the order of RAW_COLUMNS."""


class _Row(NamedTuple):
    """What a good row says beside its features; a named tuple, as there are millions."""

    sample_id: int
    symbol: str
    decided_at: int
    resolved_at: int
    side: int
    outcome: int
    pnl: float
    market_return: float
    features: object
    feature_names: object
    unlabelled: str
    """Why the row has no label; empty where it has one."""


def parse_samples(raw: RawSamples, *, cutoff: datetime, features: tuple[str, ...] = ()) -> SampleTable:
    """Return the usable samples as they were known at `cutoff`.

    A row that contradicts itself or cannot be read is left out and counted by reason. A row without a known
    outcome stays as history. `features` names the features to use, in this order; without it the newest
    readable sample decides, and samples with other names are left out.
    """
    cutoff_micros = to_micros(cutoff)
    read = [_read_row(row, cutoff_micros) for row in raw.rows]
    rejected = Counter(row for row in read if isinstance(row, str))
    rows = [row for row in read if not isinstance(row, str)]

    newest_first = sorted(
        range(len(rows)), key=lambda index: (rows[index].decided_at, rows[index].sample_id), reverse=True
    )
    columns = parse_features(
        [row.features for row in rows], [row.feature_names for row in rows], newest_first, features
    )
    rejected.update(reason for reason in columns.reasons if reason)
    good_R = np.array([not reason for reason in columns.reasons], dtype=np.bool_)
    return _table(
        [row for row, reason in zip(rows, columns.reasons, strict=True) if not reason],
        features_RC=columns.values_RC[good_R],
        feature_names=columns.contract.names,
        available_features=columns.contract.available,
        missing_features=columns.contract.missing,
        rows_read=len(raw.rows),
        rejected=dict(sorted(rejected.items())),
    )


def _table(rows: Sequence[_Row], *, features_RC: Floats, **rest: object) -> SampleTable:
    symbols = tuple(sorted({row.symbol for row in rows}))
    code_of = {symbol: code for code, symbol in enumerate(symbols)}
    sample_id_R = np.array([row.sample_id for row in rows], dtype=np.int64)
    symbol_R = np.array([code_of[row.symbol] for row in rows], dtype=np.int64)
    decided_at_R = np.array([row.decided_at for row in rows], dtype=np.int64)
    order_R = np.lexsort((sample_id_R, decided_at_R, symbol_R))
    return SampleTable(
        sample_id_R=sample_id_R[order_R],
        symbol_R=symbol_R[order_R],
        symbols=symbols,
        decided_at_R=decided_at_R[order_R],
        resolved_at_R=np.array([row.resolved_at for row in rows], dtype=np.int64)[order_R],
        side_R=np.array([row.side for row in rows], dtype=np.int8)[order_R],
        outcome_R=np.array([row.outcome for row in rows], dtype=np.int8)[order_R],
        pnl_R=np.array([row.pnl for row in rows], dtype=np.float64)[order_R],
        market_return_R=np.array([row.market_return for row in rows], dtype=np.float64)[order_R],
        features_RC=features_RC[order_R],
        unlabelled=dict(sorted(Counter(row.unlabelled for row in rows if row.unlabelled).items())),
        **rest,  # type: ignore[arg-type]  # the caller names fields of SampleTable
    )


def _read_row(row: tuple[object, ...], cutoff: int) -> _Row | str:
    """Return the row without its features read, or the reason why it is left out."""
    (
        sample_id,
        raw_symbol,
        timestamp,
        features,
        feature_names,
        side,
        entry_price,
        exit_price,
        exit_time,
        outcome_known,
        realized_pnl,
        target_class,
    ) = row
    if type(sample_id) is not int or sample_id not in _INT64:
        return "bad_id"
    symbol = _text(raw_symbol)
    if not symbol:
        return "bad_symbol"
    decided_at = parse_micros(timestamp)
    if decided_at is None:
        return "bad_timestamp"
    if decided_at > cutoff:
        return "future"
    resolved_at = parse_micros(exit_time)
    if resolved_at is not None and resolved_at <= decided_at:
        return "exit_not_after_decision"

    outcome = _OUTCOMES.get(_text(target_class))
    unlabelled = _why_unlabelled(outcome_known, resolved_at, outcome, cutoff)
    known = not unlabelled
    return _Row(
        sample_id=sample_id,
        symbol=symbol,
        decided_at=decided_at,
        # What was not known at the cutoff stays unknown, also where the row tells it by now.
        resolved_at=resolved_at if known and resolved_at is not None else UNRESOLVED,
        side=_SIDES.get(_text(side), 0),
        outcome=outcome if known and outcome is not None else 0,
        pnl=_number(realized_pnl) if known else nan,
        market_return=_market_return(_number(entry_price), _number(exit_price)) if known else nan,
        features=features,
        feature_names=feature_names,
        unlabelled=unlabelled,
    )


def _why_unlabelled(outcome_known: object, resolved_at: int | None, outcome: int | None, cutoff: int) -> str:
    if outcome_known not in _YES:
        return "open"
    if resolved_at is None:
        return "bad_exit_time"
    if outcome is None:
        return "bad_target_class"
    return "resolved_after_cutoff" if resolved_at > cutoff else ""


def _market_return(entry_price: float, exit_price: float) -> float:
    return exit_price / entry_price - 1 if entry_price > 0 and exit_price > 0 else nan


def _number(value: object) -> float:
    """Return a finite number, NaN for everything else."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str, bytes)):
        return nan
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return nan
    return number if isfinite(number) else nan


def _text(value: object) -> str:
    """Return text that can be written as UTF-8, else the empty text."""
    try:
        if isinstance(value, bytes):
            return value.decode()
        if isinstance(value, str):
            return value if value.isascii() else value.encode().decode()
    except UnicodeError:
        pass
    return ""
