"""What trading the actions would have earned; fractions of the stake, net of costs."""

import numpy as np

from clm.domain.sample import Floats, Ints
from clm.evaluation.evaluation import EvaluationPolicy, TradingResult
from clm.evaluation.metrics import usable
from clm.evaluation.predictions import TestRows, actions

BPS = 1e-4


def net_return_rows(rows: TestRows, p_win_N: Floats, policy: EvaluationPolicy) -> Floats:
    """Return each row's net return: BUY earns the market's, SELL its negative, HOLD nothing.

    A trade pays fee and slippage twice, on entry and on exit. NaN where the market return or P(WIN)
    is unknown.
    """
    if not usable(p_win_N):
        return np.full(len(rows), np.nan)
    action_N = actions(p_win_N)
    cost = 2.0 * (policy.fee_bps + policy.slippage_bps) * BPS
    net_N: Floats = action_N * rows.market_return_N - cost * np.abs(action_N)
    return net_N


def traded_returns(rows: TestRows, p_win_N: Floats, policy: EvaluationPolicy) -> Floats:
    """Return the net return of each trade whose market return is known, in the order of the rows."""
    net_N = net_return_rows(rows, p_win_N, policy)
    traded_T: Floats = net_N[np.isfinite(net_N) & (actions(p_win_N) != 0)]
    return traded_T


def trade(rows: TestRows, p_win_N: Floats, policy: EvaluationPolicy) -> TradingResult:
    """Sum up the trades of known market return; rows of unknown return are left out."""
    if not usable(p_win_N):
        nan = float("nan")
        return TradingResult(n_trades=0, net_return_per_trade=nan, net_return_total=nan, max_drawdown=nan)
    net_N = net_return_rows(rows, p_win_N, policy)
    traded_N = (actions(p_win_N) != 0) & np.isfinite(net_N)
    n_trades = int(traded_N.sum())
    total = float(net_N[traded_N].sum())
    return TradingResult(
        n_trades=n_trades,
        net_return_per_trade=total / n_trades if n_trades else float("nan"),
        net_return_total=total,
        max_drawdown=max_drawdown(rows.resolved_at_N[traded_N], net_N[traded_N]),
    )


def max_drawdown(closed_at_N: Ints, net_N: Floats) -> float:
    """Return the deepest fall of the summed returns below their peak, 0 where they never fall.

    Trades that close at one moment are one step: their order says nothing.
    """
    _, moment_N = np.unique(closed_at_N, return_inverse=True)
    curve = np.concatenate(([0.0], np.cumsum(np.bincount(moment_N, weights=net_N))))
    return float(np.max(np.maximum.accumulate(curve) - curve))
