"""Alpha is spent over all attempts, never overspent and never used up."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clm.domain.ledger import PastAttempts
from clm.evaluation.attempts import AttemptBudget, in_percent, next_attempt
from tests.evaluation.builders import comparison, market


def test_the_first_attempt_is_judged_at_the_configured_confidence() -> None:
    """A single retrain is judged exactly as the setting says."""
    first = next_attempt(PastAttempts(), 0.95)
    assert first.number == 1
    assert first.confidence == pytest.approx(0.95, abs=1e-15)
    assert first.level == pytest.approx(0.025, abs=1e-15)


@given(st.integers(1, 3000), st.sampled_from([0.5, 0.9, 0.95, 0.99]))
def test_the_levels_of_all_attempts_and_what_is_left_add_up_to_alpha(
    attempts: int, confidence: float
) -> None:
    """The union bound holds for any number of attempts."""
    spent = [next_attempt(PastAttempts(since_crown=n), confidence) for n in range(attempts)]
    assert sum(one.level for one in spent) + spent[-1].left == pytest.approx(1 - confidence, rel=1e-9)
    assert spent[-1].left > 0
    assert all(later.level < before.level for before, later in pairwise(spent))


@pytest.mark.parametrize(("number", "text"), [(1, "95"), (2, "98.3"), (37, "99.9929"), (365, "99.999925")])
def test_a_coverage_is_shown_with_its_significant_digits(number: int, text: str) -> None:
    """99.999925 % must not be shown as 100 %."""
    assert in_percent(AttemptBudget(number=number, alpha=0.05).confidence) == text


def test_a_late_attempt_widens_only_the_deciding_intervals() -> None:
    """Intervals that are only reported keep the confidence of the setting."""
    test_rows, p = market()
    early = comparison(test_rows, p, p_champion_N=1 - p)
    late = comparison(
        test_rows, p, p_champion_N=1 - p, past=PastAttempts(since_crown=36, sharpes=(None,) * 36)
    )
    assert late.auroc_interval.low < early.auroc_interval.low
    assert late.log_loss_minus_champion.high > early.log_loss_minus_champion.high
    assert (
        late.auroc_interval.confidence == late.log_loss_minus_champion.confidence == late.attempt.confidence
    )
    assert late.net_return_minus_champion == early.net_return_minus_champion
    assert (late.attempt.number, late.deflated_sharpe.n_trials) == (37, 37)
