"""Audits of the values of single features: what one accident in them does to the rest."""

from datetime import datetime
from typing import NamedTuple

import numpy as np

from clm.data.association import spread
from clm.data.channels import columns, last_steps
from clm.data.dataset import Dataset
from clm.data.findings import AuditPolicy, Finding, Severity
from clm.domain.sample import Floats

_MANY_VALUES = 20
"""Distinct values other than 0 from which a feature is a measurement, not a flag."""
_VALUES_COUNTED = 10_000


class _Spike(NamedTuple):
    """The most extreme value of a feature; compared by its reach."""

    reach: float
    """Distance from the median in interquartile ranges."""
    name: str
    value: float
    low: float
    high: float
    times: int
    """Values beyond the bar."""


def spikes(dataset: Dataset, policy: AuditPolicy, now: datetime) -> Finding | None:
    """One absurd value sets the scale of its feature, and flattens all others to nothing."""
    found = [_worst(name, values_M, policy.max_spike) for name, values_M in columns(dataset)]
    worst = max((spike for spike in found if spike is not None), default=None)
    if worst is None or worst.reach <= policy.max_spike:
        return None
    return Finding(
        name="spikes",
        severity=Severity.WARN,
        statistic=worst.reach,
        threshold=policy.max_spike,
        rows=worst.times,
        message=f"{worst.name} reaches {worst.value:.4g}, half of its values lie between {worst.low:.4g} and "
        f"{worst.high:.4g}",
        next_step="repair these samples, or what computes the feature",
    )


def _worst(name: str, values_M: Floats, bar: float) -> _Spike | None:
    finite_M = values_M[np.isfinite(values_M)]
    if not len(finite_M):
        return None
    low, median, high = np.percentile(finite_M[spread(len(finite_M))], [25, 50, 75])
    if not high > low:
        # Where half of the values are alike there is no width to measure in.
        return None
    reach_M = np.abs(finite_M - median) / (high - low)
    furthest = int(reach_M.argmax())
    return _Spike(
        reach=float(reach_M[furthest]),
        name=name,
        value=float(finite_M[furthest]),
        low=float(low),
        high=float(high),
        times=int((reach_M > bar).sum()),
    )


def zero_filled_features(dataset: Dataset, policy: AuditPolicy, now: datetime) -> Finding | None:
    """A measurement that is exactly 0 again and again was missing, and somebody filled it in."""
    share = {name: _zero_share(values_M) for name, values_M in columns(dataset)}
    guilty = {name: zeros for name, zeros in share.items() if zeros > policy.max_zero_share}
    if not guilty:
        return None
    worst = max(guilty.values())
    return Finding(
        name="zero_filled_features",
        severity=Severity.WARN,
        statistic=worst,
        threshold=policy.max_zero_share,
        rows=round(worst * len(dataset.table)),
        message="exactly 0 where other samples carry measurements: "
        + ", ".join(f"{name} ({zeros:.0%})" for name, zeros in guilty.items()),
        next_step="leave a sample out where a feature is missing; 0 is a value",
    )


def _zero_share(values_M: Floats) -> float:
    """Return the share of zeros of a measurement; 0 for a feature that takes a few values only."""
    if not len(values_M):
        return 0.0
    # Spread thin, a flag that changes rarely still shows both of its values.
    few = len(np.unique(values_M[spread(len(values_M), _VALUES_COUNTED)])) <= _MANY_VALUES
    return 0.0 if few else float((values_M == 0).mean())


def features_of_other_scale(dataset: Dataset, policy: AuditPolicy, now: datetime) -> Finding | None:
    """Training scales each feature; other readers may not."""
    train_NC = last_steps(dataset, dataset.split.train)
    if len(train_NC) < 2 or not np.isfinite(train_NC).all():
        return None
    std_C = train_NC.std(axis=0)
    live = np.flatnonzero(std_C > 0)
    if len(live) < 2:
        return None
    largest, smallest = live[std_C[live].argmax()], live[std_C[live].argmin()]
    ratio = float(std_C[largest] / std_C[smallest])
    if ratio <= policy.max_scale_ratio:
        return None
    names = dataset.feature_names
    return Finding(
        name="features_of_other_scale",
        severity=Severity.WARN,
        statistic=ratio,
        threshold=policy.max_scale_ratio,
        rows=len(train_NC),
        message=f"{names[largest]} varies by {std_C[largest]:.3g}, "
        f"{names[smallest]} by {std_C[smallest]:.3g}",
        next_step="store ratios instead of prices and volumes: they mean the same tomorrow",
    )
