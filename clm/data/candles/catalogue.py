"""The features of candles, listed in FEATURES.

To add one, write a function in indicators.py, list it here, and describe it in docs/reference/features.md:
tests/data/candles/test_catalogue.py checks every feature.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from math import ceil, log

import numpy as np

from clm.data.candles import indicators
from clm.data.candles.indicators import CandleRun
from clm.data.candles.series import CandleSeries
from clm.domain.sample import Floats
from clm.errors import ConfigError

_FORGOTTEN = 0.01
"""Maximum weight of the initial values in an exponential mean when its first value is returned."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Feature:
    """One number per candle, known at its close and independent of the units of price and volume."""

    name: str
    function: Callable[[CandleRun], Floats]
    warm_up: int
    """Candles of an unbroken run before the first value; until then it is unknown."""
    unit: str
    source: str


def _remembered(span: int, *, weight: float) -> int:
    """Return the warm-up of a mean that starts with `span` values and gives each new one `weight`."""
    return span + ceil(log(_FORGOTTEN) / log(1 - weight))


def _ema(span: int) -> int:
    return _remembered(span, weight=2 / (span + 1))


def _return(horizon: int) -> Feature:
    return Feature(
        name=f"return_{horizon}",
        function=partial(indicators.simple_return, horizon=horizon),
        warm_up=horizon,
        unit="share",
        source="TA-Lib ROCP",
    )


def _macd(name: str, which: int, warm_up: int) -> Feature:
    return Feature(
        name=name,
        function=partial(indicators.macd, which=which),
        warm_up=warm_up,
        unit="share of the price",
        source="TA-Lib MACD",
    )


def _above_ema(span: int) -> Feature:
    return Feature(
        name=f"ema_{span}",
        function=partial(indicators.above_ema, span=span),
        warm_up=_ema(span),
        unit="share",
        source="TA-Lib EMA",
    )


_WILDER = _remembered(14, weight=1 / 14)

FEATURES: tuple[Feature, ...] = (
    _return(1),
    _return(3),
    _return(6),
    _return(12),
    _return(24),
    Feature(
        name="momentum",
        function=partial(indicators.simple_return, horizon=10),
        warm_up=10,
        unit="share",
        source="TA-Lib ROCP",
    ),
    Feature(name="rsi", function=indicators.rsi, warm_up=_WILDER, unit="0 to 100", source="TA-Lib RSI"),
    _macd("macd", 0, _ema(26) + 9),
    _macd("macd_signal", 1, _ema(26) + _ema(9)),
    _macd("macd_histogram", 2, _ema(26) + _ema(9)),
    Feature(
        name="bb_position",
        function=indicators.bollinger_position,
        warm_up=19,
        unit="2 standard deviations",
        source="TA-Lib BBANDS",
    ),
    Feature(
        name="bb_width",
        function=indicators.bollinger_width,
        warm_up=19,
        unit="share of the mean",
        source="TA-Lib BBANDS",
    ),
    Feature(
        name="atr",
        function=indicators.average_true_range,
        warm_up=_WILDER,
        unit="share of the price",
        source="TA-Lib NATR",
    ),
    _above_ema(10),
    _above_ema(20),
    _above_ema(50),
    Feature(
        name="ma_cross", function=indicators.ema_cross, warm_up=_ema(50), unit="share", source="TA-Lib EMA"
    ),
    Feature(name="volatility", function=indicators.volatility, warm_up=24, unit="share", source="numpy"),
    Feature(
        name="volatility_ratio",
        function=indicators.volatility_ratio,
        warm_up=24,
        unit="ratio",
        source="numpy",
    ),
    Feature(name="volume_ratio", function=indicators.volume_ratio, warm_up=23, unit="ratio", source="numpy"),
    Feature(
        name="high_low_range",
        function=indicators.high_low_range,
        warm_up=0,
        unit="share of the price",
        source="the candle",
    ),
    Feature(
        name="close_in_range",
        function=indicators.close_in_range,
        warm_up=0,
        unit="0 to 1",
        source="the candle",
    ),
    Feature(
        name="hour_of_week_sine",
        function=indicators.hour_of_week_sine,
        warm_up=0,
        unit="-1 to 1",
        source="the clock",
    ),
    Feature(
        name="hour_of_week_cosine",
        function=indicators.hour_of_week_cosine,
        warm_up=0,
        unit="-1 to 1",
        source="the clock",
    ),
)

DEFAULT_FEATURES = (
    "rsi",
    "ma_cross",
    "volatility",
    "return_1",
    "macd",
    "momentum",
    "volume_ratio",
    "bb_position",
)
"""As many as the served architecture takes; the ones that the store's samples carry as well."""

FEATURE_NAMES = tuple(feature.name for feature in FEATURES)


def feature(name: str) -> Feature:
    """Return the feature of this name.

    Raises:
        ConfigError: FEATURE_UNKNOWN.
    """
    for candidate in FEATURES:
        if candidate.name == name:
            return candidate
    raise ConfigError(
        "FEATURE_UNKNOWN", f"candles have no feature {name}; they have {', '.join(FEATURE_NAMES)}"
    )


def features_of(series: CandleSeries, features: Sequence[Feature]) -> Floats:
    """Return x_TC, NaN if the unbroken run up to a candle is too short for a feature.

    Indicators restart after a gap.
    """
    # NaN, not 0: an unknown value must not look like a measured one.
    x_TC = np.full((len(series), len(features)), np.nan)
    for span in series.runs():
        run = _run(series, span)
        for column, member in enumerate(features):
            known = slice(span.start + member.warm_up, span.stop)
            if known.start < known.stop:
                x_TC[known, column] = member.function(run)[member.warm_up :]
    return x_TC


def _run(series: CandleSeries, span: slice) -> CandleRun:
    return CandleRun(
        closed_at_T=series.closed_at_T[span],
        high_T=series.high_T[span],
        low_T=series.low_T[span],
        close_T=series.close_T[span],
        volume_T=series.volume_T[span],
    )
