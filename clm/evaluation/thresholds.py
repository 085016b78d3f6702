"""Find the most profitable thresholds; the engine's thresholds do not change.

Legend: N validation rows with a known market return, ordered by P(WIN); J positions between them.
"""

import numpy as np

from clm.domain.sample import Floats
from clm.evaluation.evaluation import EvaluationPolicy, ThresholdStudy
from clm.evaluation.metrics import usable
from clm.evaluation.predictions import TestRows, Thresholds
from clm.evaluation.trading import cost_per_trade, trade

NO_TRADE = Thresholds(buy_above=1.0, sell_below=0.0)


def study_thresholds(
    validation: TestRows, p_validation_N: Floats, test: TestRows, p_test_N: Floats, policy: EvaluationPolicy
) -> ThresholdStudy:
    """Choose thresholds on validation and return their results on both parts."""
    best = best_thresholds(validation, p_validation_N, policy)
    return ThresholdStudy(
        best=best,
        validation_engine=trade(validation, p_validation_N, policy),
        validation_best=trade(validation, p_validation_N, policy, best),
        test_engine=trade(test, p_test_N, policy),
        test_best=trade(test, p_test_N, policy, best),
    )


def best_thresholds(rows: TestRows, p_win_N: Floats, policy: EvaluationPolicy) -> Thresholds:
    """Return the thresholds with the largest net return; NO_TRADE if no trade is profitable.

    The two thresholds are chosen independently. Every trade has a cost, so no row is worth both selling and
    buying, and the thresholds never cross.
    """
    if not usable(p_win_N):
        return NO_TRADE
    known_N = np.isfinite(rows.market_return_N)
    p_N, return_N = p_win_N[known_N], rows.market_return_N[known_N]
    order_N = np.argsort(p_N, kind="stable")
    p_N, return_N = p_N[order_N], return_N[order_N]
    cost, n = cost_per_trade(policy), len(p_N)
    sold_J = np.concatenate(([0.0], np.cumsum(-return_N - cost)))
    bought_J = np.concatenate((np.cumsum((return_N - cost)[::-1])[::-1], [0.0]))
    # A threshold separates two different P(WIN); all rows are sold below 1 and bought above 0.
    between_J = np.concatenate(([True], p_N[1:] > p_N[:-1], [True])) if n else np.array([True])
    can_sell_J, can_buy_J = between_J.copy(), between_J.copy()
    can_sell_J[n] = n == 0 or p_N[-1] < 1.0
    can_buy_J[0] = n == 0 or p_N[0] > 0.0
    # Ties go to fewer trades: the first position for selling, the last for buying.
    i = int(np.argmax(np.where(can_sell_J, sold_J, -np.inf)))
    j = max(i, n - int(np.argmax(np.where(can_buy_J, bought_J, -np.inf)[::-1])))
    return Thresholds(
        buy_above=1.0 if j == n else float(p_N[j - 1]) if j else 0.0,
        sell_below=0.0 if i == 0 else float(p_N[i]) if i < n else 1.0,
    )
