"""Audits of the labels: are there enough, of both kinds, and do they mean what they say."""

from datetime import datetime

import numpy as np

from clm.data.dataset import Dataset
from clm.data.findings import AuditPolicy, Finding, Severity
from clm.domain.sample import Ints


def too_few_samples(dataset: Dataset, policy: AuditPolicy, now: datetime) -> Finding | None:
    """Below some number of windows nothing that is measured means anything."""
    windows, labelled = len(dataset.row_N), int(dataset.table.labelled_R.sum())
    if windows >= policy.min_samples:
        return None
    message = f"{labelled:,} samples with a known outcome, need {policy.min_samples:,}"
    if labelled >= policy.min_samples:
        message = (
            f"{windows:,} samples with a known outcome and {dataset.context_length} samples of their symbol "
            f"up to them, need {policy.min_samples:,}; {labelled:,} have a known outcome"
        )
    return Finding(
        name="too_few_samples",
        severity=Severity.BLOCK,
        statistic=float(windows),
        threshold=float(policy.min_samples),
        rows=labelled,
        message=message,
        next_step="wait for more closed trades, or read further back with CLM_HISTORY_DAYS",
    )


def single_class(dataset: Dataset, policy: AuditPolicy, now: datetime) -> Finding | None:
    """With one class in a part nothing can be learnt, chosen or measured there."""
    split, told, rows = dataset.split, [], 0
    for name, part in (("train", split.train), ("validation", split.validation), ("test", split.test)):
        positive = int(dataset.label_N[part].sum())
        if 0 < positive < len(part):
            continue
        kind = "is empty" if not len(part) else f"holds only label {int(positive > 0)} ({len(part):,} rows)"
        told.append(f"the {name} part {kind}")
        rows += len(part)
    if not told:
        return None
    return Finding(
        name="single_class",
        severity=Severity.BLOCK,
        statistic=float(len(told)),
        threshold=0.0,
        rows=rows,
        message="; ".join(told),
        next_step="look at target_class over time in the store, or read further back with CLM_HISTORY_DAYS",
    )


def outcome_contradicts_pnl(dataset: Dataset, policy: AuditPolicy, now: datetime) -> Finding | None:
    """WIN means that the recorded profit is above zero, LOSS that it is below."""
    table = dataset.table
    wrong_R = ((table.outcome_R == 1) & (table.pnl_R <= 0)) | ((table.outcome_R == -1) & (table.pnl_R >= 0))
    rows, labelled = int(wrong_R.sum()), int(table.labelled_R.sum())
    if not rows:
        return None
    share = rows / labelled
    doubtful = share > policy.max_contradicting_share
    stake = float(np.abs(table.pnl_R[wrong_R]).sum())
    return Finding(
        name="outcome_contradicts_pnl",
        severity=Severity.WARN,
        statistic=share,
        threshold=policy.max_contradicting_share if doubtful else 0.0,
        rows=rows,
        message=f"{rows:,} of {labelled:,} outcomes ({share:.1%}) contradict the recorded profit; "
        f"{stake:,.2f} at stake; samples {_some(table.sample_id_R[wrong_R])}",
        next_step="repair what writes target_class before trusting a figure"
        if doubtful
        else "look at what writes target_class; so few rows do not decide a training",
    )


def unusable_outcomes(dataset: Dataset, policy: AuditPolicy, now: datetime) -> Finding | None:
    """An outcome that is marked known and cannot be placed in time, or is of no known class, is lost."""
    lost = {reason: n for reason, n in dataset.table.unlabelled.items() if reason.startswith("bad_")}
    rows = sum(lost.values())
    share = rows / max(1, rows + int(dataset.table.labelled_R.sum()))
    if share <= policy.warn_bad_share:
        return None
    return Finding(
        name="unusable_outcomes",
        severity=Severity.WARN,
        statistic=share,
        threshold=policy.warn_bad_share,
        rows=rows,
        message=f"{rows:,} known outcomes ({share:.1%}) cannot be used: "
        + ", ".join(f"{reason} {n:,}" for reason, n in lost.items()),
        next_step="repair what writes exit_time and target_class; these samples serve as history only",
    )


def _some(sample_ids: Ints) -> str:
    """Name the first few ids."""
    named = ", ".join(str(sample_id) for sample_id in np.sort(sample_ids)[:5])
    return f"{named}, ..." if len(sample_ids) > 5 else named
