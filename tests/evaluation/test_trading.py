"""The simulated result of trading the actions."""

import math
from dataclasses import replace

import numpy as np
import pytest

from clm.evaluation.evaluate import evaluate_one
from clm.evaluation.trading import max_drawdown, net_return_rows, trade
from tests.evaluation.builders import POLICY, SYMBOLS, market, rows

FREE = replace(POLICY, fee_bps=0.0, slippage_bps=0.0)


def test_buy_earns_the_market_sell_its_negative_and_hold_nothing() -> None:
    """The side of the recorded trade does not matter, because the action is the model's."""
    test_rows = rows([1, 1, 1], market_return_N=[0.02, 0.02, 0.02])
    net = net_return_rows(test_rows, np.array([0.7, 0.3, 0.5]), FREE)
    assert net.tolist() == [0.02, -0.02, 0.0]


def test_a_trade_pays_fee_and_slippage_on_entry_and_on_exit() -> None:
    """4 + 1 basis points per side are 10 per trade; HOLD costs nothing."""
    test_rows = rows([1, 1], market_return_N=[0.0, 0.0])
    net = net_return_rows(test_rows, np.array([0.7, 0.5]), POLICY)
    assert net == pytest.approx([-0.001, 0.0])


def test_trades_of_unknown_return_are_left_out() -> None:
    """They must count neither as a loss nor as a gain."""
    result = trade(rows([1, 1], market_return_N=[math.nan, 0.03]), np.array([0.9, 0.9]), FREE)
    assert (result.n_trades, result.net_return_total, result.net_return_per_trade) == (1, 0.03, 0.03)


def test_turnover_counts_entry_and_exit_per_day() -> None:
    """Twelve trades over two days buy and sell twelve stakes per day."""
    test_rows = rows([1] * 48, horizon_h=1.0)
    p = np.array([0.9] * 12 + [0.5] * 36)
    assert trade(test_rows, p, POLICY).turnover_per_day == pytest.approx(12.0)


def test_the_result_by_symbol_adds_up_to_the_whole() -> None:
    """It matters which symbols earned the money, not only how much."""
    test_rows, p = market()
    found = evaluate_one("candidate", test_rows, p, POLICY)
    parts = found.trading_by_symbol.values()
    assert set(found.trading_by_symbol) == set(SYMBOLS)
    assert sum(part.n_trades for part in parts) == found.trading.n_trades
    assert sum(part.net_return_total for part in parts) == pytest.approx(found.trading.net_return_total)


def test_a_model_that_never_trades_has_no_return_per_trade() -> None:
    """Its total is zero, and its return per trade is unknown."""
    result = trade(rows([1, 0]), np.array([0.5, 0.5]), POLICY)
    assert (result.n_trades, result.net_return_total, result.max_drawdown) == (0, 0.0, 0.0)
    assert math.isnan(result.net_return_per_trade)


def test_unknown_predictions_have_no_result() -> None:
    """NaN must not be read as HOLD, which never loses."""
    test_rows, p = rows([1, 0]), np.array([0.7, math.nan])
    assert math.isnan(trade(test_rows, p, POLICY).net_return_total)
    assert np.isnan(net_return_rows(test_rows, p, POLICY)).all()


def test_drawdown_is_the_largest_fall_below_a_peak() -> None:
    """+2, -1, -3, +5, -2: the fall from 2 to -2 is 4. The start counts as a peak of 0."""
    assert max_drawdown(np.arange(5), np.array([2.0, -1.0, -3.0, 5.0, -2.0])) == 4.0
    assert max_drawdown(np.arange(2), np.array([-1.0, -1.0])) == 2.0
    assert max_drawdown(np.zeros(0, np.int64), np.zeros(0)) == 0.0


def test_drawdown_follows_the_time_of_closing_not_the_order_of_rows() -> None:
    """Profit is realised when a trade closes, and trades that close together have no order."""
    net = np.array([-1.0, 3.0, -2.0])
    assert max_drawdown(np.array([9, 1, 5]), net) == 3.0
    assert max_drawdown(np.array([1, 1, 1]), net) == 0.0
