"""The triple barrier."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clm.data.candles.barriers import Barriers, close_trades, ends_known
from tests.data.candles.market import series

BARRIERS = Barriers(take_profit=0.02, stop_loss=0.01, horizon=3)


def ended(side, *following, barriers=BARRIERS):
    """Open a trade at a close of 100 and let these candles (open, high, low, close) follow."""
    rows = np.array([(100.0, 100.0, 100.0, 100.0), *following])
    market = series(len(rows), open_T=rows[:, 0], high_T=rows[:, 1], low_T=rows[:, 2], close_T=rows[:, 3])
    exits = close_trades(market, np.array([0]), np.array([side], dtype=np.int8), barriers)
    return float(exits.price_N[0]), int(exits.held_N[0])


QUIET = (100.0, 100.5, 99.5, 100.2)


@pytest.mark.parametrize(
    ("side", "following", "wanted"),
    [
        (1, [QUIET, (100, 102.5, 99.8, 101), QUIET], (102.0, 2)),
        (1, [QUIET, (100, 100.5, 98.5, 99.9), QUIET], (99.0, 2)),
        (1, [QUIET, QUIET, (100, 100.9, 99.2, 100.7)], (100.7, 3)),
        (-1, [(100, 100.4, 97.5, 98), QUIET, QUIET], (98.0, 1)),
        (-1, [(100, 101.5, 99.0, 100), QUIET, QUIET], (101.0, 1)),
        (-1, [QUIET, QUIET, (100, 100.9, 99.2, 99.3)], (99.3, 3)),
    ],
)
def test_a_trade_ends_at_the_first_barrier_it_meets(side, following, wanted):
    """Target, stop, or the clock; for both sides."""
    assert ended(side, *following) == pytest.approx(wanted)


def test_where_one_candle_meets_both_barriers_the_stop_comes_first():
    """The order within the candle is unknown, so the worse outcome is assumed."""
    assert ended(1, (100, 103, 98, 100), QUIET, QUIET) == pytest.approx((99.0, 1))
    assert ended(-1, (100, 103, 97, 100), QUIET, QUIET) == pytest.approx((101.0, 1))


def test_a_candle_that_opens_beyond_the_stop_ends_the_trade_there():
    """No stop is filled at a price that was not traded."""
    assert ended(1, (97, 98, 96, 97), QUIET, QUIET) == pytest.approx((97.0, 1))
    assert ended(-1, (103, 104, 102, 103), QUIET, QUIET) == pytest.approx((103.0, 1))


def test_a_candle_that_opens_beyond_the_target_gives_the_target():
    """Its low comes after the opening; and more than was asked for is not counted on."""
    assert ended(1, (103, 104, 95, 96), QUIET, QUIET) == pytest.approx((102.0, 1))
    assert ended(-1, (97, 105, 96, 104), QUIET, QUIET) == pytest.approx((98.0, 1))


def test_what_happens_after_the_end_changes_nothing():
    """The first barrier is the last word."""
    assert ended(1, (100, 103, 99.5, 100), (100, 100, 50, 50), (50, 200, 50, 200)) == pytest.approx(
        (102.0, 1)
    )


def test_only_trades_whose_time_is_up_are_known():
    """With the quick ones among the newest, the newest would look too good; and no trade spans a gap."""
    market = series(20, missing=(12,))

    assert ends_known(market, BARRIERS).tolist() == [*range(9), *range(12, 16)]
    assert ends_known(series(3), BARRIERS).tolist() == []


def one_by_one(market, entry, side, barriers):
    """The same, as one would do it by hand."""
    price = market.close_T[entry]
    target, stop = price * (1 + side * barriers.take_profit), price * (1 - side * barriers.stop_loss)
    for step in range(1, barriers.horizon + 1):
        opened, high, low = (c[entry + step] for c in (market.open_T, market.high_T, market.low_T))
        best, worst = (high, low) if side > 0 else (low, high)
        if side * opened >= side * target:
            return target, step
        if side * worst <= side * stop:
            return (min if side > 0 else max)(stop, opened), step
        if side * best >= side * target:
            return target, step
    return market.close_T[entry + barriers.horizon], barriers.horizon


@given(
    seed=st.integers(0, 10_000),
    take_profit=st.floats(0.001, 0.05),
    stop_loss=st.floats(0.001, 0.05),
    horizon=st.integers(1, 12),
)
@settings(max_examples=40, deadline=None)
def test_all_at_once_is_the_same_as_one_by_one(seed, take_profit, stop_loss, horizon):
    """The columns are an abbreviation of the loop, no more."""
    market = series(80, seed=seed)
    barriers = Barriers(take_profit=take_profit, stop_loss=stop_loss, horizon=horizon)
    entry_N = ends_known(market, barriers)
    side_N = np.where(np.random.default_rng(seed).random(len(entry_N)) < 0.5, 1, -1).astype(np.int8)
    exits = close_trades(market, entry_N, side_N, barriers)

    wanted = [one_by_one(market, e, s, barriers) for e, s in zip(entry_N, side_N.tolist(), strict=True)]
    assert exits.held_N.tolist() == [held for _, held in wanted]
    np.testing.assert_allclose(exits.price_N, [price for price, _ in wanted], rtol=1e-12)
