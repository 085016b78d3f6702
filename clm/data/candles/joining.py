"""Do samples and candles speak of the same market at the same time: entry prices held against the candles.

A trade's entry is near the close of the last candle before its decision. Where it is nearer at another time,
one of the two clocks is wrong; where it is near at no time, the candles are those of another market or unit.
"""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from clm.clock import HOUR
from clm.data.candles.series import Candles, CandleSeries
from clm.domain.sample import Floats, Ints, SampleTable

MAX_LAG_H = 14
_STEP = HOUR // 2
"""Time zones are whole or half hours apart."""
_FEWEST = 30
"""Samples of a symbol and month from which a lag can be seen."""
_LOOKED_AT = 300
"""Samples of a symbol and month that are tried at every lag."""
_NEAR = 0.002
"""Share of the price that an entry may be outside of its candle: slippage."""
_NEARER = 0.8
"""How much smaller the typical distance must be at another time."""
_EXACT = 1e-4
"""Typical distance below which no other time is looked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Join:
    """Samples of one symbol and month, and the candles that they are joined to."""

    symbol: str
    month: str
    """`2025-03`, by the time of the decision."""
    samples: int
    """Those with an entry price and with candles at their time."""
    inside: int
    """Those whose entry price is within the running or the last closed candle, up to 0.2 %."""
    lag_s: int
    """Seconds that the samples' clock is ahead of the candles', where another time fits better; else 0."""
    ratio: float
    """Median of the entry price as a multiple of the last close."""


def joins_of(table: SampleTable, candles: Candles) -> tuple[Join, ...]:
    """Return how the entry prices fit, by symbol and month; nothing where no sample has a price."""
    series_of = {series.symbol: series for series in candles.series}
    found: list[Join] = []
    for code, symbol in enumerate(table.symbols):
        series = series_of.get(symbol)
        if series is None or not len(series):
            continue
        priced_R = np.flatnonzero((table.symbol_R == code) & (table.entry_price_R > 0))
        months_N = table.decided_at_R[priced_R].view("datetime64[us]").astype("datetime64[M]")
        bounds = [*np.flatnonzero(np.diff(months_N.astype(np.int64), prepend=-1)).tolist(), len(priced_R)]
        for start, stop in pairwise(bounds):
            rows = priced_R[start:stop]
            join = _join(series, table.decided_at_R[rows], table.entry_price_R[rows], str(months_N[start]))
            found += [join] if join else []
    return tuple(found)


def _join(series: CandleSeries, decided_at_N: Ints, price_N: Floats, month: str) -> Join | None:
    place_N = _last_closed(series, decided_at_N)
    there_N = place_N >= 0
    if not there_N.any():
        return None
    place_N, decided_at_N, price_N = place_N[there_N], decided_at_N[there_N], price_N[there_N]
    inside_N = _is_inside(series, place_N, price_N)
    running_N = np.minimum(place_N + 1, len(series) - 1)
    follows_N = series.opened_at_T[running_N] == series.opened_at_T[place_N] + series.interval
    inside_N |= follows_N & _is_inside(series, running_N, price_N)
    return Join(
        symbol=series.symbol,
        month=month,
        samples=len(place_N),
        inside=int(inside_N.sum()),
        lag_s=_lag_s(series, decided_at_N, price_N),
        ratio=float(np.median(price_N / series.close_T[place_N])),
    )


def _lag_s(series: CandleSeries, decided_at_N: Ints, price_N: Floats) -> int:
    """Return how far the samples' clock is ahead; 0 where no other time is clearly nearer."""
    chosen = np.unique(np.linspace(0, len(price_N) - 1, _LOOKED_AT).astype(np.int64))
    decided_at_N, price_N = decided_at_N[chosen], price_N[chosen]
    here = _distance(series, decided_at_N, price_N)
    if len(chosen) < _FEWEST or here <= _EXACT:
        return 0
    step = max(_STEP, series.interval)
    most = MAX_LAG_H * HOUR // step
    distances = {
        lag: _distance(series, decided_at_N - lag * step, price_N) for lag in range(-most, most + 1) if lag
    }
    lag = min(distances, key=lambda lag: (distances[lag], abs(lag)), default=0)
    return lag * step // 1_000_000 if lag and distances[lag] < _NEARER * here else 0


def _distance(series: CandleSeries, at_N: Ints, price_N: Floats) -> float:
    """Return the median distance of prices from the last close, as a share; infinite where half have none."""
    place_N = _last_closed(series, at_N)
    there_N = place_N >= 0
    if there_N.sum() < max(1, len(at_N) // 2):
        return np.inf
    return float(np.median(np.abs(np.log(price_N[there_N] / series.close_T[place_N[there_N]]))))


def _last_closed(series: CandleSeries, at_N: Ints) -> Ints:
    """Return the last candle that closed at or before each time, -1 where none closed within an interval."""
    place_N = np.searchsorted(series.closed_at_T, at_N, side="right") - 1
    fresh_N = at_N - series.closed_at_T[np.maximum(place_N, 0)] < series.interval
    return np.where((place_N >= 0) & fresh_N, place_N, -1)


def _is_inside(
    series: CandleSeries, place_N: Ints, price_N: Floats
) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    low_N, high_N = series.low_T[place_N], series.high_T[place_N]
    return np.asarray((price_N >= low_N * (1 - _NEAR)) & (price_N <= high_N * (1 + _NEAR)))
