"""Audits of the labels: are there both kinds, and do they mean what they say."""

from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from clm.data.association import auroc
from clm.data.dataset import Dataset
from clm.data.findings import AuditPolicy, Finding, Severity
from clm.data.labels import contradicting, label
from clm.domain.sample import Bytes8, Ints, SampleTable

_BECOMES_OF_THEM = {"keep": "kept as they are", "drop": "left out", "relabel": "labelled by their profit"}
_IDS_KEPT = 1000
_MIXER = np.uint64(0x9E3779B97F4A7C15)
_NOTHING_KNOWN = 0.5
"""AUROC of a guess."""
_FEWEST_TRADES = 50


def single_class(dataset: Dataset, policy: AuditPolicy, now: datetime) -> Finding | None:
    """With one class in a part nothing can be learnt, chosen or measured there."""
    split, shown, rows = dataset.split, [], 0
    for name, part in (("train", split.train), ("validation", split.validation), ("test", split.test)):
        positive = int(dataset.label_N[part].sum())
        if 0 < positive < len(part):
            continue
        kind = "is empty" if not len(part) else f"holds only label {int(positive > 0)} ({len(part):,} rows)"
        shown.append(f"the {name} part {kind}")
        rows += len(part)
    if not shown:
        return None
    return Finding(
        name="single_class",
        severity=Severity.BLOCK,
        statistic=float(len(shown)),
        threshold=0.0,
        rows=rows,
        message="; ".join(shown),
        next_step="look at target_class over time in the store, or read further back with CLM_HISTORY_DAYS",
    )


def outcome_contradicts_pnl(dataset: Dataset, policy: AuditPolicy, now: datetime) -> Finding | None:
    """WIN means that the recorded profit is above zero, LOSS that it is below."""
    table = dataset.table
    wrong_R = contradicting(table)
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
        f"{stake:,.2f} at stake, {_BECOMES_OF_THEM[dataset.contradictions]}; "
        f"samples {_some(table.sample_id_R[wrong_R])}",
        next_step="repair what writes target_class before trusting a figure"
        if doubtful
        else "look at what writes target_class; so few rows do not decide a training",
        sample_ids=_ids(table.sample_id_R[wrong_R]),
    )


def conflicting_duplicates(dataset: Dataset, policy: AuditPolicy, now: datetime) -> Finding | None:
    """Samples alike in symbol, time and features with different labels: no model can be right about both."""
    table = dataset.table
    labels = label(table, dataset.target, dataset.contradictions)
    row_R = np.flatnonzero(labels.known_R)
    conflict_R = row_R[_disagree(_alike(table, row_R), labels.label_R[row_R])]
    rows = len(conflict_R)
    share = rows / len(row_R) if rows else 0.0
    if share <= policy.max_conflicting_share:
        return None
    one_sided = int(
        _disagree(
            np.stack([_alike(table, conflict_R), table.side_R[conflict_R].astype(np.uint64)], axis=1),
            labels.label_R[conflict_R],
        ).sum()
    )
    return Finding(
        name="conflicting_duplicates",
        severity=Severity.WARN,
        statistic=share,
        threshold=policy.max_conflicting_share,
        rows=rows,
        message=f"{rows:,} of {len(row_R):,} labelled samples ({share:.1%}) share symbol, time and features "
        f"with one of another outcome; {rows - one_sided:,} of them are told apart by the side, "
        f"{one_sided:,} by nothing; samples {_some(table.sample_id_R[conflict_R])}",
        next_step="CLM_TARGET=direction gives both sides of a market one label"
        if 2 * one_sided < rows
        else "find out why a decision is written more than once, with different outcomes",
        sample_ids=_ids(table.sample_id_R[conflict_R]),
    )


def label_ignores_side(dataset: Dataset, policy: AuditPolicy, now: datetime) -> Finding | None:
    """A SELL wins when the market falls; where winning SELLs go with rising prices the side was forgotten."""
    rows, sell = win_against_market(dataset.table)["SELL"]
    if rows < _FEWEST_TRADES or not sell > _NOTHING_KNOWN:
        return None
    return Finding(
        name="label_ignores_side",
        severity=Severity.WARN,
        statistic=sell,
        threshold=_NOTHING_KNOWN,
        rows=rows,
        message=f"SELLs are called WIN where the market rose (AUROC of WIN against its move {sell:.2f} in "
        f"{rows:,} SELLs, near 0 where WIN means that the trade won)",
        next_step="repair what writes target_class, or set CLM_TARGET to what it means",
    )


def class_imbalance(dataset: Dataset, policy: AuditPolicy, now: datetime) -> Finding | None:
    """Where nearly all labels are alike, a model that always says the same looks good."""
    if not len(dataset.label_N):
        return None
    positive = float(dataset.label_N.mean())
    rarer = min(positive, 1 - positive)
    if rarer >= policy.min_class_share or rarer == 0:
        return None
    return Finding(
        name="class_imbalance",
        severity=Severity.WARN,
        statistic=rarer,
        threshold=policy.min_class_share,
        rows=round(rarer * len(dataset.label_N)),
        message=f"label {int(positive < 0.5)} is {rarer:.1%} of the windows",
        next_step="look whether the take-profit and stop that made the labels fit the market",
    )


def win_against_market(table: SampleTable) -> dict[str, tuple[int, float]]:
    """Return by side how many trades there are, and the AUROC of WIN against the market's move.

    1 for BUY and 0 for SELL are sound: WIN means that the trade won. Over both sides it is then near 0.5,
    and an action read from P(WIN) as a direction is a guess.
    """
    known_R = table.labelled_R & np.isfinite(table.market_return_R) & (table.outcome_R != 0)
    by_side = {
        "BUY": known_R & (table.side_R == 1),
        "SELL": known_R & (table.side_R == -1),
        "both": known_R & (table.side_R != 0),
    }
    return {
        side: (int(of_R.sum()), auroc(table.market_return_R[of_R], table.outcome_R[of_R] == 1))
        for side, of_R in by_side.items()
    }


def _alike(table: SampleTable, row_R: Ints) -> NDArray[np.uint64]:
    """Return a number for each row that is the same for rows alike in symbol, time and features."""
    columns = np.column_stack(
        [
            table.symbol_R[row_R].view(np.uint64),
            table.decided_at_R[row_R].view(np.uint64),
            # + 0.0 makes the two zeros one
            np.ascontiguousarray(table.features_RC[row_R] + 0.0, dtype=np.float64).view(np.uint64),
        ]
    )
    mixed_R = np.zeros(len(row_R), dtype=np.uint64)
    for column_R in columns.T:
        mixed_R = (mixed_R ^ column_R) * _MIXER
        mixed_R ^= mixed_R >> np.uint64(29)
    return mixed_R


def _disagree(key_R: NDArray[np.uint64], label_R: Bytes8) -> NDArray[np.bool_]:
    """Return for each row whether one with the same key has another label."""
    _, place_R = np.unique(key_R, axis=0, return_inverse=True)
    n_keys = int(place_R.max()) + 1 if len(place_R) else 0
    total_U = np.bincount(place_R, minlength=n_keys)
    positive_U = np.bincount(place_R, weights=label_R, minlength=n_keys)
    return np.asarray(((positive_U > 0) & (positive_U < total_U))[place_R])


def _ids(sample_ids: Ints) -> tuple[int, ...]:
    return tuple(int(sample_id) for sample_id in np.sort(sample_ids)[:_IDS_KEPT])


def _some(sample_ids: Ints) -> str:
    """Name the first few ids."""
    named = ", ".join(str(sample_id) for sample_id in np.sort(sample_ids)[:5])
    return f"{named}, ..." if len(sample_ids) > 5 else named
