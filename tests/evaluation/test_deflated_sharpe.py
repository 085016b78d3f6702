"""The deflated Sharpe ratio: the paper's example, an independent implementation, and no trades."""

import math

import numpy as np
import pytest
from purgedcv import deflated_sharpe_ratio_full
from purgedcv._metrics import _expected_max_z

from clm.domain.ledger import PastAttempts
from clm.evaluation.deflated_sharpe import deflated_sharpe, expected_best, probability_above
from tests.evaluation.builders import comparison, market


def test_the_example_of_the_paper() -> None:
    """Bailey & López de Prado 2014: 100 trials, five years of daily returns, annual Sharpe ratio 2.5."""
    benchmark = expected_best(100, 0.5 / 250)
    assert benchmark == pytest.approx(0.1132, abs=5e-5)
    assert probability_above(benchmark, 2.5 / math.sqrt(250), -3.0, 10.0, 1250) == pytest.approx(
        0.9004, abs=5e-5
    )


@pytest.mark.parametrize("n_trials", [1, 2, 10, 1000])
def test_the_best_of_many_agrees_with_an_independent_implementation(n_trials: int) -> None:
    """The expected maximum follows the order statistics of the paper."""
    assert expected_best(n_trials, 1.0) == pytest.approx(_expected_max_z(n_trials), rel=1e-12)


@pytest.mark.parametrize("n_before", [1, 9, 199])
def test_the_figure_agrees_with_an_independent_implementation(n_before: int) -> None:
    """It corrects higher moments for small samples, which changes the fourth digit at 20,000 trades."""
    random = np.random.default_rng(5)
    returns = 0.01 * random.standard_t(6, 20_000) + 0.0003
    past = (0.02 * random.standard_normal(n_before)).tolist()
    ours = deflated_sharpe(returns, past)
    theirs = deflated_sharpe_ratio_full(returns, n_trials=n_before + 1, var_sharpe=ours.trials_variance)
    assert ours.probability == pytest.approx(theirs.dsr, abs=2e-4)
    assert ours.sharpe == pytest.approx(returns.mean() / returns.std(), rel=1e-12)
    assert ours.trials_variance == pytest.approx(np.var([*past, ours.sharpe], ddof=1), rel=1e-9)


def test_each_further_trial_lowers_the_probability_of_the_same_trades() -> None:
    """More trials raise the benchmark."""
    returns = 0.01 * np.random.default_rng(5).standard_normal(2000) + 0.0005
    found = [deflated_sharpe(returns, (0.02, -0.02) * n).probability for n in (1, 10, 100)]
    assert found == sorted(found, reverse=True)
    assert found[0] - found[-1] > 0.1


def test_a_trial_without_trades_counts_and_has_no_ratio() -> None:
    """It was a trial, but its ratio is unknown, not zero."""
    found = deflated_sharpe(np.array([0.01, -0.01, 0.02]), (None, 0.1, None))
    assert found.n_trials == 4
    assert found.trials_variance == pytest.approx(np.var([0.1, found.sharpe], ddof=1))


@pytest.mark.parametrize("returns", [[], [0.1], [0.1, 0.1]])
def test_without_trades_that_differ_the_figures_are_nan(returns: list[float]) -> None:
    """Unknown is not zero."""
    found = deflated_sharpe(np.array(returns), ())
    assert math.isnan(found.sharpe)
    assert math.isnan(found.probability)


def test_the_report_counts_every_candidate_that_was_ever_judged() -> None:
    """Leaving out failed candidates would make the figure look better."""
    test_rows, p = market()
    past = PastAttempts(since_crown=1, sharpes=(0.1, None, -0.1))
    assert comparison(test_rows, p, past=past).deflated_sharpe.n_trials == 4
