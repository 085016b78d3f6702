"""Gate 6: the candidate against the champion."""

import math
from dataclasses import replace

import numpy as np
import pytest

from clm.evaluation.attempts import AttemptBudget
from clm.evaluation.evaluation import Comparison, Interval
from clm.gates.champion import beats_champion
from clm.gates.decision import DecisionKind, decide
from clm.gates.verdict import GateStatus
from tests.builders import gate_policy
from tests.evaluation.builders import POLICY, comparison, market, with_market_return

ROWS, GOOD = market()
AGAINST_CHAMPION = comparison(ROWS, GOOD, p_champion_N=1 - GOOD)
BAR = replace(gate_policy(), champion_margin=0.01)


def with_difference(value: float, low: float, high: float) -> Comparison:
    """Return a comparison with this paired difference of log loss."""
    difference = Interval(value=value, low=low, high=high, n_blocks=20, confidence=0.95)
    return replace(AGAINST_CHAMPION, log_loss_minus_champion=difference)


@pytest.mark.parametrize(
    ("difference", "status"),
    [
        ((-0.02, -0.03, -0.01), GateStatus.PASS),
        ((0.0, -0.01, 0.01), GateStatus.PASS),
        ((0.0, -0.01, 0.0101), GateStatus.FAIL),
        ((-0.5, math.nan, math.nan), GateStatus.FAIL),
        ((math.nan, -0.1, math.nan), GateStatus.FAIL),
    ],
)
def test_the_upper_end_has_to_stay_within_the_margin(
    difference: tuple[float, float, float], status: GateStatus
) -> None:
    """The candidate must be shown to be at most the margin worse; a wide interval does not pass."""
    assert beats_champion(with_difference(*difference), BAR).status is status


def test_the_reason_of_a_late_attempt_says_what_is_missing() -> None:
    """It gives the difference that would pass on these rows, or the number of rows at this difference."""
    found = replace(with_difference(-0.002, -0.02, 0.016), attempt=AttemptBudget(number=5, alpha=0.05))
    verdict = beats_champion(replace(found, candidate=replace(found.candidate, n=100)), BAR)
    assert verdict.reason.startswith("Attempt 5 since the last promotion: log loss minus champion's")
    assert (
        "-0.0080 with an equally wide interval, or about 126 more test rows at the same value"
        in verdict.would_pass
    )


def test_the_gain_is_what_the_log_loss_fell_by() -> None:
    """A lower log loss is a positive gain."""
    assert beats_champion(with_difference(-0.02, -0.03, -0.01), BAR).gain == 0.02


def test_within_the_margin_but_worse_is_held() -> None:
    """A candidate that is merely not worse does not justify an engine restart."""
    verdict = beats_champion(with_difference(0.002, -0.001, 0.005), BAR)
    assert verdict.status is GateStatus.PASS
    assert decide([verdict]).kind is DecisionKind.KEEP


def test_an_identical_model_differs_by_exactly_nothing_and_is_held() -> None:
    """This holds for every margin, even zero."""
    found = comparison(ROWS, GOOD, p_champion_N=GOOD.copy())
    verdict = beats_champion(found, replace(BAR, champion_margin=0.0))
    assert (verdict.status, verdict.observed, verdict.gain) == (GateStatus.PASS, 0.0, 0.0)
    assert str(verdict.gain) == "0.0"
    assert decide([verdict]).kind is DecisionKind.KEEP


def test_a_better_model_passes_and_its_reverse_fails() -> None:
    """The same two models are compared in both directions."""
    assert beats_champion(AGAINST_CHAMPION, BAR).status is GateStatus.PASS
    assert beats_champion(comparison(ROWS, 1 - GOOD, p_champion_N=GOOD), BAR).status is GateStatus.FAIL


def test_a_champion_that_cannot_answer_is_not_beaten() -> None:
    """NaN makes the difference unknown, and an unknown difference does not pass."""
    verdict = beats_champion(comparison(ROWS, GOOD, p_champion_N=np.full(len(ROWS), math.nan)), BAR)
    assert verdict.status is GateStatus.FAIL
    assert "no interval" in verdict.reason


def test_without_a_champion_the_policy_decides() -> None:
    """DEFER lets the other gates decide, FAIL requires a person; both give the reason."""
    alone = comparison(ROWS, GOOD)
    allowed = beats_champion(alone, BAR)
    refused = beats_champion(alone, replace(BAR, allow_first_champion=False))
    assert (allowed.status, refused.status) == (GateStatus.DEFER, GateStatus.FAIL)
    assert "the environment file names no model" in allowed.reason
    assert "CLM_GATES__ALLOW_FIRST_CHAMPION=true" in refused.would_pass
    assert allowed.gain is None


def signed(candidate: float, champion: float) -> Comparison:
    """Return two models of equal log loss with these net returns; they buy different rows."""
    n = len(ROWS) // 2
    test_rows = replace(ROWS, label_N=np.tile(np.array([1, 1, 0, 0], np.int8), n // 2))
    returns = np.tile([candidate, champion], n) / 100
    first, second = np.tile([0.7, 0.5], n), np.tile([0.5, 0.7], n)
    policy = replace(POLICY, fee_bps=0.0, slippage_bps=0.0)
    return comparison(with_market_return(test_rows, returns), first, p_champion_N=second, policy=policy)


@pytest.mark.parametrize(
    ("candidate", "champion", "status"),
    [
        (-2.0, -1.0, GateStatus.FAIL),
        (-0.5, -1.0, GateStatus.PASS),
        (0.5, -1.0, GateStatus.PASS),
        (1.0, 2.0, GateStatus.FAIL),
        (-1.0, -1.0, GateStatus.PASS),
    ],
)
def test_the_net_return_is_a_difference_and_never_a_ratio(
    candidate: float, champion: float, status: GateStatus
) -> None:
    """Champion -1, candidate -2: the difference is -1, but a ratio would be 2, twice as good."""
    found = signed(candidate, champion)
    assert found.net_return_minus_champion is not None
    assert found.net_return_minus_champion.value == pytest.approx((candidate - champion) / 100)
    assert found.log_loss_minus_champion is not None
    assert found.log_loss_minus_champion.value == pytest.approx(0.0, abs=1e-12)
    verdict = beats_champion(found, BAR)
    assert verdict.status is status
    assert f"net return per trade minus champion's {(candidate - champion) / 100:+.6f}" in verdict.reason
    if status is GateStatus.FAIL:
        assert (verdict.threshold, verdict.observed) == (0.0, found.net_return_minus_champion.high)
        assert "upper bound of the net-return difference of at least 0" in verdict.would_pass


def test_an_unknown_return_of_trades_does_not_pass() -> None:
    """Both models trade, but the interval of the difference is unknown."""
    found = replace(
        AGAINST_CHAMPION,
        net_return_minus_champion=Interval(
            value=0.1, low=math.nan, high=math.nan, n_blocks=2, confidence=0.95
        ),
    )
    assert beats_champion(found, BAR).status is GateStatus.FAIL


def test_a_champion_that_never_trades_can_be_replaced() -> None:
    """It has no return per trade. A collapsed model that only holds must not stay champion for ever."""
    found = comparison(ROWS, GOOD, p_champion_N=np.full(len(ROWS), 0.5))
    assert found.champion is not None
    assert found.champion.trading.n_trades == 0
    verdict = beats_champion(found, BAR)
    assert verdict.status is GateStatus.PASS
    assert "net return" not in verdict.reason


def test_the_reason_gives_the_difference_with_its_interval() -> None:
    """A figure without its uncertainty invites readers to interpret noise."""
    reason = beats_champion(with_difference(0.02, -0.01, 0.05), BAR).reason
    assert reason.startswith("log loss minus champion's +0.0200 (95 % interval -0.0100 to +0.0500), ")
    assert reason.endswith("; required: an upper bound of the log-loss difference of at most +0.01 nats.")
