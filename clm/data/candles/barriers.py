"""The triple barrier: a trade ends at its take-profit, its stop-loss, or its horizon.

After Lopez de Prado, Advances in Financial Machine Learning (2018), 3.4. N trades.
"""

from dataclasses import dataclass

import numpy as np

from clm.data.candles.series import CandleSeries
from clm.domain.sample import Bytes8, Floats, Ints


@dataclass(frozen=True, slots=True, kw_only=True)
class Barriers:
    """Where a trade ends; shares of the entry price."""

    take_profit: float
    stop_loss: float
    horizon: int
    """Candles after which it ends at the close."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Exits:
    """How trades ended."""

    price_N: Floats
    held_N: Ints
    """Candles until the close of the candle that met the barrier; the end is not known earlier."""


def ends_known(series: CandleSeries, barriers: Barriers) -> Ints:
    """Return the candles at whose close a trade can be opened and followed for the whole horizon.

    Trades whose horizon goes beyond the last candle are left out, even if they met a barrier. Otherwise the
    newest trades would only be the quick ones.
    """
    run_start_T = series.run_start_T
    n_entries = max(0, len(series) - barriers.horizon)
    same_run_T = run_start_T[barriers.horizon :][:n_entries] == run_start_T[:n_entries]
    return np.flatnonzero(same_run_T)


def close_trades(series: CandleSeries, entry_N: Ints, side_N: Bytes8, barriers: Barriers) -> Exits:
    """End trades that were opened at the close of candle `entry_N`, side +1 BUY or -1 SELL.

    Where a candle meets both barriers, the stop comes first, the worse case. A candle that opens
    beyond the stop ends the trade at its opening; one that opens beyond the target gives no more than that.
    """
    bought_N, entry_price_N = side_N > 0, series.close_T[entry_N]
    target_N = entry_price_N * (1 + side_N * barriers.take_profit)
    stop_N = entry_price_N * (1 - side_N * barriers.stop_loss)
    price_N = series.close_T[entry_N + barriers.horizon]
    held_N = np.full(len(entry_N), barriers.horizon, dtype=np.int64)
    running_N = np.ones(len(entry_N), dtype=np.bool_)
    for step in range(1, barriers.horizon + 1):
        open_N, high_N, low_N = (
            column_T[entry_N + step] for column_T in (series.open_T, series.high_T, series.low_T)
        )
        # A candle that opens beyond the target has met it before its low can meet the stop.
        first_N = np.where(bought_N, open_N >= target_N, open_N <= target_N)
        stopped_N = running_N & ~first_N & np.where(bought_N, low_N <= stop_N, high_N >= stop_N)
        reached_N = running_N & ~stopped_N & np.where(bought_N, high_N >= target_N, low_N <= target_N)
        # A stop is a market order: after a jump of the price it fills at the opening, not at the stop.
        worst_N = np.where(bought_N, np.minimum(stop_N, open_N), np.maximum(stop_N, open_N))
        price_N = np.where(stopped_N, worst_N, np.where(reached_N, target_N, price_N))
        held_N = np.where(stopped_N | reached_N, step, held_N)
        running_N &= ~(stopped_N | reached_N)
    return Exits(price_N=price_N, held_N=held_N)
