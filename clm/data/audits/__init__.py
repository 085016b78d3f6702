"""Questions asked of a data set before a second is trained; AUDITS is the list.

To add one, write a function in the file of its kind, list it here where it ranks, plant a store for it in
tests/data/planted.py and describe it in docs/reference/findings.md.
"""

from collections.abc import Iterable
from datetime import datetime

from clm.data.audits.candles import (
    bad_candles,
    candle_jumps,
    coarse_prices,
    entries_outside_candles,
    market_not_trading,
    samples_without_candles,
)
from clm.data.audits.coverage import one_symbol, stale_store, too_few_samples, uncovered_symbols
from clm.data.audits.drift import purge_takes_too_much, train_test_drift
from clm.data.audits.features import (
    constant_features,
    features_not_finite,
    too_many_features,
    unknown_features,
)
from clm.data.audits.floor import no_skill
from clm.data.audits.labels import (
    class_imbalance,
    conflicting_duplicates,
    label_ignores_side,
    outcome_contradicts_pnl,
    single_class,
)
from clm.data.audits.leakage import (
    feature_knows_outcome,
    feature_of_the_future,
    foresight_unmeasured,
    outcome_among_features,
)
from clm.data.audits.redundancy import duplicated_features, low_effective_rank
from clm.data.audits.rows import (
    bad_rows,
    future_rows,
    label_intervals,
    other_features,
    symbol_spellings,
    unreadable_figures,
    unusable_outcomes,
)
from clm.data.audits.scales import features_of_other_scale, spikes, zero_filled_features
from clm.data.audits.windows import constant_windows, levels_erased
from clm.data.dataset import Dataset
from clm.data.findings import Audit, AuditPolicy, Finding, Severity
from clm.data.floor import Floor

__all__ = [
    "AUDITS",
    "Audit",
    "AuditPolicy",
    "Finding",
    "Severity",
    "audit",
    "blocked",
    "ranked",
    "with_floor",
]

AUDITS: tuple[Audit, ...] = (
    # what was asked for and is not there
    unknown_features,
    too_many_features,
    # rows that say nothing
    label_intervals,
    bad_rows,
    unusable_outcomes,
    bad_candles,
    samples_without_candles,
    entries_outside_candles,
    market_not_trading,
    candle_jumps,
    coarse_prices,
    features_not_finite,
    other_features,
    future_rows,
    symbol_spellings,
    unreadable_figures,
    too_few_samples,
    # the outcome among what is known before it
    outcome_among_features,
    feature_knows_outcome,
    feature_of_the_future,
    foresight_unmeasured,
    # labels that do not mean what they say
    single_class,
    label_ignores_side,
    outcome_contradicts_pnl,
    conflicting_duplicates,
    class_imbalance,
    # features that say less than it seems
    constant_features,
    constant_windows,
    levels_erased,
    spikes,
    zero_filled_features,
    duplicated_features,
    low_effective_rank,
    features_of_other_scale,
    # too little of it, or of another time
    purge_takes_too_much,
    one_symbol,
    uncovered_symbols,
    stale_store,
    train_test_drift,
)
"""In the order of their rank: a cause stands before what it brings about."""

_LAST = ("negative_holds", "no_skill")
"""Asked of more than the data set: the store itself, and a child process."""


def audit(dataset: Dataset, policy: AuditPolicy, now: datetime) -> tuple[Finding, ...]:
    """Ask every audit and return every finding as `ranked`."""
    answers = (ask(dataset, policy, now) for ask in AUDITS)
    return ranked(finding for finding in answers if finding is not None)


def with_floor(findings: Iterable[Finding], floor: Floor, policy: AuditPolicy) -> tuple[Finding, ...]:
    """Return the findings and what the signal floor adds to them, ranked."""
    added = no_skill(floor, policy)
    return ranked([*findings, *([added] if added else [])])


def blocked(findings: Iterable[Finding]) -> bool:
    """Return whether nothing may be trained."""
    return any(finding.severity is Severity.BLOCK for finding in findings)


def ranked(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Return BLOCKs first, within a severity in the order of AUDITS: the first one names the cause."""
    order = [ask.__name__ for ask in AUDITS] + [*_LAST]
    return tuple(
        sorted(findings, key=lambda found: (found.severity is not Severity.BLOCK, order.index(found.name)))
    )
