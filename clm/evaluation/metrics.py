"""Figures of one predictor from labels and P(WIN), with numpy only.

`label_N` holds 1 and 0, `p_win_N` probabilities. A figure that the rows do not determine is NaN, never an
exception and never 0: no rows, a single class, or a P(WIN) that is NaN or outside 0..1.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from clm.domain.sample import Bytes8, Floats, Ints
from clm.evaluation.evaluation import ConfidenceStatistics
from clm.evaluation.predictions import actions

CLIP = 1e-12
"""Minimum distance of P(WIN) from 0 and 1 in the log loss.

A certain error then costs 27.6 nats instead of infinity, and still outweighs hundreds of good predictions.
"""

ECE_BINS = 10


def usable(p_win_N: Floats) -> bool:
    """Return whether there is at least one row and every P(WIN) is a probability."""
    return len(p_win_N) > 0 and bool(np.all((p_win_N >= 0.0) & (p_win_N <= 1.0)))


def confusion(label_N: Bytes8, p_win_N: Floats) -> Mapping[str, int]:
    """Return the confusion matrix at P(WIN) >= 0.5; empty if P(WIN) is not usable."""
    if not usable(p_win_N):
        return {}
    predicted, is_win = p_win_N >= 0.5, label_N == 1
    return {
        "true_positive": int(np.sum(predicted & is_win)),
        "false_positive": int(np.sum(predicted & ~is_win)),
        "true_negative": int(np.sum(~predicted & ~is_win)),
        "false_negative": int(np.sum(~predicted & is_win)),
    }


def accuracy(counts: Mapping[str, int]) -> float:
    """Return the share of correct predictions."""
    return _ratio(_count(counts, "true_positive", "true_negative"), sum(counts.values()))


def precision(counts: Mapping[str, int]) -> float:
    """Return the share of WIN among the rows predicted as WIN."""
    return _ratio(_count(counts, "true_positive"), _count(counts, "true_positive", "false_positive"))


def recall(counts: Mapping[str, int]) -> float:
    """Return the share of the WIN rows that were predicted as WIN."""
    return _ratio(_count(counts, "true_positive"), _count(counts, "true_positive", "false_negative"))


def f1(counts: Mapping[str, int]) -> float:
    """Return the harmonic mean of precision and recall; reported, never a criterion."""
    right = 2 * _count(counts, "true_positive")
    return _ratio(right, right + _count(counts, "false_positive", "false_negative"))


def auroc(label_N: Bytes8, p_win_N: Floats) -> float:
    """Return the probability that a WIN row scores above a LOSS row, ties counting half."""
    n_win = int(np.sum(label_N == 1))
    n_loss = len(label_N) - n_win
    if not usable(p_win_N) or n_win == 0 or n_loss == 0:
        return float("nan")
    _, group_N, size_G = np.unique(p_win_N, return_inverse=True, return_counts=True)
    rank_G = np.cumsum(size_G) - (size_G - 1) / 2.0
    rank_sum = float(rank_G[group_N][label_N == 1].sum())
    return (rank_sum - n_win * (n_win + 1) / 2.0) / (n_win * n_loss)


def log_loss_rows(label_N: Bytes8, p_win_N: Floats) -> Floats:
    """Return each row's cross-entropy in nats; NaN if P(WIN) is not a probability."""
    p_N = np.where((p_win_N >= 0.0) & (p_win_N <= 1.0), np.clip(p_win_N, CLIP, 1.0 - CLIP), np.nan)
    loss_N: Floats = -np.log(np.where(label_N == 1, p_N, 1.0 - p_N))
    return loss_N


def log_loss(label_N: Bytes8, p_win_N: Floats) -> float:
    """Return the mean cross-entropy in nats."""
    return _mean(log_loss_rows(label_N, p_win_N))


def base_log_loss(label_N: Bytes8) -> float:
    """Return the log loss of predicting these rows' own share of WIN, in nats."""
    return log_loss(label_N, np.full(len(label_N), label_N.mean() if len(label_N) else np.nan))


def brier(label_N: Bytes8, p_win_N: Floats) -> float:
    """Return the mean squared difference between P(WIN) and the label."""
    return _mean((p_win_N - label_N) ** 2) if usable(p_win_N) else float("nan")


def ece(label_N: Bytes8, p_win_N: Floats, bins: int = ECE_BINS) -> float:
    """Return the expected calibration error over equal-mass bins; equal scores share a bin."""
    if not usable(p_win_N):
        return float("nan")
    return _ece(label_N, p_win_N, _equal_mass_bins(p_win_N, bins))


def ece_by_chance(p_win_N: Floats, *, seed: int, draws: int = 400) -> float:
    """Return the 99 % quantile of the calibration error if every P(WIN) is the true probability.

    With few rows per bin the error is large by chance: about 0.10 on 150 rows. Labels are drawn from P(WIN)
    itself (consistency resampling, Broecker & Smith 2007, Weather and Forecasting 22:3).
    """
    if not usable(p_win_N):
        return float("nan")
    random, bin_N = np.random.default_rng(seed), _equal_mass_bins(p_win_N, ECE_BINS)
    drawn = [_ece(random.random(len(p_win_N)) < p_win_N, p_win_N, bin_N) for _ in range(draws)]
    return float(np.quantile(drawn, 0.99))


def action_shares(p_win_N: Floats) -> Mapping[str, float]:
    """Return the shares of BUY, SELL and HOLD as the engine would read them."""
    if not usable(p_win_N):
        return dict.fromkeys(("BUY", "SELL", "HOLD"), float("nan"))
    action_N = actions(p_win_N)
    return {name: float(np.mean(action_N == code)) for name, code in (("BUY", 1), ("SELL", -1), ("HOLD", 0))}


def confidence_statistics(p_win_N: Floats) -> ConfidenceStatistics:
    """Return the distribution of P(WIN); all NaN if any P(WIN) is not a probability."""
    if not usable(p_win_N):
        nan = float("nan")
        return ConfidenceStatistics(
            mean=nan, std=nan, min=nan, p10=nan, p50=nan, p90=nan, max=nan, p10_p90=nan, unique_values=0
        )
    low, p10, p50, p90, high = (float(q) for q in np.quantile(p_win_N, (0.0, 0.1, 0.5, 0.9, 1.0)))
    return ConfidenceStatistics(
        mean=float(p_win_N.mean()),
        std=float(p_win_N.std()),
        min=low,
        p10=p10,
        p50=p50,
        p90=p90,
        max=high,
        p10_p90=p90 - p10,
        unique_values=len(np.unique(p_win_N)),
    )


def _equal_mass_bins(p_win_N: Floats, bins: int) -> Ints:
    inner = np.quantile(p_win_N, np.linspace(0.0, 1.0, bins + 1)[1:-1])
    return np.searchsorted(inner, p_win_N).astype(np.int64)


def _ece(label_N: NDArray[np.int8 | np.bool_], p_win_N: Floats, bin_N: Ints) -> float:
    excess_B = np.bincount(bin_N, weights=p_win_N - label_N)
    return float(np.abs(excess_B).sum() / len(p_win_N))


def _count(counts: Mapping[str, int], *names: str) -> int:
    return sum(counts.get(name, 0) for name in names)


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else float("nan")


def _mean(values_N: Floats) -> float:
    return float(values_N.mean()) if len(values_N) else float("nan")
