"""Rolling candles per symbol, and windows of their features computed by the code of training."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from clm.data.candles.catalogue import Feature, features_of
from clm.data.candles.checks import possible
from clm.data.candles.series import CandleSeries
from clm.data.candles.windows import window_ends
from clm.domain.sample import Floats, Ints
from clm.serving.abstention import Abstains, Abstention

KEPT = 1024
"""Minimum number of candles kept per symbol; the buffer holds up to twice as many.

Exponential means depend on all earlier candles. The weight of candles older than these is about the last
digit of a float64.
"""

_KINDS = {
    "candles_missing": (Abstains.STALE, "has no candle that closed within one interval before the decision"),
    "candles_gap": (Abstains.TOO_LITTLE_HISTORY, "lacks candles within the window or the warm-up before it"),
    "candles_too_few": (Abstains.TOO_LITTLE_HISTORY, "has too few candles for a window and its warm-up"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Candle:
    """A closed candle; `opened_at` is in microseconds since 1970 UTC."""

    opened_at: int
    open: float
    high: float
    low: float
    close: float
    volume: float


class CandleBook:
    """The latest candles of each symbol, on one grid. Only one thread may add at a time."""

    def __init__(self, interval: int) -> None:
        self.interval = interval
        self._candles: dict[str, _Candles] = {}

    def add(self, symbol: str, candle: Candle) -> str:
        """Append a closed candle and return "", or the reason why it is rejected.

        The rules are those of `clm.data.candles.checks` for a whole file. If a second candle for the newest
        time has different numbers, both are dropped.
        """
        prices_P = np.array([candle.open, candle.high, candle.low, candle.close, candle.volume])
        # Checks come before the symbol is created, so that bad input cannot grow the book.
        if not np.isfinite(prices_P).all():
            return "bad_number"
        if not possible(prices_P[None])[0]:
            return "impossible_prices"
        candles = self._candles.get(symbol)
        if candles is None:
            candles = self._candles[symbol] = _Candles()
        return candles.add(candle.opened_at, prices_P, self.interval)

    def series(self, symbol: str) -> CandleSeries:
        """Return the current candles of a symbol; later additions do not change the returned series."""
        return (self._candles.get(symbol) or _Candles()).series(symbol, self.interval)


def candle_window(
    series: CandleSeries, now: int, features: Sequence[Feature], context_length: int
) -> Floats | Abstention:
    """Return the raw window x_LC of the latest candles that are closed at `now`, or why there is none."""
    if not len(series):
        return Abstention(kind=Abstains.TOO_LITTLE_HISTORY, reason=f"{series.symbol} has no candles")
    x_TC = features_of(series, features)
    (last,), (why_not,) = window_ends(series, x_TC, np.array([now]), context_length)
    if why_not:
        kind, words = _KINDS[str(why_not)]
        return Abstention(kind=kind, reason=f"{series.symbol} {words}")
    return x_TC[last - context_length + 1 : last + 1]


class _Candles:
    """Candles of one symbol in a buffer twice as large as needed; a full buffer is replaced."""

    def __init__(self) -> None:
        self._room(np.empty(0, dtype=np.int64), np.empty((5, 0)))

    def add(self, opened_at: int, prices_P: Floats, interval: int) -> str:
        if self._count:
            step = opened_at - int(self._opened_at_T[self._count - 1])
            if step == 0:
                return self._again(prices_P)
            if step < 0:
                return "out_of_order"
            if step % interval:
                return "off_grid"
        # Copy once per KEPT candles instead of shifting the arrays with each one.
        if self._count == len(self._opened_at_T):
            self._room(self._opened_at_T[-KEPT:], self._prices_PT[:, -KEPT:])
        self._opened_at_T[self._count] = opened_at
        self._prices_PT[:, self._count] = prices_P
        self._count += 1
        return ""

    def series(self, symbol: str, interval: int) -> CandleSeries:
        opened_at_T, prices_PT = self._opened_at_T[: self._count], self._prices_PT[:, : self._count]
        open_T, high_T, low_T, close_T, volume_T = prices_PT
        return CandleSeries(
            symbol=symbol,
            interval=interval,
            opened_at_T=opened_at_T,
            open_T=open_T,
            high_T=high_T,
            low_T=low_T,
            close_T=close_T,
            volume_T=volume_T,
        )

    def _again(self, prices_P: Floats) -> str:
        if (self._prices_PT[:, self._count - 1] == prices_P).all():
            return "duplicate"
        # There is no way to tell which of the two is right. The gap makes later windows abstain.
        self._room(self._opened_at_T[: self._count - 1], self._prices_PT[:, : self._count - 1])
        return "conflicting_duplicate"

    def _room(self, opened_at_T: Ints, prices_PT: Floats) -> None:
        """Continue in a new buffer with these candles."""
        # A new buffer, because series that were returned earlier are views of the old one.
        self._count = len(opened_at_T)
        self._opened_at_T = np.empty(2 * KEPT, dtype=np.int64)
        self._prices_PT = np.empty((5, 2 * KEPT))
        self._opened_at_T[: self._count] = opened_at_T
        self._prices_PT[:, : self._count] = prices_PT
