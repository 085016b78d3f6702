"""A simulated market: hourly candles of several symbols, and the store's eight features of them.

Suffixes: T hours, S symbols. Every feature of an hour is known when that hour's candle closes.
"""

from dataclasses import dataclass

import numpy as np

from clm.domain.sample import Bytes8, Floats

FEATURE_NAMES = (
    "rsi",
    "ma_cross",
    "volatility",
    "returns_1h",
    "macd",
    "momentum",
    "volume_ratio",
    "bb_position",
)
WARM_UP_H = 120
"""Hours that the slowest feature needs before it means something."""

_VOLATILITY = 0.0040
"""Standard deviation of hourly returns in an ordinary hour."""
_TEMPER_HALF_LIFE_H = 20.0
_STANCE_HALF_LIFE_H = 12.0
_LIVELINESS = 0.6
"""How much the logarithm of volatility rises with the temper, at signal 1."""
_FOLLOWING = 0.4
"""Hourly drift towards the traders' stance at temper 1 and signal 1, in units of volatility."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Market:
    """Hourly candles, and the side that traders take; highs and lows are those of a Brownian path."""

    open_TS: Floats
    high_TS: Floats
    low_TS: Floats
    close_TS: Floats
    volume_TS: Floats
    stance_TS: Bytes8
    """+1 they buy, -1 they sell."""


def simulate_market(rng: np.random.Generator, *, hours: int, n_symbols: int, signal: float) -> Market:
    """Draw a market with a hidden temper that persists for a day or so.

    In a lively temper volume and volatility are high and prices follow the traders; in a dull one they go
    against them. At signal 0 returns are independent and alike: the past does not predict the future.
    """
    shape = (hours, n_symbols)
    temper_TS = _persistent(rng.standard_normal(shape), _TEMPER_HALF_LIFE_H)
    leaning_TS = _persistent(rng.standard_normal(shape), _STANCE_HALF_LIFE_H)
    stance_TS = np.where(leaning_TS > 0, 1, -1).astype(np.int8)
    volatility_TS = _VOLATILITY * np.exp(signal * _LIVELINESS * temper_TS)
    # What traders take up at the close of an hour moves the hours after it.
    follow_TS = np.vstack([np.zeros((1, n_symbols)), (stance_TS * temper_TS)[:-1]])
    return_TS = volatility_TS * (signal * _FOLLOWING * follow_TS + rng.standard_normal(shape))

    start_S = 10.0 ** rng.uniform(0, 5, n_symbols)
    close_TS = start_S * np.exp(np.cumsum(return_TS, axis=0))
    open_TS = np.vstack([start_S, close_TS[:-1]])
    activity_TS = np.exp(0.5 * temper_TS + 0.4 * rng.standard_normal(shape))
    return Market(
        open_TS=open_TS,
        high_TS=open_TS * np.exp(_reach(rng, return_TS, volatility_TS)),
        low_TS=open_TS * np.exp(-_reach(rng, -return_TS, volatility_TS)),
        close_TS=close_TS,
        volume_TS=1e7 / start_S * activity_TS,
        stance_TS=stance_TS,
    )


def features_of(market: Market) -> Floats:
    """Return the features as x_TSC in the order of FEATURE_NAMES; the first WARM_UP_H hours are unsettled."""
    close_TS = market.close_TS
    log_TS = np.log(close_TS)
    return_TS = np.diff(log_TS, axis=0, prepend=log_TS[:1])
    mean20_TS, std20_TS = _rolling(close_TS, 20)
    gain_TS = _smoothed(np.maximum(return_TS, 0), 1 / 14)
    loss_TS = _smoothed(np.maximum(-return_TS, 0), 1 / 14)
    past_TS = np.vstack([close_TS[:1].repeat(10, axis=0), close_TS[:-10]])
    by_name = {
        "rsi": 100 * gain_TS / np.maximum(gain_TS + loss_TS, 1e-12),
        "ma_cross": _ema(close_TS, 10) / _ema(close_TS, 50) - 1,
        "volatility": _rolling(return_TS, 24)[1],
        "returns_1h": np.expm1(return_TS),
        "macd": (_ema(close_TS, 12) - _ema(close_TS, 26)) / close_TS,
        "momentum": close_TS / past_TS - 1,
        "volume_ratio": market.volume_TS / _rolling(market.volume_TS, 24)[0],
        "bb_position": (close_TS - mean20_TS) / np.maximum(2 * std20_TS, 1e-12),
    }
    return np.stack([by_name[name] for name in FEATURE_NAMES], axis=2)


def _persistent(noise_TS: Floats, half_life_h: float) -> Floats:
    """Turn white noise into a standard normal process that forgets half within `half_life_h`."""
    keep = 0.5 ** (1 / half_life_h)
    state_TS = noise_TS.copy()
    for hour in range(1, len(state_TS)):
        state_TS[hour] = keep * state_TS[hour - 1] + np.sqrt(1 - keep**2) * noise_TS[hour]
    return state_TS


def _reach(rng: np.random.Generator, end_TS: Floats, volatility_TS: Floats) -> Floats:
    """Draw how far above its start a Brownian path got that ends at `end_TS`."""
    exponential_TS = rng.standard_exponential(end_TS.shape)
    return (end_TS + np.sqrt(end_TS**2 + 2 * volatility_TS**2 * exponential_TS)) / 2


def _smoothed(values_TS: Floats, weight: float) -> Floats:
    """Return the exponential mean that gives each new value `weight`."""
    smooth_TS = values_TS.copy()
    for hour in range(1, len(smooth_TS)):
        smooth_TS[hour] = smooth_TS[hour - 1] + weight * (values_TS[hour] - smooth_TS[hour - 1])
    return smooth_TS


def _ema(values_TS: Floats, span: int) -> Floats:
    return _smoothed(values_TS, 2 / (span + 1))


def _rolling(values_TS: Floats, span: int) -> tuple[Floats, Floats]:
    """Return mean and standard deviation of the last `span` hours; the first hours are repeated backwards."""
    padded_TS = np.vstack([values_TS[:1].repeat(span - 1, axis=0), values_TS])
    windows_TSL = np.lib.stride_tricks.sliding_window_view(padded_TS, span, axis=0)
    return windows_TSL.mean(axis=2), windows_TSL.std(axis=2)
