"""Deflated Sharpe ratio: is the Sharpe ratio higher than the best of all trials would reach by chance?

Source: Bailey & López de Prado (2014, The Journal of Portfolio Management 40:94). It is the probability that
the true ratio is above the expected best of N trials without skill, with skewness and fat tails taken into
account. Per trade, not annualised. It assumes independent trades, and overlapping trades are not
independent, so it is only reported; no gate uses it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import e, isfinite, sqrt
from statistics import NormalDist, variance

from clm.domain.sample import Floats

EULER_MASCHERONI = 0.5772156649015329


@dataclass(frozen=True, slots=True, kw_only=True)
class DeflatedSharpe:
    """The figure and its components; NaN if trades or trials do not determine it."""

    sharpe: float
    """Mean divided by standard deviation of the net return per trade."""
    skewness: float
    kurtosis: float
    """3 for the normal distribution."""
    n_trades: int
    n_trials: int
    """Number of candidates ever judged, including this one."""
    trials_variance: float
    """Variance of their Sharpe ratios; 0 if there is only one."""
    benchmark: float
    """Expected best Sharpe ratio of this many trials without skill."""
    probability: float
    """Probability that the true ratio is above the benchmark."""


def deflated_sharpe(return_T: Floats, past: Sequence[float | None]) -> DeflatedSharpe:
    """Return the deflated Sharpe ratio of a candidate's trades.

    `past` holds the ratios of the earlier candidates, None for one without enough trades. Such a candidate
    counts as a trial but does not affect the variance.
    """
    n_trades, n_trials = len(return_T), len(past) + 1
    sharpe = skewness = kurtosis = float("nan")
    deviation = float(return_T.std()) if n_trades > 1 else 0.0
    if deviation > 0.0:
        z_T = (return_T - return_T.mean()) / deviation
        sharpe = float(return_T.mean()) / deviation
        skewness, kurtosis = float((z_T**3).mean()), float((z_T**4).mean())
    known = [ratio for ratio in (*past, sharpe) if ratio is not None and isfinite(ratio)]
    spread = variance(known) if len(known) > 1 else 0.0
    benchmark = expected_best(n_trials, spread)
    return DeflatedSharpe(
        sharpe=sharpe,
        skewness=skewness,
        kurtosis=kurtosis,
        n_trades=n_trades,
        n_trials=n_trials,
        trials_variance=spread,
        benchmark=benchmark,
        probability=probability_above(benchmark, sharpe, skewness, kurtosis, n_trades),
    )


def expected_best(n_trials: int, variance_of_trials: float) -> float:
    """Return the expected best Sharpe ratio of `n_trials` with a true ratio of 0."""
    if n_trials < 2:
        return 0.0
    quantile = NormalDist().inv_cdf
    best = (1.0 - EULER_MASCHERONI) * quantile(1.0 - 1.0 / n_trials)
    best += EULER_MASCHERONI * quantile(1.0 - 1.0 / (n_trials * e))
    return sqrt(variance_of_trials) * best


def probability_above(
    benchmark: float, sharpe: float, skewness: float, kurtosis: float, n_trades: int
) -> float:
    """Return the probabilistic Sharpe ratio: the probability that the true ratio is above the benchmark."""
    spread = 1.0 - skewness * sharpe + (kurtosis - 1.0) / 4.0 * sharpe**2
    if not (n_trades > 1 and spread > 0.0):
        return float("nan")
    return NormalDist().cdf((sharpe - benchmark) * sqrt(n_trades - 1.0) / sqrt(spread))
