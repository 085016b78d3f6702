"""Association of columns by ranks, which do not depend on scale, units or outliers."""

import numpy as np
from numpy.typing import NDArray

from clm.domain.sample import Floats, Ints

ROWS_LOOKED_AT = 100_000
"""Maximum rows for a rank statistic, which is precise enough; more rows are thinned evenly."""


def spread(n_rows: int, limit: int = ROWS_LOOKED_AT) -> Ints:
    """Return at most `limit` row numbers, evenly spread, including the first and the last."""
    if n_rows <= limit:
        return np.arange(n_rows, dtype=np.int64)
    return np.linspace(0, n_rows - 1, limit).astype(np.int64)


def midranks(values_N: Floats) -> Floats:
    """Return ranks from 1; equal values share the mean of theirs."""
    _, place_N, count_U = np.unique(values_N, return_inverse=True, return_counts=True)
    # The mean rank of a group of c equal values that ends at rank r is r - (c - 1) / 2.
    last_U = np.cumsum(count_U)
    ranks_N: Floats = (last_U - (count_U - 1) / 2)[place_N]
    return ranks_N


def auroc(score_N: Floats, positive_N: NDArray[np.bool_]) -> float:
    """Return the probability that a positive scores above a negative; NaN if a class is missing."""
    positives = int(positive_N.sum())
    pairs = positives * (len(positive_N) - positives)
    if not pairs:
        return float("nan")
    # AUROC equals the Mann-Whitney U statistic over the number of pairs; ties count half.
    rank_sum = float(midranks(score_N)[positive_N].sum())
    return (rank_sum - positives * (positives + 1) / 2) / pairs


def rank_correlation(a_N: Floats, b_N: Floats) -> float:
    """Return Spearman's coefficient; 0 if a column does not vary."""
    a_rank_N, b_rank_N = _centred(midranks(a_N)), _centred(midranks(b_N))
    scale = float(np.sqrt((a_rank_N**2).sum() * (b_rank_N**2).sum()))
    return float((a_rank_N * b_rank_N).sum()) / scale if scale > 0 else 0.0


def correlations(features_NC: Floats) -> Floats:
    """Return Pearson's coefficients between columns; 0 for a column that does not vary."""
    centred_NC = features_NC - features_NC.mean(axis=0)
    norm_C = np.sqrt((centred_NC**2).sum(axis=0))
    unit_NC = centred_NC / np.where(norm_C > 0, norm_C, 1.0)
    correlation_CC: Floats = unit_NC.T @ unit_NC
    return correlation_CC


def _centred(values_N: Floats) -> Floats:
    return values_N - values_N.mean() if len(values_N) else values_N
