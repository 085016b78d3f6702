"""Audits of the rows as such: can they be read, do they belong together."""

from collections.abc import Mapping
from datetime import datetime

import numpy as np

from clm.data.audits.coverage import shown
from clm.data.dataset import Dataset
from clm.data.findings import AuditPolicy, Finding, Severity
from clm.domain.sample import SampleTable

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
    return Finding(
        name="bad_rows",
        severity=Severity.BLOCK if block else Severity.WARN,
        statistic=share,
        threshold=policy.max_bad_share if block else policy.warn_bad_share,
        rows=rows,
        message=f"{rows:,} of {table.rows_read:,} samples ({share:.1%}) cannot be used: "
        + counted(broken, table),
        next_step=f"{_cure(broken)}; bad rows are left out, never filled in",
    )


_CURES: Mapping[str, str] = {
    "bad_timestamp": "write times as 2025-12-30 21:14:40 in UTC",
    "bad_exit_time": "write times as 2025-12-30 21:14:40 in UTC",
    "bad_side": "write execution_side as BUY or SELL",
    "bad_outcome_known": "write outcome_known as 1 or 0",
    "bad_target_class": "write target_class as WIN, LOSS or NEUTRAL",
    "bad_id": "give every sample its own whole number as id",
    "bad_symbol": "write symbol as the market's name, such as BTCUSDT",
}


def counted(counts: Mapping[str, int], table: SampleTable) -> str:
    """Return counts by reason, the largest first, each with one value where there is one."""
    ordered = sorted(counts.items(), key=lambda item: -item[1])
    examples = table.examples
    return ", ".join(
        f"{reason} {n:,}" + (f" (such as {examples[reason]})" if examples.get(reason) else "")
        for reason, n in ordered
    )


def _cure(counts: Mapping[str, int]) -> str:
    worst = max(counts, key=lambda reason: counts[reason])
    return _CURES.get(worst, "repair what writes them")


def unusable_outcomes(dataset: Dataset, policy: AuditPolicy, now: datetime) -> Finding | None:
    """An outcome that is marked known and has no exit time or class that can be read: a lost label."""
    lost = {reason: n for reason, n in dataset.table.unlabelled.items() if reason.startswith("bad_")}
    rows = sum(lost.values())
    share = rows / max(1, rows + int(dataset.table.labelled_R.sum()))
    if share <= policy.warn_bad_share:
        return None
    block = share > policy.max_bad_share
    return Finding(
        name="unusable_outcomes",
        severity=Severity.BLOCK if block else Severity.WARN,
        statistic=share,
        threshold=policy.max_bad_share if block else policy.warn_bad_share,
        rows=rows,
        message=f"{rows:,} known outcomes ({share:.1%}) cannot be used: {counted(lost, dataset.table)}",
        next_step=f"{_cure(lost)}; these samples serve as history only",
    )


def unreadable_figures(dataset: Dataset, policy: AuditPolicy, now: datetime) -> Finding | None:
    """Prices and profits with a unit or a thousands separator are unknown, and every figure lacks them."""
    table = dataset.table
    rows, labelled = sum(table.odd_figures.values()), int(table.labelled_R.sum())
    share = rows / labelled if labelled else 0.0
    if share <= policy.warn_bad_share:
        return None
    return Finding(
        name="unreadable_figures",
        severity=Severity.WARN,
        statistic=share,
        threshold=policy.warn_bad_share,
        rows=rows,
        message=f"{rows:,} figures of {labelled:,} labelled samples are not numbers: "
        + counted(table.odd_figures, table),
        next_step="write prices and profits as plain numbers; these are taken as unknown",
    )


def symbol_spellings(dataset: Dataset, policy: AuditPolicy, now: datetime) -> Finding | None:
    """One market under several names: two programs write samples, or one has changed."""
    table = dataset.table
    several = {symbol: names for symbol, names in table.spellings.items() if len(names) > 1}
    files = {report.symbol: report.spellings for report in dataset.candles if report.spellings}
    if not several and not files:
        return None
    codes = [table.symbols.index(symbol) for symbol in several | files if symbol in table.symbols]
    listed = "; ".join(
        f"{symbol} as {' and '.join(map(repr, names))} in the {where}"
        for where, spelled in (("store", several), ("candles", files))
        for symbol, names in spelled.items()
    )
    return Finding(
        name="symbol_spellings",
        severity=Severity.WARN,
        statistic=float(len(several | files)),
        threshold=0.0,
        rows=int(np.isin(table.symbol_R, codes).sum()),
        message=f"one market has several names: {shown(listed, 200)}; each is read as one market",
        next_step="make sure that these names mean the same market, and write one of them",
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
