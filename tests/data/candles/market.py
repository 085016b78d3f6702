"""Builders of candles."""

from datetime import UTC, datetime

import numpy as np

from clm.clock import HOUR, to_micros
from clm.data.candles.series import CandleReport, Candles, CandleSeries

START = to_micros(datetime(2025, 11, 3, tzinfo=UTC))
"""A Monday."""


def series(
    length: int = 400,
    *,
    symbol: str = "BTCUSDT",
    seed: int = 1,
    interval: int = HOUR,
    missing: tuple[int, ...] = (),
    **columns: np.ndarray,
) -> CandleSeries:
    """A random walk; candles of these numbers are missing, and these columns are given."""
    rng = np.random.default_rng(seed)
    close_T = 100 * np.exp(np.cumsum(0.01 * rng.standard_normal(length)))
    open_T = np.concatenate([[100.0], close_T[:-1]])
    made = {
        "open_T": open_T,
        "high_T": np.maximum(open_T, close_T) * (1 + 0.004 * rng.random(length)),
        "low_T": np.minimum(open_T, close_T) * (1 - 0.004 * rng.random(length)),
        "close_T": close_T,
        "volume_T": 1e3 * np.exp(0.5 * rng.standard_normal(length)),
        **columns,
    }
    keep_T = np.isin(np.arange(length), missing, invert=True)
    return CandleSeries(
        symbol=symbol,
        interval=interval,
        opened_at_T=(START + interval * np.arange(length))[keep_T],
        **{name: column_T[keep_T] for name, column_T in made.items()},
    )


def candles(*several: CandleSeries) -> Candles:
    """These series, nothing wrong with them."""
    reports = tuple(
        CandleReport(
            symbol=one.symbol,
            interval=one.interval,
            rows_read=len(one),
            candles=len(one),
            first_at=int(one.opened_at_T[0]),
            last_at=int(one.opened_at_T[-1]),
        )
        for one in several
    )
    return Candles(series=several, reports=reports, rows_read=sum(map(len, several)))
