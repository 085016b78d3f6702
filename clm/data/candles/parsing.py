"""Columns of candle files by market; a value that is not a number is NaN here, and the checks count it."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from clm.data.timestamps import UNREADABLE, parse_each
from clm.data.words import text_of
from clm.domain.markets import market_of
from clm.domain.sample import Floats, Ints

DOUBLE_NOISE = 1e-12
"""Relative differences of prices that are rounding: a few thousand units in the last place of a double."""
SINGLE_NOISE = 5e-7
"""The same for prices that were stored in single precision, as Yahoo's are."""


_LOOKED_AT = 10_000
"""Candles whose digits show the precision of a file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RawCandles:
    """T rows of one file as it has them; nothing is trusted yet."""

    opened_at_T: Ints
    """UNREADABLE where the time cannot be read."""
    prices_TP: Floats
    """In the order of PRICES; NaN where there is no number."""
    market: str
    """What the file's name or its header states; not used where the rows name their markets."""
    written: str = ""
    """That market as the file writes it."""
    code_T: Ints | None = None
    """Places in `names`, if the rows name their markets."""
    names: Sequence[object] = ()
    source: str = ""
    """The file, for messages."""
    written_at: int | None = None
    """When the file was written, if that is known."""
    rejected: Mapping[str, int] = field(default_factory=dict)
    """Rows that could not be split into columns."""
    examples: Mapping[str, str] = field(default_factory=dict)
    """One value for each reason."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CandleColumns:
    """Rows of one market in the order of their file."""

    opened_at_T: Ints
    prices_TP: Floats
    written: str = ""
    """The market as the file writes it."""
    source: str = ""
    written_at: int | None = None
    noise: float = DOUBLE_NOISE
    """Relative difference of two prices that is rounding."""


def by_market(raw: RawCandles) -> tuple[dict[str, list[CandleColumns]], Counter[str]]:
    """Return the rows of each market, one part for each spelling, and the rows of none, counted by reason."""
    rejected = Counter(raw.rejected)
    parts: dict[str, list[CandleColumns]] = {}
    if raw.code_T is None:
        return {raw.market: [_part(raw, slice(None), raw.written)]}, rejected
    for code, name in enumerate(raw.names):
        index_T = np.flatnonzero(raw.code_T == code)
        written = text_of(name)
        if market := market_of(written):
            parts.setdefault(market, []).append(_part(raw, index_T, written))
        else:
            rejected["bad_symbol"] += len(index_T)
    return parts, +rejected


def _part(raw: RawCandles, index_T: Ints | slice, written: str) -> CandleColumns:
    prices_TP = raw.prices_TP[index_T]
    few_TP = prices_TP[:_LOOKED_AT]
    single = bool((few_TP == few_TP.astype(np.float32)).all()) and bool((few_TP % 1 != 0).any())
    return CandleColumns(
        opened_at_T=raw.opened_at_T[index_T],
        prices_TP=prices_TP,
        written=written,
        source=raw.source,
        written_at=raw.written_at,
        noise=SINGLE_NOISE if single else DOUBLE_NOISE,
    )


def moments_of(values: Sequence[object]) -> tuple[Ints, str]:
    """Return the moments of texts and other values, UNREADABLE where one is none, and one that is none."""
    texts = [
        value if isinstance(value, bytes) else str("" if value is None else value).encode()
        for value in values
    ]
    micros_T = parse_each(texts)
    bad_T = np.flatnonzero(micros_T == UNREADABLE)
    return micros_T, text_of(texts[bad_T[0]]) if len(bad_T) else ""


def numbers_of(values: Sequence[object]) -> tuple[Floats, str]:
    """Return values as numbers, NaN where one is none, and one that is none."""
    numbers_T = np.array([_number(value) for value in values], dtype=np.float64)
    bad_T = np.flatnonzero(np.isnan(numbers_T))
    return numbers_T, f"{values[bad_T[0]]!r:.40}" if len(bad_T) else ""


def _number(value: object) -> float:
    # Python reads 1_0 as ten; no price is meant that way.
    if (
        isinstance(value, bool)
        or not isinstance(value, (int, float, str))
        or (isinstance(value, str) and "_" in value)
    ):
        return np.nan
    try:
        return float(value)
    except (ValueError, OverflowError):
        return np.nan
