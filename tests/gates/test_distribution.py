"""Gates 1 and 2: thresholds, boundary values and reasons."""

import math
from dataclasses import replace

import numpy as np
import pytest

from clm.evaluation.evaluation import Comparison
from clm.gates.distribution import action_diversity, confidence_spread
from clm.gates.verdict import GateStatus
from tests.builders import gate_policy
from tests.evaluation.builders import comparison, rows

PLAIN = comparison(rows([1, 0]), np.array([0.7, 0.3]))


def with_shares(buy: float, sell: float, hold: float) -> Comparison:
    """Return a comparison whose candidate has these action shares."""
    shares = {"BUY": buy, "SELL": sell, "HOLD": hold}
    return replace(PLAIN, candidate=replace(PLAIN.candidate, action_shares=shares))


def with_spread(std: float, p10_p90: float) -> Comparison:
    """Return a comparison whose candidate has this spread of P(WIN)."""
    confidence = replace(PLAIN.candidate.confidence, std=std, p10_p90=p10_p90)
    return replace(PLAIN, candidate=replace(PLAIN.candidate, confidence=confidence))


@pytest.mark.parametrize(
    ("shares", "passes"),
    [
        ((0.40, 0.16, 0.44), True),
        ((0.70, 0.30, 0.00), True),
        ((0.701, 0.299, 0.00), False),
        ((0.00, 0.00, 1.00), False),
        ((0.00, 0.00, 0.00), False),
        ((math.nan, 0.5, 0.5), False),
        ((0.5, 0.5, math.nan), False),
        ((math.nan, math.nan, math.nan), False),
    ],
)
def test_no_action_above_70_percent_and_two_above_10(
    shares: tuple[float, float, float], passes: bool
) -> None:
    """The maximum is inclusive, the minimum is not; NaN in any share fails."""
    verdict = action_diversity(with_shares(*shares), gate_policy())
    assert verdict.status is (GateStatus.PASS if passes else GateStatus.FAIL)


def test_an_action_of_exactly_the_smallest_share_does_not_count() -> None:
    """The share must be strictly above 10 %."""
    policy = replace(gate_policy(), max_action_share=0.95)
    assert action_diversity(with_shares(0.90, 0.10, 0.0), policy).status is GateStatus.FAIL
    assert action_diversity(with_shares(0.89, 0.11, 0.0), policy).status is GateStatus.PASS


def test_the_reason_lists_the_shares() -> None:
    """Operators need to see which action is too frequent."""
    verdict = action_diversity(with_shares(0.8, 0.15, 0.05), gate_policy())
    assert verdict.reason.startswith("BUY 80.0 %, SELL 15.0 %, HOLD 5.0 %; required: no action above 70 %")
    assert (verdict.observed, verdict.threshold) == (0.8, 0.70)


@pytest.mark.parametrize(
    ("std", "p10_p90", "passes"),
    [
        (0.05, 0.12, True),
        (0.0499, 0.5, False),
        (0.5, 0.1199, False),
        (math.nan, 0.5, False),
        (0.5, math.nan, False),
    ],
)
def test_both_spreads_have_to_reach_their_bar(std: float, p10_p90: float, passes: bool) -> None:
    """A few outliers raise the std and a few distinct values the range, so both must be reached."""
    verdict = confidence_spread(with_spread(std, p10_p90), gate_policy())
    assert verdict.status is (GateStatus.PASS if passes else GateStatus.FAIL)


@pytest.mark.parametrize(("std", "p10_p90"), [(0.0001, 0.0003), (0.0199, 0.2), (0.06, 0.0499)])
def test_e9_below_the_hard_floors_the_model_is_called_collapsed(std: float, p10_p90: float) -> None:
    """Operators search for this word."""
    assert "collapsed" in confidence_spread(with_spread(std, p10_p90), gate_policy()).reason


def test_above_the_hard_floors_it_is_only_too_narrow() -> None:
    """A spread that is almost enough is not the same as one answer for every row."""
    reason = confidence_spread(with_spread(0.03, 0.08), gate_policy()).reason
    assert "too narrow" in reason
    assert "collapsed" not in reason


def test_the_figure_that_missed_its_bar_is_the_observed_one() -> None:
    """Observed value and threshold belong together, in the JSON too."""
    verdict = confidence_spread(with_spread(0.06, 0.10), gate_policy())
    assert (verdict.observed, verdict.threshold) == (0.10, 0.12)
