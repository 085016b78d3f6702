"""Audits of the features: do they exist, fit the engine, and say anything."""

from datetime import datetime

import numpy as np

from clm.data.channels import last_steps
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
    """The architecture takes so many and no more."""
    n_features = len(dataset.feature_names)
    if n_features <= policy.max_features:
        return None
    chosen = not set(dataset.table.available_features) <= set(dataset.feature_names)
    return Finding(
        name="too_many_features",
        severity=Severity.BLOCK,
        statistic=float(n_features),
        threshold=float(policy.max_features),
        rows=len(dataset.table),
        message=f"{'CLM_FEATURES names' if chosen else 'the store has'} {n_features} features, "
        f"the architecture takes {policy.max_features}",
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


def constant_features(dataset: Dataset, policy: AuditPolicy, now: datetime) -> Finding | None:
    """A feature that never changes in training says nothing."""
    train_NC = last_steps(dataset, dataset.split.train)
    if len(train_NC) < 2 or not train_NC.shape[1]:
        return None
    still_C = ~varies(train_NC)
    names = [name for name, still in zip(dataset.feature_names, still_C, strict=True) if still]
    if not names:
        return None
    return Finding(
        name="constant_features",
        severity=Severity.BLOCK if still_C.all() else Severity.WARN,
        statistic=float(still_C.mean()),
        threshold=0.0,
        rows=len(train_NC),
        message=f"{', '.join(names)} {'does' if len(names) == 1 else 'do'} not vary over the training part",
        next_step="repair what computes them, or name the others in CLM_FEATURES",
    )
