"""Audits of the features: do they exist, fit the engine, and say anything."""

from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from clm.data.dataset import Dataset
from clm.data.features import MAX_MAGNITUDE
from clm.data.findings import AuditPolicy, Finding, Severity
from clm.data.scaling import varies


def unknown_features(dataset: Dataset, policy: AuditPolicy, now: datetime) -> Finding | None:
    """A feature asked for by name has to exist; it is never filled with zeros."""
    missing, available = dataset.table.missing_features, dataset.table.available_features
    if not missing:
        return None
    return Finding(
        name="unknown_features",
        severity=Severity.BLOCK,
        statistic=float(len(missing)),
        threshold=0.0,
        rows=dataset.table.rows_read,
        message=f"CLM_FEATURES names {', '.join(missing)}, which the newest sample does not carry; "
        f"it carries {', '.join(available)}",
        next_step="correct CLM_FEATURES",
    )


def too_many_features(dataset: Dataset, policy: AuditPolicy, now: datetime) -> Finding | None:
    """The engine's model has a fixed number of inputs."""
    n_features = len(dataset.table.feature_names)
    if n_features <= policy.max_features:
        return None
    chosen = not set(dataset.table.available_features) <= set(dataset.table.feature_names)
    return Finding(
        name="too_many_features",
        severity=Severity.BLOCK,
        statistic=float(n_features),
        threshold=float(policy.max_features),
        rows=len(dataset.table),
        message=f"{'CLM_FEATURES names' if chosen else 'the store has'} {n_features} features, "
        f"the engine takes {policy.max_features}",
        next_step=f"name {policy.max_features} in CLM_FEATURES",
    )


def features_not_finite(dataset: Dataset, policy: AuditPolicy, now: datetime) -> Finding | None:
    """NaN, infinite or absurd values poison every weight they touch."""
    sane_RC = np.abs(dataset.table.features_RC) <= MAX_MAGNITUDE
    rows = int((~sane_RC.all(axis=1)).sum())
    if not rows:
        return None
    guilty = [
        name for name, sane_R in zip(dataset.table.feature_names, sane_RC.T, strict=True) if not sane_R.all()
    ]
    return Finding(
        name="features_not_finite",
        severity=Severity.BLOCK,
        statistic=float(rows),
        threshold=0.0,
        rows=rows,
        message=f"{', '.join(guilty)} is not a finite number below {MAX_MAGNITUDE:g} in {rows:,} samples",
        next_step="repair what computes the features",
    )


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


def constant_features(dataset: Dataset, policy: AuditPolicy, now: datetime) -> Finding | None:
    """A feature that never changes in training says nothing."""
    train_RC = dataset.table.features_RC[dataset.row_N[dataset.split.train]]
    if len(train_RC) < 2 or not train_RC.shape[1]:
        return None
    still_C = ~varies(train_RC)
    names = [name for name, still in zip(dataset.table.feature_names, still_C, strict=True) if still]
    if not names:
        return None
    return Finding(
        name="constant_features",
        severity=Severity.BLOCK if still_C.all() else Severity.WARN,
        statistic=float(still_C.mean()),
        threshold=0.0,
        rows=len(train_RC),
        message=f"{', '.join(names)} {'does' if len(names) == 1 else 'do'} not vary over the training part",
        next_step="repair what computes them, or name the others in CLM_FEATURES",
    )


def still_windows(dataset: Dataset) -> NDArray[np.bool_]:
    """Return for each (window, feature) whether nothing changes over time, without gathering windows."""
    features_RC = dataset.table.features_RC
    row_R = np.arange(len(features_RC))
    changes_RC = np.zeros(features_RC.shape, dtype=np.bool_)
    changes_RC[1:] = features_RC[1:] != features_RC[:-1]
    last_change_RC = np.maximum.accumulate(np.where(changes_RC, row_R[:, None], 0), axis=0)
    first_step_N = dataset.row_N - dataset.context_length + 1
    return np.asarray(last_change_RC[dataset.row_N] <= first_step_N[:, None])
