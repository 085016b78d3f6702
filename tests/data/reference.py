"""What is right about reading samples, said once more: one row after the other, nothing shared.

The project's own readers take many rows at once, keep columns and put them together later. This one does
none of that, so that the two can be held against each other.
"""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from math import isfinite, nan
from typing import NamedTuple

import numpy as np
import orjson

from clm.clock import to_micros
from clm.data.reading import RawSamples
from clm.data.timestamps import parse_micros
from clm.data.words import boolean_of, is_missing, outcome_of, side_of
from clm.domain.markets import market_of
from clm.domain.sample import UNRESOLVED, Floats, SampleTable

MAX_TEXT_BYTES = 65_536
MAX_MAGNITUDE = 1e12
_NUMBERS = {int, float}
_INT64 = range(-(2**63), 2**63)


class _Row(NamedTuple):
    """The values of a valid row except its features; a named tuple, because there are millions."""

    sample_id: int
    symbol: str
    decided_at: int
    resolved_at: int
    side: int
    outcome: int
    pnl: float
    market_return: float
    entry_price: float
    features: object
    feature_names: object
    unlabelled: str
    """Why the row has no label; empty where it has one."""
    odd: tuple[str, ...]
    """Figures of a labelled row that are there and are no numbers."""


def parse_one_by_one(raw: RawSamples, *, cutoff: datetime, features: tuple[str, ...] = ()) -> SampleTable:
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
        last_id=max((row[0] for row in raw.rows if isinstance(row[0], int)), default=None),
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
        entry_price_R=np.array([row.entry_price for row in rows], dtype=np.float64)[order_R],
        features_RC=features_RC[order_R],
        unlabelled=dict(sorted(Counter(row.unlabelled for row in rows if row.unlabelled).items())),
        odd_figures=dict(Counter(name for row in rows for name in row.odd)),
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
    written = _text(raw_symbol)
    if not written:
        return "bad_symbol"
    symbol = market_of(written) or written
    decided_at = parse_micros(timestamp)
    if decided_at is None:
        return "bad_timestamp"
    if decided_at > cutoff:
        return "future"
    resolved_at = parse_micros(exit_time)
    if resolved_at is not None and resolved_at <= decided_at:
        return "exit_not_after_decision"

    if side_of(side) is None:
        return "bad_side"
    if boolean_of(outcome_known) is None:
        return "bad_outcome_known"
    outcome = outcome_of(target_class)
    unlabelled = _why_unlabelled(outcome_known, resolved_at, outcome, cutoff)
    known = not unlabelled
    figures = {"entry_price": entry_price, "exit_price": exit_price, "realized_pnl": realized_pnl}
    odd = tuple(
        f"bad_{name}"
        for name, value in figures.items()
        if isinstance(value, (str, bytes)) and not is_missing(value) and np.isnan(_number(value))
    )
    return _Row(
        sample_id=sample_id,
        symbol=symbol,
        decided_at=decided_at,
        # What was unknown at the cutoff stays unknown, even if the row contains it now.
        resolved_at=resolved_at if known and resolved_at is not None else UNRESOLVED,
        side=side_of(side) or 0,
        outcome=outcome if known and outcome is not None else 0,
        pnl=_number(realized_pnl) if known else nan,
        market_return=_market_return(_number(entry_price), _number(exit_price)) if known else nan,
        entry_price=_number(entry_price) if known and _number(entry_price) > 0 else nan,
        features=features,
        feature_names=feature_names,
        unlabelled=unlabelled,
        odd=() if unlabelled and unlabelled != "resolved_after_cutoff" else odd,
    )


def _why_unlabelled(outcome_known: object, resolved_at: int | None, outcome: int | None, cutoff: int) -> str:
    if not boolean_of(outcome_known):
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Contract:
    """Which features are used, in which order."""

    names: tuple[str, ...]
    available: tuple[str, ...]
    """What the newest sample carries; empty when no sample is readable."""
    missing: tuple[str, ...]
    """What was asked for by name and is not available."""
    by_request: bool
    """True if the names were given: rows may then have other features in addition."""

    def admits(self, names: Sequence[str]) -> bool:
        """Whether a row with these names can be used."""
        return set(self.names) <= set(names) if self.by_request else set(self.names) == set(names)


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureColumns:
    """The matrix and why rows have no values in it."""

    contract: Contract
    values_RC: Floats
    """NaN in rows with a reason."""
    reasons: tuple[str, ...]
    """One a row; empty where the row is good."""


def parse_features(
    texts: Sequence[object],
    names_texts: Sequence[object],
    newest_first: Sequence[int],
    requested: tuple[str, ...],
) -> FeatureColumns:
    """Read every text against the contract of the newest usable row."""
    contract = _newest_contract(texts, names_texts, newest_first, tuple(dict.fromkeys(requested)))
    values_RC = np.full((len(texts), len(contract.names)), np.nan)
    reasons = [""] * len(texts)
    for row, (text, names_text) in enumerate(zip(texts, names_texts, strict=True)):
        read = _read_features(text, names_text, contract)
        if isinstance(read, str):
            reasons[row] = read
        else:
            values_RC[row] = read
    return FeatureColumns(contract=contract, values_RC=values_RC, reasons=tuple(reasons))


def _newest_contract(
    texts: Sequence[object],
    names_texts: Sequence[object],
    newest_first: Sequence[int],
    requested: tuple[str, ...],
) -> Contract:
    for row in newest_first:
        document = _read_document(texts[row], names_texts[row])
        if isinstance(document, str):
            continue
        available, values = document
        if requested:
            return Contract(
                names=tuple(name for name in requested if name in available),
                available=available,
                missing=tuple(name for name in requested if name not in available),
                by_request=True,
            )
        if not _unusable(values):
            return Contract(names=available, available=available, missing=(), by_request=False)
    return Contract(names=requested, available=(), missing=(), by_request=bool(requested))


def _read_features(text: object, names_text: object, contract: Contract) -> list[float] | str:
    """Return the row's values in the contract's order, or the reason why it has none."""
    document = _read_document(text, names_text)
    if isinstance(document, str):
        return document
    names, values = document
    if not contract.by_request and (reason := _unusable(values)):
        return reason
    if not contract.admits(names):
        return "other_features"
    by_name = dict(zip(names, values, strict=True))
    picked = [by_name[name] for name in contract.names]
    return _unusable(picked) or picked  # type: ignore[return-value]  # usable values are numbers


def _read_document(text: object, names_text: object) -> tuple[tuple[str, ...], list[object]] | str:
    """Return names and values as the row orders them, or the reason why there are none."""
    encoded = _encoded(text)
    if encoded is None:
        return "features_wrong_form"
    if not encoded.strip():
        return "features_missing"
    if len(encoded) > MAX_TEXT_BYTES:
        return "features_too_long"
    try:
        document = orjson.loads(encoded)
    except orjson.JSONDecodeError:
        return _why_not_json(encoded)
    if not document and document in (None, [], {}):
        return "features_missing"
    if isinstance(document, dict):
        if encoded.count(b":") != len(document) and _repeats_a_name(encoded):
            return "features_repeated_name"
        # Databases that store JSON as such reorder keys; feature_names, where it fits, is the firmer order.
        named = _names(_encoded(names_text), len(document))
        names = named if named and set(named) == set(document) else tuple(document)
        return names, [document[name] for name in names]
    if isinstance(document, list):
        named = _names(_encoded(names_text), len(document))
        return (named, document) if named else "feature_names_unusable"
    return "features_wrong_form"


def _unusable(values: Sequence[object]) -> str:
    """Return why these are not all finite numbers of a sane size; empty when they are."""
    if not set(map(type, values)) <= _NUMBERS:
        return "features_not_numbers"
    # Written so that NaN does not pass.
    if not all(-MAX_MAGNITUDE <= value <= MAX_MAGNITUDE for value in values):  # type: ignore[operator]
        return "features_huge"
    return ""


@lru_cache(maxsize=256)
def _names(encoded: bytes | None, length: int) -> tuple[str, ...] | None:
    """Return the names of an array of this length, f0.. where the row gives none; None if they do not fit."""
    if encoded is None or len(encoded) > MAX_TEXT_BYTES:
        return None
    if encoded.strip() in (b"", b"null"):
        return tuple(f"f{index}" for index in range(length))
    try:
        names = orjson.loads(encoded)
    except orjson.JSONDecodeError:
        return None
    if not isinstance(names, list) or not all(isinstance(name, str) and name for name in names):
        return None
    return tuple(names) if len(set(names)) == length == len(names) else None


def _encoded(value: object) -> bytes | None:
    """Return text as bytes, NULL as none of them, and None for what is not text.

    Lone surrogates become bytes that no reader of UTF-8 accepts.
    """
    if isinstance(value, bytes):
        return value
    if isinstance(value, str):
        return value.encode("utf-8", "surrogatepass")
    return b"" if value is None else None


def _why_not_json(encoded: bytes) -> str:
    try:
        text = encoded.decode()
    except UnicodeDecodeError:
        return "features_not_utf8"
    try:
        json.loads(text)  # Python's reader accepts NaN, Infinity and 1e999; the standard and we do not
    except (ValueError, RecursionError):
        return "features_not_json"
    return "features_not_finite"


def _repeats_a_name(encoded: bytes) -> bool:
    """Whether an object that orjson accepted holds a name twice, at any depth."""
    repeated = False

    def look(pairs: list[tuple[str, object]]) -> None:
        nonlocal repeated
        repeated = repeated or len({name for name, _ in pairs}) != len(pairs)

    json.loads(encoded, object_pairs_hook=look)
    return repeated
