"""Candles of one symbol as columns, oldest first.

Suffix T: candles of a series. Times are int64 microseconds since 1970 UTC; a candle's timestamp is its
opening, and it is unknown before its close.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

from clm.domain.sample import Floats, Ints


@dataclass(frozen=True, slots=True, kw_only=True)
class CandleSeries:
    """Candles on one grid of time, each later than the one before; some may be missing between."""

    symbol: str
    interval: int
    """Microseconds from one opening to the next."""
    opened_at_T: Ints
    open_T: Floats
    high_T: Floats
    low_T: Floats
    close_T: Floats
    volume_T: Floats
    jump_M: Ints = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    """Candles that begin a new run although none is missing: the price jumped as no market does."""

    @property
    def closed_at_T(self) -> Ints:
        """When each candle was known."""
        closed_at_T: Ints = self.opened_at_T + self.interval
        return closed_at_T

    @property
    def run_start_T(self) -> Ints:
        """For each candle the index of the first one of its unbroken run."""
        index_T = np.arange(len(self), dtype=np.int64)
        begins_T = np.diff(self.opened_at_T, prepend=np.iinfo(np.int64).min // 2) != self.interval
        begins_T[self.jump_M] = True
        return np.maximum.accumulate(np.where(begins_T, index_T, 0))

    def runs(self) -> Iterator[slice]:
        """Yield the unbroken runs."""
        edges = [*np.unique(self.run_start_T).tolist(), len(self)]
        return (slice(start, stop) for start, stop in pairwise(edges))

    def __len__(self) -> int:
        return len(self.opened_at_T)


@dataclass(frozen=True, slots=True, kw_only=True)
class CandleReport:
    """What was found in the candles of one symbol."""

    symbol: str
    interval: int
    """Microseconds; 0 where fewer than two candles show none."""
    rows_read: int
    candles: int
    first_at: int
    last_at: int
    """Openings of the first and the last candle; 0 where there is none."""
    rejected: Mapping[str, int] = field(default_factory=dict)
    """Candles that cannot be used, by reason."""
    duplicates: int = 0
    """Candles that were there more than once with the same numbers; one each is used."""
    out_of_order: int = 0
    """Candles that stood after a later one; they are sorted."""
    gaps: int = 0
    missing: int = 0
    """Candles that the gaps lack."""
    not_trading: int = 0
    """Candles without volume and without a move in long rows: the market did not trade; they are left out."""
    rounded: int = 0
    """Candles whose high or low missed the other prices by rounding; they are read as meant."""
    closing_times: int = 0
    """Candles that were marked with their closing time, one unit before the next opening."""
    jumps: int = 0
    """Openings that are far from the close before: another unit, or a split."""
    first_jump: str = ""
    """The first of them, as it is shown in a message."""
    coarse_share: float = 0.0
    """Share of candles that do not move because prices have too few digits; 0 where they have enough."""
    spellings: tuple[str, ...] = ()
    """The market's names in the files, where there are several."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Candles:
    """What a directory of candles holds."""

    series: tuple[CandleSeries, ...]
    """Sorted by symbol; all of one interval."""
    reports: tuple[CandleReport, ...]
    """One a symbol, those without a usable candle included."""
    rows_read: int
    rejected: Mapping[str, int] = field(default_factory=dict)
    """Over all symbols, rows that could not be given to one included."""
    examples: Mapping[str, str] = field(default_factory=dict)
    """One value for each reason why rows were rejected."""
    passed_over: Mapping[str, int] = field(default_factory=dict)
    """Files that are not candles, by ending."""
