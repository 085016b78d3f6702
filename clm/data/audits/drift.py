"""Audits of time: do the parts resemble each other, and does the cut leave enough."""

from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from clm.clock import DAY
from clm.data.association import auroc, midranks
from clm.data.channels import last_steps
from clm.data.dataset import Dataset
from clm.data.findings import AuditPolicy, Finding, Severity
from clm.domain.sample import Floats

_STEPS = 12
_RIDGE = 1.0
_PART_LIMIT = 5_000
"""Rows of each part that are looked at."""


def train_test_drift(dataset: Dataset, policy: AuditPolicy, now: datetime) -> Finding | None:
    """If a classifier separates test rows from training rows, their distributions differ."""
    rows = len(dataset.split.test)
    split = dataset.split
    train_NC, test_NC = (last_steps(dataset, part, limit=_PART_LIMIT) for part in (split.train, split.test))
    features_NC = np.vstack([train_NC, test_NC])
    if min(len(train_NC), len(test_NC)) < 2 or not np.isfinite(features_NC).all():
        return None
    in_test_N = np.arange(len(features_NC)) >= len(train_NC)
    statistic = auroc(_tell_apart(features_NC, in_test_N), in_test_N)
    if not statistic > policy.max_drift_auroc:
        return None
    alone_C = [auroc(column_N, in_test_N) for column_N in features_NC.T]
    worst = int(np.abs(np.array(alone_C) - 0.5).argmax())
    return Finding(
        name="train_test_drift",
        severity=Severity.WARN,
        statistic=statistic,
        threshold=policy.max_drift_auroc,
        rows=rows,
        message=f"a classifier tells the test part from the training part (AUROC {statistic:.2f}); "
        f"{dataset.feature_names[worst]} alone gives {max(alone_C[worst], 1 - alone_C[worst]):.2f}",
        next_step="look whether that feature has changed its unit or its meaning, or only ever grows",
    )


def purge_takes_too_much(dataset: Dataset, policy: AuditPolicy, now: datetime) -> Finding | None:
    """Labels that take weeks to be known leave little to train on between the cuts."""
    windows, lost = len(dataset.row_N), dataset.split.purged + dataset.split.embargoed
    share = lost / windows if windows else 0.0
    if share <= policy.max_purged_share:
        return None
    row_N = dataset.row_N
    held_N = (dataset.table.resolved_at_R[row_N] - dataset.table.decided_at_R[row_N]) / DAY
    return Finding(
        name="purge_takes_too_much",
        severity=Severity.WARN,
        statistic=share,
        threshold=policy.max_purged_share,
        rows=lost,
        message=f"{lost:,} of {windows:,} windows ({share:.0%}) fall to purge and embargo: half of the "
        f"outcomes took more than {float(np.median(held_N)):.1f} days to be known",
        next_step="look whether exit_time is right; if trades are that long, read further back",
    )


def _tell_apart(features_NC: Floats, in_test_N: NDArray[np.bool_]) -> Floats:
    """Return the log odds of a logistic regression on ranks and their squares, fitted by Newton's method."""
    n_rows = len(features_NC)
    rank_NC = np.stack([midranks(column_N) for column_N in features_NC.T], axis=1) / n_rows - 0.5
    x_NK = np.hstack([np.ones((n_rows, 1)), rank_NC, rank_NC**2 - 1 / 12])
    # Parts of unequal size would only move the intercept.
    weight_N = np.where(in_test_N, 0.5 / in_test_N.mean(), 0.5 / (1 - in_test_N.mean()))
    beta_K = np.zeros(x_NK.shape[1])
    for _ in range(_STEPS):
        p_N = 1 / (1 + np.exp(-np.clip(x_NK @ beta_K, -30, 30)))
        slope_K = x_NK.T @ (weight_N * (in_test_N - p_N)) - _RIDGE * beta_K
        curvature_KK = x_NK.T @ (x_NK * (weight_N * p_N * (1 - p_N))[:, None]) + _RIDGE * np.eye(len(beta_K))
        beta_K += np.linalg.solve(curvature_KK, slope_K)
    return np.asarray(x_NK @ beta_K, dtype=np.float64)
