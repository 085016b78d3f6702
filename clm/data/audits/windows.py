"""Audits of the windows: is there a history in them."""

from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from clm.data.dataset import Dataset
from clm.data.findings import AuditPolicy, Finding, Severity


def constant_windows(dataset: Dataset, policy: AuditPolicy, now: datetime) -> Finding | None:
    """One row repeated over the window is no time series: no temporal variance, nothing to learn from."""
    still_NC = still_windows(dataset)
    share = float(still_NC.mean()) if still_NC.size else 0.0
    if share < policy.warn_constant_windows:
        return None
    block = share >= policy.max_constant_windows
    windows = int(still_NC.all(axis=1).sum())
    return Finding(
        name="constant_windows",
        severity=Severity.BLOCK if block else Severity.WARN,
        statistic=share,
        threshold=policy.max_constant_windows if block else policy.warn_constant_windows,
        rows=windows,
        message=f"{share:.1%} of the (window, feature) pairs do not vary over their {dataset.context_length} "
        f"steps; {windows:,} of {len(still_NC):,} windows repeat one row",
        next_step="store the features as they were at each decision; a repeated row is not a history",
    )


def levels_erased(dataset: Dataset, policy: AuditPolicy, now: datetime) -> Finding | None:
    """What stands still over a window is its mean, which some architectures take out of every window."""
    if not policy.erases_levels:
        return None
    still_C, names = np.ones(len(dataset.feature_names)), np.array(dataset.feature_names)
    still_NC = still_windows(dataset)
    still_C[dataset.windows.stepping_C] = still_NC.mean(axis=0) if len(still_NC) else 0.0
    erased_C = still_C > policy.max_erased_share
    if not erased_C.any():
        return None
    return Finding(
        name="levels_erased",
        severity=Severity.BLOCK,
        statistic=float(still_C.max()),
        threshold=policy.max_erased_share,
        rows=len(still_NC),
        message=f"{', '.join(names[erased_C])} stand still over a window, and the architecture takes each "
        "window's mean out: nothing of them would be left",
        next_step="CLM_ARCHITECTURE=patchtst, which keeps levels, or name other features in CLM_FEATURES",
    )


def still_windows(dataset: Dataset) -> NDArray[np.bool_]:
    """Return for each (window, feature) whether nothing changes over time, without gathering windows.

    Features of the sample itself, repeated with its candles, are not series and not checked.
    """
    windows = dataset.windows
    first_step_N = windows.end_N - dataset.context_length + 1
    row_R = np.arange(len(windows.steps_MC))
    channels = np.flatnonzero(windows.stepping_C)
    still_NC = np.empty((len(windows.end_N), len(channels)), dtype=np.bool_)
    for place, channel in enumerate(channels):  # one at a time: all of them would be as large as the data
        feature_R = windows.steps_MC[:, channel]
        changes_R = np.zeros(len(row_R), dtype=np.bool_)
        changes_R[1:] = feature_R[1:] != feature_R[:-1]
        last_change_R = np.maximum.accumulate(np.where(changes_R, row_R, 0))
        still_NC[:, place] = last_change_R[windows.end_N] <= first_step_N
    return still_NC
