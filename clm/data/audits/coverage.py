"""Audits of how much there is: of samples, of symbols, of the present."""

from datetime import datetime

import numpy as np

from clm.clock import DAY, from_micros, to_micros
from clm.data.dataset import Dataset
from clm.data.findings import AuditPolicy, Finding, Severity


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
        next_step=_how_to_get_more(dataset, policy.min_samples - windows),
    )


def _how_to_get_more(dataset: Dataset, short_of: int) -> str:
    """Return what can help: time does not, where rows that are there cannot be used."""
    table = dataset.table
    unusable = {
        "samples that cannot be read": sum(n for reason, n in table.rejected.items() if reason != "future"),
        "known outcomes that cannot be read": sum(
            n for reason, n in table.unlabelled.items() if reason.startswith("bad_")
        ),
        "samples without their candles": sum(
            n for reason, n in dataset.dropped.items() if reason.startswith("candles_")
        ),
    }
    what, rows = max(unusable.items(), key=lambda item: item[1])
    if rows >= short_of:
        return f"see to the {rows:,} {what}; waiting does not help"
    return "wait for more closed trades, or read further back with CLM_HISTORY_DAYS"


def one_symbol(dataset: Dataset, policy: AuditPolicy, now: datetime) -> Finding | None:
    """A model of one symbol is asked about all of them."""
    table, n_windows = dataset.table, len(dataset.row_N)
    if not n_windows:
        return None
    per_symbol = np.bincount(table.symbol_R[dataset.row_N], minlength=len(table.symbols))
    largest = int(per_symbol.argmax())
    share = float(per_symbol[largest]) / n_windows
    if share <= policy.max_symbol_share:
        return None
    return Finding(
        name="one_symbol",
        severity=Severity.WARN,
        statistic=share,
        threshold=policy.max_symbol_share,
        rows=int(per_symbol[largest]),
        message=f"{share:.0%} of the windows are of {shown(table.symbols[largest])}",
        next_step="find out why the other symbols are missing, or ask this model about that one only",
    )


def uncovered_symbols(dataset: Dataset, policy: AuditPolicy, now: datetime) -> Finding | None:
    """A symbol that is in no window, or that the test part does not hold, is judged by the others."""
    table, n_symbols = dataset.table, len(dataset.table.symbols)
    if not len(dataset.row_N):
        return None
    samples = np.bincount(table.symbol_R, minlength=n_symbols)
    windows = np.bincount(table.symbol_R[dataset.row_N], minlength=n_symbols)
    tested = np.bincount(table.symbol_R[dataset.row_N[dataset.split.test]], minlength=n_symbols)
    without_window, without_test = windows == 0, (windows > 0) & (tested == 0)
    rows = int(samples[without_window | without_test].sum())
    share = rows / len(table)
    if share <= policy.warn_bad_share:
        return None
    listed = [
        f"{', '.join(shown(table.symbols[code]) for code in np.flatnonzero(symbols)[:5])}"
        f"{', ...' if symbols.sum() > 5 else ''} {why}"
        for symbols, why in (
            (without_window, f"never had {dataset.context_length} samples up to a known outcome"),
            (without_test, "is in training and not in the test part"),
        )
        if symbols.any()
    ]
    return Finding(
        name="uncovered_symbols",
        severity=Severity.WARN,
        statistic=share,
        threshold=policy.warn_bad_share,
        rows=rows,
        message=f"{'; '.join(listed)} ({share:.1%} of the samples)",
        next_step="find out why no samples of them are written; no figure of this model holds for them",
    )


def stale_store(dataset: Dataset, policy: AuditPolicy, now: datetime) -> Finding | None:
    """A model of old samples knows an old market."""
    if not len(dataset.table):
        return None
    newest = int(dataset.table.decided_at_R.max())
    age_days = (to_micros(now) - newest) / DAY
    if age_days <= policy.max_staleness_days:
        return None
    starving = starves_at(dataset, policy)
    when = (
        f"; a window of {policy.history_days} days up to now holds fewer than {policy.min_samples:,} of its "
        f"labelled samples from {from_micros(starving):%Y-%m-%d} on"
        if starving is not None
        else ""
    )
    return Finding(
        name="stale_store",
        severity=Severity.WARN,
        statistic=age_days,
        threshold=policy.max_staleness_days,
        rows=len(dataset.table),
        message=f"the newest sample is of {from_micros(newest):%Y-%m-%d %H:%M} UTC, "
        f"{age_days:.0f} days ago{when}",
        next_step="find out why no samples are written any more",
    )


def starves_at(dataset: Dataset, policy: AuditPolicy) -> int | None:
    """Return when, if no sample came any more, fewer than `min_samples` were as young as `history_days`.

    None where the history has no end, or too few are there already.
    """
    if not policy.history_days or len(dataset.row_N) < policy.min_samples:
        return None
    decided_N = np.sort(dataset.table.decided_at_R[dataset.row_N])
    return int(decided_N[-policy.min_samples]) + policy.history_days * DAY


def shown(symbol: str, most_characters: int = 32) -> str:
    """Return a stranger's symbol as it fits into a sentence."""
    printable = "".join(char if char.isprintable() else "?" for char in symbol)
    return printable if len(printable) <= most_characters else f"{printable[: most_characters - 1]}…"
