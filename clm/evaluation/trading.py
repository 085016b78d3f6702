"""Simulated result of trading the actions, as fractions of the stake, net of costs."""

import numpy as np
from numpy.typing import NDArray

from clm.clock import DAY
from clm.domain.sample import Floats, Ints
from clm.evaluation.evaluation import EvaluationPolicy, TradingResult
from clm.evaluation.metrics import usable
from clm.evaluation.predictions import ENGINE, TestRows, Thresholds, actions

BPS = 1e-4


def cost_per_trade(policy: EvaluationPolicy) -> float:
    """Return the cost of entry and exit together, as a fraction of the stake."""
    return 2.0 * (policy.fee_bps + policy.slippage_bps) * BPS


def net_return_rows(
    rows: TestRows, p_win_N: Floats, policy: EvaluationPolicy, thresholds: Thresholds = ENGINE
) -> Floats:
    """Return each row's net return: BUY earns the market's, SELL its negative, HOLD nothing.

    A trade pays fee and slippage twice, on entry and on exit. NaN if the market return or P(WIN) is unknown.
    """
    if not usable(p_win_N):
        return np.full(len(rows), np.nan)
    action_N = actions(p_win_N, thresholds)
    net_N: Floats = action_N * rows.market_return_N - cost_per_trade(policy) * np.abs(action_N)
    return net_N


def traded_rows(rows: TestRows, p_win_N: Floats, thresholds: Thresholds = ENGINE) -> NDArray[np.bool_]:
    """Return a mask of the trades with a known result; all False if any P(WIN) is unknown."""
    if not usable(p_win_N):
        return np.zeros(len(rows), dtype=np.bool_)
    traded_N: NDArray[np.bool_] = (actions(p_win_N, thresholds) != 0) & np.isfinite(rows.market_return_N)
    return traded_N


def traded_returns(rows: TestRows, p_win_N: Floats, policy: EvaluationPolicy) -> Floats:
    """Return the net return of each trade with a known market return, in the order of the rows."""
    traded_T: Floats = net_return_rows(rows, p_win_N, policy)[traded_rows(rows, p_win_N)]
    return traded_T


def trade(
    rows: TestRows, p_win_N: Floats, policy: EvaluationPolicy, thresholds: Thresholds = ENGINE
) -> TradingResult:
    """Return the result of the trades; rows with an unknown market return are left out."""
    if not usable(p_win_N):
        nan = float("nan")
        return TradingResult(
            n_trades=0,
            net_return_per_trade=nan,
            net_return_total=nan,
            max_drawdown=nan,
            turnover_per_day=nan,
        )
    net_N = net_return_rows(rows, p_win_N, policy, thresholds)
    traded_N = traded_rows(rows, p_win_N, thresholds)
    n_trades = int(traded_N.sum())
    total = float(net_N[traded_N].sum())
    span = int(rows.resolved_at_N.max() - rows.decided_at_N.min())
    return TradingResult(
        n_trades=n_trades,
        net_return_per_trade=total / n_trades if n_trades else float("nan"),
        net_return_total=total,
        max_drawdown=max_drawdown(rows.resolved_at_N[traded_N], net_N[traded_N]),
        turnover_per_day=2.0 * n_trades / (span / DAY) if span > 0 else float("nan"),
    )


def max_drawdown(closed_at_N: Ints, net_N: Floats) -> float:
    """Return the largest fall of the cumulative return below its peak; 0 if it never falls.

    Trades that close at the same time are one step, because their order is arbitrary.
    """
    _, moment_N = np.unique(closed_at_N, return_inverse=True)
    curve = np.concatenate(([0.0], np.cumsum(np.bincount(moment_N, weights=net_N))))
    return float(np.max(np.maximum.accumulate(curve) - curve))
