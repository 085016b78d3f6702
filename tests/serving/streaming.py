"""A simulated market of minute candles, streamed candle by candle through the rolling windows.

Used by the tests with a few symbols, and by benchmarks/serving.py with two hundred for a day.
"""

from collections.abc import Sequence

import numpy as np

from clm.clock import MINUTE
from clm.data.candles.catalogue import DEFAULT_FEATURES, Feature, feature, features_of
from clm.data.candles.series import CandleSeries
from clm.data.market import simulate_market
from clm.serving.abstention import Abstention
from clm.serving.candle_book import Candle, CandleBook, candle_window
from tests.data.candles.market import START

CONTEXT_LENGTH = 128
BEFORE = 300
"""Minutes of history before the day begins: the longest warm-up and a window."""


def minutes(n_symbols: int, count: int, *, seed: int = 1) -> tuple[CandleSeries, ...]:
    """Minute candles of a simulated market."""
    market = simulate_market(np.random.default_rng(seed), hours=count, n_symbols=n_symbols, signal=1.0)
    return tuple(
        CandleSeries(
            symbol=f"S{number:03}USDT",
            interval=MINUTE,
            opened_at_T=START + MINUTE * np.arange(count),
            open_T=np.ascontiguousarray(market.open_TS[:, number]),
            high_T=np.ascontiguousarray(market.high_TS[:, number]),
            low_T=np.ascontiguousarray(market.low_TS[:, number]),
            close_T=np.ascontiguousarray(market.close_TS[:, number]),
            volume_T=np.ascontiguousarray(market.volume_TS[:, number]),
        )
        for number in range(n_symbols)
    )


def candle(series: CandleSeries, number: int) -> Candle:
    """One of its candles, as a feed would hand it over."""
    return Candle(
        opened_at=int(series.opened_at_T[number]),
        open=float(series.open_T[number]),
        high=float(series.high_T[number]),
        low=float(series.low_T[number]),
        close=float(series.close_T[number]),
        volume=float(series.volume_T[number]),
    )


def windows_that_differ(
    market: Sequence[CandleSeries],
    features: Sequence[Feature] = tuple(map(feature, DEFAULT_FEATURES)),
    *,
    begin: int = BEFORE,
) -> tuple[int, int]:
    """Stream a market minute by minute; return how many windows were compared, and how many differed.

    A window of the stream is held against that of the features of the whole series, computed at once.
    """
    whole = {series.symbol: features_of(series, features) for series in market}
    book, compared, differ = CandleBook(MINUTE), 0, 0
    for number in range(max(map(len, market))):
        for series in market:
            assert book.add(series.symbol, candle(series, number)) == ""
            if number < begin:
                continue
            now = int(series.closed_at_T[number])
            window = candle_window(book.series(series.symbol), now, features, CONTEXT_LENGTH)
            assert not isinstance(window, Abstention), window.reason
            compared += 1
            wanted = whole[series.symbol][number - CONTEXT_LENGTH + 1 : number + 1]
            differ += not np.array_equal(window, wanted)
    return compared, differ
