"""Audits of the rows as such: can they be read, do they belong together."""

from datetime import datetime

from clm.data.dataset import Dataset
from clm.data.findings import AuditPolicy, Finding, Severity

_NOT_BROKEN = ("future", "other_features")
"""Rows that are well-formed and still not for this training; they have audits of their own."""
_BACKWARDS = "exit_not_after_decision"
"""Counted as bad too: a refusal looks at all that cannot be used."""


def label_intervals(dataset: Dataset, policy: AuditPolicy, now: datetime) -> Finding | None:
    """A trade that ended before it was decided: purging relies on these times, and so does every figure."""
    table = dataset.table
    rows = table.rejected.get(_BACKWARDS, 0)
    share = rows / table.rows_read if rows else 0.0
    if share <= policy.warn_bad_share:
        return None
    block = share > policy.max_bad_share
    return Finding(
        name="label_intervals",
        severity=Severity.BLOCK if block else Severity.WARN,
        statistic=share,
        threshold=policy.max_bad_share if block else policy.warn_bad_share,
        rows=rows,
        message=f"{rows:,} of {table.rows_read:,} samples ({share:.1%}) have an exit_time that is not after "
        "their timestamp",
        next_step="repair what writes exit_time, and look whether both columns are in UTC",
    )


def bad_rows(dataset: Dataset, policy: AuditPolicy, now: datetime) -> Finding | None:
    """Rows that cannot be read: a writer of the store is broken."""
    table = dataset.table
    broken = {reason: n for reason, n in table.rejected.items() if reason not in _NOT_BROKEN}
    rows = sum(broken.values())
    share = rows / table.rows_read if table.rows_read else 0.0
    if share <= policy.warn_bad_share:
        return None
    block = share > policy.max_bad_share
    counts = ", ".join(f"{reason} {n:,}" for reason, n in sorted(broken.items(), key=lambda item: -item[1]))
    return Finding(
        name="bad_rows",
        severity=Severity.BLOCK if block else Severity.WARN,
        statistic=share,
        threshold=policy.max_bad_share if block else policy.warn_bad_share,
        rows=rows,
        message=f"{rows:,} of {table.rows_read:,} samples ({share:.1%}) cannot be used: {counts}",
        next_step="repair what writes them; bad rows are left out, never filled in",
    )


def other_features(dataset: Dataset, policy: AuditPolicy, now: datetime) -> Finding | None:
    """Samples with other features than the newest one belong to another time of the store."""
    rows = dataset.table.rejected.get("other_features", 0)
    share = rows / dataset.table.rows_read if rows else 0.0
    if share <= policy.warn_bad_share:
        return None
    return Finding(
        name="other_features",
        severity=Severity.WARN,
        statistic=share,
        threshold=policy.warn_bad_share,
        rows=rows,
        message=f"{rows:,} of {dataset.table.rows_read:,} samples lack the features used "
        f"({', '.join(dataset.table.feature_names)}) or carry others",
        next_step="name features in CLM_FEATURES that old and new samples share, to use both",
    )


def future_rows(dataset: Dataset, policy: AuditPolicy, now: datetime) -> Finding | None:
    """A decision that lies ahead was written by a wrong clock, or in another time zone."""
    rows = dataset.table.rejected.get("future", 0)
    share = rows / dataset.table.rows_read if rows else 0.0
    if share <= policy.warn_bad_share:
        return None
    return Finding(
        name="future_rows",
        severity=Severity.WARN,
        statistic=share,
        threshold=policy.warn_bad_share,
        rows=rows,
        message=f"{rows:,} of {dataset.table.rows_read:,} samples were decided after the cutoff; left out",
        next_step="compare the clocks of this machine and of what writes the samples; the store is in UTC",
    )
