"""Audits of the candles that windows are made of: are they sound, are they there."""

from datetime import datetime

from clm.data.dataset import Dataset
from clm.data.findings import AuditPolicy, Finding, Severity

MAX_LOST_SHARE = 0.5
"""Samples without their candles above which the candles are of another market, or of another time."""


def bad_candles(dataset: Dataset, policy: AuditPolicy, now: datetime) -> Finding | None:
    """Candles that cannot be: what writes or fetches them is broken."""
    read = sum(report.rows_read for report in dataset.candles)
    bad = sum(sum(report.rejected.values()) for report in dataset.candles)
    share = bad / read if read else 0.0
    if share <= policy.warn_bad_share:
        return None
    block = share > policy.max_bad_share
    worst = max(dataset.candles, key=lambda report: sum(report.rejected.values()))
    shown = ", ".join(f"{reason} {n:,}" for reason, n in worst.rejected.items())
    return Finding(
        name="bad_candles",
        severity=Severity.BLOCK if block else Severity.WARN,
        statistic=share,
        threshold=policy.max_bad_share if block else policy.warn_bad_share,
        rows=bad,
        message=f"{bad:,} of {read:,} candles ({share:.1%}) cannot be used, most of {worst.symbol}: {shown}",
        next_step="fetch them anew; bad candles are left out, never filled in",
    )


def samples_without_candles(dataset: Dataset, policy: AuditPolicy, now: datetime) -> Finding | None:
    """A sample without the unbroken candles before its decision has no window."""
    lost = {reason: n for reason, n in dataset.dropped.items() if reason.startswith("candles_")}
    rows, labelled = sum(lost.values()), int(dataset.table.labelled_R.sum())
    share = rows / labelled if labelled else 0.0
    if share <= policy.max_bad_share:
        return None
    block = share > MAX_LOST_SHARE
    reach = ", ".join(
        f"{report.symbol} {report.candles:,} candles with {report.gaps:,} gaps"
        for report in dataset.candles[:5]
    )
    return Finding(
        name="samples_without_candles",
        severity=Severity.BLOCK if block else Severity.WARN,
        statistic=share,
        threshold=MAX_LOST_SHARE if block else policy.max_bad_share,
        rows=rows,
        message=f"{rows:,} of {labelled:,} samples ({share:.1%}) have no window: "
        + ", ".join(f"{reason} {n:,}" for reason, n in lost.items())
        + f"; there are {reach or 'no candles'}",
        next_step="fetch candles of these symbols and times into CLM_CANDLES_DIR",
    )
