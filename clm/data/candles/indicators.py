"""Indicators of one unbroken run of candles, computed from each candle and earlier ones.

All values are ratios, independent of the units of price and volume. TA-Lib is imported at first use,
because a daemon that trains on the history of samples does not need it.
"""

import importlib
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from clm.clock import DAY
from clm.domain.sample import Floats, Ints
from clm.imports import hidden

_WEEK = 7 * DAY
_CHUNK = 16_384
_MONDAY = 4 * DAY
"""1970-01-05; the axis of time begins on a Thursday."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CandleRun:
    """Candles without a gap."""

    closed_at_T: Ints
    high_T: Floats
    low_T: Floats
    close_T: Floats
    volume_T: Floats


@cache
def talib() -> Any:
    """Return the TA-Lib module, without the pandas and polars that it would load for their users (70 MB)."""
    # Both are imported only to accept their frames, which are never passed.
    with hidden("pandas", "polars"):
        return importlib.import_module("talib")


def simple_return(run: CandleRun, horizon: int) -> Floats:
    """close / close `horizon` candles ago - 1."""
    change_T: Floats = talib().ROCP(run.close_T, timeperiod=horizon)
    return change_T


def rsi(run: CandleRun) -> Floats:
    """Wilder's relative strength index over 14 candles, 0..100; 50 where nothing moved."""
    ta = talib()
    # TA-Lib returns 0 if no price moved, also for negated prices; otherwise the two add up to 100.
    rise_T: Floats = ta.RSI(run.close_T, timeperiod=14)
    fall_T: Floats = ta.RSI(-run.close_T, timeperiod=14)
    return 50 + (rise_T - fall_T) / 2


def macd(run: CandleRun, which: int) -> Floats:
    """0 the line EMA(12) - EMA(26), 1 its signal EMA(9), 2 their difference; over the close."""
    lines = talib().MACD(run.close_T, fastperiod=12, slowperiod=26, signalperiod=9)
    return np.asarray(lines[which] / run.close_T)


def bollinger_position(run: CandleRun) -> Floats:
    """(close - mean) / (2 standard deviations), over 20 candles; 0 where nothing moved."""
    upper_T, middle_T, _ = _bands(run)
    return _ratio(run.close_T - middle_T, upper_T - middle_T, where_nothing=0.0)


def bollinger_width(run: CandleRun) -> Floats:
    """4 standard deviations over the mean, over 20 candles."""
    upper_T, middle_T, lower_T = _bands(run)
    return np.asarray((upper_T - lower_T) / middle_T)


def average_true_range(run: CandleRun) -> Floats:
    """Wilder's average true range over 14 candles, over the close."""
    return np.asarray(talib().NATR(run.high_T, run.low_T, run.close_T, timeperiod=14) / 100)


def above_ema(run: CandleRun, span: int) -> Floats:
    """close / EMA(span) - 1."""
    return np.asarray(run.close_T / talib().EMA(run.close_T, timeperiod=span) - 1)


def ema_cross(run: CandleRun) -> Floats:
    """EMA(10) / EMA(50) - 1."""
    ta = talib()
    return np.asarray(ta.EMA(run.close_T, timeperiod=10) / ta.EMA(run.close_T, timeperiod=50) - 1)


def volatility(run: CandleRun) -> Floats:
    """Standard deviation of the last 24 returns of one candle."""
    return _spread(run, 24)


def volatility_ratio(run: CandleRun) -> Floats:
    """Standard deviation of the last 6 returns over that of the last 24; 1 where nothing moved."""
    return _ratio(_spread(run, 6), _spread(run, 24), where_nothing=1.0)


def volume_ratio(run: CandleRun) -> Floats:
    """volume / mean volume of the last 24 candles, this one included; 1 where nothing was traded."""
    if len(run.volume_T) < 24:
        return np.full(len(run.volume_T), np.nan)
    mean_T = np.full(len(run.volume_T), np.nan)
    mean_T[23:] = sliding_window_view(run.volume_T, 24).mean(axis=1)
    return _ratio(run.volume_T, mean_T, where_nothing=1.0)


def high_low_range(run: CandleRun) -> Floats:
    """(high - low) / close of the candle itself."""
    return (run.high_T - run.low_T) / run.close_T


def close_in_range(run: CandleRun) -> Floats:
    """Position of the close in the candle's range: 0 at the low, 1 at the high, 0.5 without a range."""
    return _ratio(run.close_T - run.low_T, run.high_T - run.low_T, where_nothing=0.5)


def hour_of_week_sine(run: CandleRun) -> Floats:
    """Sine of the close's place in the week, which begins on Monday 00:00 UTC."""
    return np.asarray(np.sin(_week_angle(run)))


def hour_of_week_cosine(run: CandleRun) -> Floats:
    """Cosine of the close's place in the week."""
    return np.asarray(np.cos(_week_angle(run)))


def _bands(run: CandleRun) -> tuple[Floats, Floats, Floats]:
    upper_T, middle_T, lower_T = talib().BBANDS(run.close_T, timeperiod=20, nbdevup=2.0, nbdevdn=2.0)
    return upper_T, middle_T, lower_T


def _spread(run: CandleRun, span: int) -> Floats:
    """Return the standard deviation of the last `span` one-candle returns, NaN if there are fewer."""
    spread_T = np.full(len(run.close_T), np.nan)
    if len(run.close_T) > span:
        return_T = run.close_T[1:] / run.close_T[:-1] - 1
        # Not by TA-Lib: its running sums leave noise of 1e-17 where nothing moved, and a ratio of noise.
        windows_TS = sliding_window_view(return_T, span)
        for start in range(0, len(windows_TS), _CHUNK):  # numpy copies the windows that it takes the mean off
            part = slice(start, min(start + _CHUNK, len(windows_TS)))
            spread_T[span:][part] = windows_TS[part].std(axis=1)
    return spread_T


def _week_angle(run: CandleRun) -> Floats:
    return np.asarray(2 * np.pi * ((run.closed_at_T - _MONDAY) % _WEEK) / _WEEK)


def _ratio(above_T: Floats, below_T: Floats, *, where_nothing: float) -> Floats:
    """Divide; return `where_nothing` if the divisor is 0."""
    ratio_T = np.full(len(above_T), where_nothing)
    # NaN is not 0: what is unknown stays so.
    return np.asarray(np.divide(above_T, below_T, out=ratio_T, where=below_T != 0))
