"""The most profitable thresholds are exact, and chosen on validation only."""

import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clm.evaluation.predictions import ENGINE, Thresholds
from clm.evaluation.thresholds import NO_TRADE, best_thresholds, study_thresholds
from clm.evaluation.trading import trade
from tests.evaluation.builders import POLICY, market, rows

FREE = replace(POLICY, fee_bps=0.0, slippage_bps=0.0)


def every_pair(p: list[float]) -> list[Thresholds]:
    """Return a threshold between every two neighbouring scores, and one beyond each end."""
    scores = sorted({0.0, 1.0, *p})
    places = [0.0, 1.0, *((low + high) / 2 for low, high in pairwise(scores))]
    return [Thresholds(buy_above=b, sell_below=s) for b in places for s in places if s <= b]


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from([0.0, 0.1, 0.3, 0.5, 0.55, 0.7, 0.9, 1.0]),
            st.one_of(st.floats(-0.05, 0.05), st.just(math.nan)),
        ),
        min_size=1,
        max_size=12,
    )
)
def test_no_pair_of_thresholds_earns_more(trades: list[tuple[float, float]]) -> None:
    """The test tries all pairs, on rows with ties and unknown returns."""
    p, returns = np.array([p for p, _ in trades]), [r for _, r in trades]
    test_rows = rows([1] * len(trades), market_return_N=returns)
    found = trade(test_rows, p, POLICY, best_thresholds(test_rows, p, POLICY))
    best = max(trade(test_rows, p, POLICY, pair).net_return_total for pair in every_pair(p.tolist()))
    assert found.net_return_total == pytest.approx(max(best, 0.0), abs=1e-12)


def test_no_trade_is_best_if_no_trade_is_profitable() -> None:
    """Costs exceed every gain here."""
    test_rows = rows([1] * 4, market_return_N=[0.0005, -0.0005, 0.0, math.nan])
    assert best_thresholds(test_rows, np.array([0.9, 0.1, 0.5, 0.6]), POLICY) == NO_TRADE


@pytest.mark.parametrize("p", [[], [math.nan, 0.5]])
def test_unknown_answers_have_no_thresholds(p: list[float]) -> None:
    """Thresholds cannot be chosen from unknown predictions."""
    assert best_thresholds(rows([1] * len(p)), np.array(p, np.float64), POLICY) == NO_TRADE


def test_the_test_part_does_not_influence_the_choice() -> None:
    """The profit of a threshold on the rows that chose it is biased."""
    validation, p = market()
    test, q = market(seed=1)
    first = study_thresholds(validation, p, test, q, FREE)
    other = study_thresholds(validation, p, replace(test, market_return_N=-test.market_return_N), q, FREE)
    assert first.best == other.best
    assert first.test_best.net_return_total == pytest.approx(-other.test_best.net_return_total)
    assert first.validation_engine == trade(validation, p, FREE, ENGINE)
    assert first.validation_best.net_return_total >= first.validation_engine.net_return_total
    assert first.test_engine == trade(test, q, FREE)
