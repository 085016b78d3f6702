"""Audits of how much the features say together."""

from datetime import datetime

import numpy as np

from clm.data.association import ROWS_LOOKED_AT, correlations
from clm.data.channels import last_steps
from clm.data.dataset import Dataset
from clm.data.findings import AuditPolicy, Finding, Severity
from clm.data.scaling import varies
from clm.domain.sample import Floats, Ints


def duplicated_features(dataset: Dataset, policy: AuditPolicy, now: datetime) -> Finding | None:
    """Two features that go together always are one: four copied to eight look like more than four."""
    names = dataset.feature_names
    features_NC = last_steps(dataset, limit=ROWS_LOOKED_AT)
    live_C = _live(features_NC)
    if len(live_C) < 2:
        return None
    correlation_CC = np.abs(correlations(features_NC[:, live_C]))
    first, second = np.nonzero(np.triu(correlation_CC > policy.max_correlation, k=1))
    if not len(first):
        return None
    pairs = [f"{names[live_C[a]]} = {names[live_C[b]]}" for a, b in zip(first, second, strict=True)]
    copies = len(np.unique(second))
    return Finding(
        name="duplicated_features",
        severity=Severity.WARN,
        statistic=float(correlation_CC[first, second].max()),
        threshold=policy.max_correlation,
        rows=len(dataset.row_N),
        message=f"{copies} of {len(names)} features are copies of another: {', '.join(pairs[:8])}"
        f"{', ...' if len(pairs) > 8 else ''}",
        next_step="look at what writes them, or name the others in CLM_FEATURES",
    )


def low_effective_rank(dataset: Dataset, policy: AuditPolicy, now: datetime) -> Finding | None:
    """Features mixed from fewer ones carry no more than those."""
    features_NC = last_steps(dataset, limit=ROWS_LOOKED_AT)
    live_C = _live(features_NC)
    if len(live_C) < 2:
        return None
    rank = effective_rank(features_NC[:, live_C])
    if rank >= policy.min_rank_share * len(live_C):
        return None
    return Finding(
        name="low_effective_rank",
        severity=Severity.WARN,
        statistic=rank,
        threshold=policy.min_rank_share * len(live_C),
        rows=len(dataset.row_N),
        message=f"{len(live_C)} features carry about as much as {rank:.1f} independent ones",
        next_step="look at what writes them; add features that say something else",
    )


def effective_rank(features_NC: Floats) -> float:
    """Return the exponential of the entropy of the correlation matrix's eigenvalues, 1 up to C."""
    eigenvalues = np.clip(np.linalg.eigvalsh(correlations(features_NC)), 0.0, None)
    share = eigenvalues[eigenvalues > 0] / eigenvalues.sum()
    return float(np.exp(-(share * np.log(share)).sum()))


def _live(features_NC: Floats) -> Ints:
    """Return the features that vary and are finite throughout; the others have audits of their own."""
    if len(features_NC) < 2:
        return np.empty(0, dtype=np.int64)
    finite = np.flatnonzero(np.isfinite(features_NC).all(axis=0))
    return finite[varies(features_NC[:, finite])]
