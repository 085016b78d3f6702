"""Convert rows of candle files to numbers; other values become NaN, and the checks count them."""

import csv
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from clm.data.timestamps import parse_micros
from clm.domain.sample import Floats, Ints

PRICES = ("open", "high", "low", "close", "volume")
REQUIRED = ("timestamp", *PRICES)
UNREADABLE = np.iinfo(np.int64).min
"""`opened_at` of a row whose timestamp cannot be read."""
_LONGEST_SYMBOL = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class RawCandles:
    """Columns of one file as it gave them; nothing is trusted yet."""

    columns: Mapping[str, Sequence[object]]
    """REQUIRED and, where the file holds several symbols, `symbol`; all of one length."""
    rejected: Mapping[str, int] = field(default_factory=dict)
    """Rows that did not even become columns."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CandleColumns:
    """Rows of one symbol in the order of their file."""

    opened_at_T: Ints
    prices_TP: Floats
    """In the order of PRICES; NaN for a value that is not a number."""
    written_at: int | None = None
    """When the file was written, if known."""


def parse_csv(lines: Iterable[str]) -> RawCandles | tuple[str, ...]:
    """Return the columns of a CSV text with a header, or the names of the columns that it lacks."""
    rows = csv.reader(lines)
    # Spreadsheets write a byte order mark, and exports differ in case.
    header = [name.strip().lower().removeprefix("\ufeff") for name in next(rows, [])]
    if missing := tuple(name for name in REQUIRED if name not in header):
        return missing
    whole: list[list[str]] = []
    ragged = 0
    for row in rows:
        if len(row) == len(header):
            whole.append(row)
        elif row:
            ragged += 1
    columns = dict(zip(header, zip(*whole, strict=True), strict=True)) if whole else {}
    wanted = [name for name in (*REQUIRED, "symbol") if name in header]
    return RawCandles(
        columns={name: columns.get(name, ()) for name in wanted},
        rejected={"wrong_number_of_fields": ragged} if ragged else {},
    )


def by_symbol(
    raw: RawCandles, *, symbol: str, written_at: int | None = None
) -> tuple[dict[str, CandleColumns], Counter[str]]:
    """Return the rows of each symbol, and those that belong to none, counted by reason.

    `symbol` is taken where the file has no column of that name.
    """
    columns, rejected = raw.columns, Counter(raw.rejected)
    opened_at_T = np.array([_micros(value) for value in columns["timestamp"]], dtype=np.int64)
    prices_TP = np.stack([_numbers(columns[name]) for name in PRICES], axis=1)
    if "symbol" not in columns:
        alone = CandleColumns(opened_at_T=opened_at_T, prices_TP=prices_TP, written_at=written_at)
        return {symbol: alone}, rejected
    code_of: dict[str, int] = {}
    code_T = np.array(
        [code_of.setdefault(_symbol(value), len(code_of)) for value in columns["symbol"]], dtype=np.int64
    )
    rejected["bad_symbol"] += int((code_T == code_of.pop("", -1)).sum())
    parts = {}
    for name, code in code_of.items():
        index_T = np.flatnonzero(code_T == code)
        parts[name] = CandleColumns(
            opened_at_T=opened_at_T[index_T], prices_TP=prices_TP[index_T], written_at=written_at
        )
    return parts, +rejected


def _micros(value: object) -> int:
    micros = parse_micros(value)
    return UNREADABLE if micros is None else micros


def _symbol(value: object) -> str:
    """Return a trading pair, empty for what cannot be one."""
    text = value.strip().upper() if isinstance(value, str) else ""
    return text if text.isascii() and text.isprintable() and len(text) <= _LONGEST_SYMBOL else ""


def _numbers(column: Sequence[object]) -> Floats:
    if isinstance(column, np.ndarray):
        return column.astype(np.float64)
    return np.array([_number(value) for value in column], dtype=np.float64)


def _number(value: object) -> float:
    try:
        # Python reads 1_0 as ten; no price is meant that way.
        if isinstance(value, bool) or (isinstance(value, str) and "_" in value):
            return np.nan
        return float(value)  # type: ignore[arg-type]  # what is no number raises
    except (TypeError, ValueError, OverflowError):
        return np.nan
