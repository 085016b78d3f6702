"""Audits of leaks: does a feature know what was not known when the decision was made."""

import re
from datetime import datetime
from itertools import pairwise

import numpy as np

from clm.data.association import auroc, rank_correlation, spread
from clm.data.channels import last_steps
from clm.data.dataset import Dataset
from clm.data.findings import AuditPolicy, Finding, Severity
from clm.domain.sample import Floats, Ints

_OUTCOMES = re.compile(
    r"(target(_label|_class)?|label|outcome(_known)?|(realized_|realised_)?(pnl|profit)(_pct|_percent)?"
    r"|(is_)?win|won|exit_(price|time|reason|return)|hold_duration(_seconds)?"
    r"|(future|forward|fwd|next)_(return|price|close|high|low|pnl|label|class)(_.*)?)"
)
"""Names that only the time after a decision can fill."""
_FEWEST = 100
"""Pairs below which a correlation is an accident."""
_PAIRS_LOOKED_AT = 20_000
_OF_A_LATER_ONE = 0.5
"""Share of the skill of a sample taken after the outcome that an honest one does not reach."""


def outcome_among_features(dataset: Dataset, policy: AuditPolicy, now: datetime) -> Finding | None:
    """A column of the outcome given as a feature: perfect in the test, empty when it is served."""
    names = [name for name in dataset.feature_names if _OUTCOMES.fullmatch(_normal(name))]
    if not names:
        return None
    return Finding(
        name="outcome_among_features",
        severity=Severity.BLOCK,
        statistic=float(len(names)),
        threshold=0.0,
        rows=len(dataset.table),
        message=f"{', '.join(names)} among the features: by its name that is known only after the decision",
        next_step="name the features that are known at the decision in CLM_FEATURES",
    )


def feature_knows_outcome(dataset: Dataset, policy: AuditPolicy, now: datetime) -> Finding | None:
    """No honest feature separates WIN from LOSS nearly always."""
    chosen = spread(len(dataset.row_N))
    features_NC, won_N = last_steps(dataset, chosen), dataset.label_N[chosen] == 1
    if len(won_N) < _FEWEST or not np.isfinite(features_NC).all():
        return None
    alone_C = np.array([auroc(column_N, won_N) for column_N in features_NC.T])
    strength_C = np.maximum(alone_C, 1 - alone_C)
    guilty = np.flatnonzero(strength_C > policy.max_feature_auroc)
    if not len(guilty):
        return None
    shown = ", ".join(f"{dataset.feature_names[c]} (AUROC {alone_C[c]:.3f})" for c in guilty)
    return Finding(
        name="feature_knows_outcome",
        severity=Severity.BLOCK,
        statistic=float(strength_C.max()),
        threshold=policy.max_feature_auroc,
        rows=len(dataset.row_N),
        message=f"{shown} tells the outcome alone",
        next_step="look when that feature is computed; leave it out with CLM_FEATURES until it is known",
    )


def foresight_unmeasured(dataset: Dataset, policy: AuditPolicy, now: datetime) -> Finding | None:
    """An audit of leaks that has nothing to look at finds nothing: that is not a pass."""
    table, row_N = dataset.table, dataset.row_N
    priced = int(np.isfinite(table.market_return_R[row_N]).sum())
    if len(row_N) < _FEWEST or priced >= _FEWEST:
        return None
    return Finding(
        name="foresight_unmeasured",
        severity=Severity.BLOCK,
        statistic=float(priced),
        threshold=float(_FEWEST),
        rows=len(row_N),
        message=f"{priced:,} of {len(row_N):,} windows have an entry price and an exit price above 0: "
        "whether a feature knows the future cannot be measured",
        next_step="write entry_price and exit_price of closed trades; 0 is not a price",
    )


def feature_of_the_future(dataset: Dataset, policy: AuditPolicy, now: datetime) -> Finding | None:
    """A feature computed after its time predicts the market's next move as a later sample's feature does."""
    features_NC = last_steps(dataset)
    move_N = dataset.table.market_return_R[dataset.row_N]
    known = np.flatnonzero(np.isfinite(move_N) & np.isfinite(features_NC).all(axis=1))
    known = known[spread(len(known), _PAIRS_LOOKED_AT)]
    if len(known) < _FEWEST:
        return None
    own_C = _strength(features_NC[known], move_N[known])
    later_N = _first_after_outcome(dataset)[known]
    followed = later_N >= 0
    later_C = _strength(features_NC[later_N[followed]], move_N[known[followed]])
    guilty = np.flatnonzero((own_C > policy.max_foresight) & (own_C > _OF_A_LATER_ONE * later_C))
    if not len(guilty):
        return None
    shown = ", ".join(
        f"{dataset.feature_names[c]} ({own_C[c]:.2f}; of the first sample after the outcome {later_C[c]:.2f})"
        for c in guilty
    )
    return Finding(
        name="feature_of_the_future",
        severity=Severity.BLOCK,
        statistic=float(own_C[guilty].max()),
        threshold=policy.max_foresight,
        rows=len(known),
        message=f"rank correlation with the market's move after the decision: {shown}",
        next_step="compute features from candles that were closed at the decision; look for a shift in time",
    )


def _strength(features_NC: Floats, move_N: Floats) -> Floats:
    """Return how closely each feature goes with these moves, in either direction."""
    if len(move_N) < _FEWEST:
        return np.zeros(features_NC.shape[1])
    return np.array([abs(rank_correlation(column_N, move_N)) for column_N in features_NC.T])


def _first_after_outcome(dataset: Dataset) -> Ints:
    """Return for each window the first one of its symbol decided when its outcome was known; -1 for none."""
    table, row_N = dataset.table, dataset.row_N
    later_N = np.full(len(row_N), -1, dtype=np.int64)
    # Windows are ordered by time; the table's rows by symbol first.
    by_symbol = np.argsort(row_N, kind="stable")
    symbol_N, decided_N = table.symbol_R[row_N[by_symbol]], table.decided_at_R[row_N[by_symbol]]
    resolved_N = table.resolved_at_R[row_N[by_symbol]]
    bounds = np.searchsorted(symbol_N, np.arange(len(table.symbols) + 1))
    for begin, end in pairwise(bounds):
        found = begin + np.searchsorted(decided_N[begin:end], resolved_N[begin:end])
        there = found < end
        later_N[by_symbol[begin:end][there]] = by_symbol[found[there]]
    return later_N


def _normal(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")
