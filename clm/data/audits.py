"""Questions asked of a data set before a second is trained; AUDITS is the list.

To add one, write a function beside its kind and list it here.
"""

from datetime import datetime

from clm.data.audits_features import (
    constant_features,
    constant_windows,
    features_not_finite,
    too_many_features,
    unknown_features,
)
from clm.data.audits_labels import outcome_contradicts_pnl, single_class, too_few_samples, unusable_outcomes
from clm.data.audits_rows import bad_rows, future_rows, other_features, stale_store
from clm.data.dataset import Dataset
from clm.data.findings import Audit, AuditPolicy, Finding, Severity

__all__ = ["AUDITS", "Audit", "AuditPolicy", "Finding", "Severity", "audit"]

AUDITS: tuple[Audit, ...] = (
    bad_rows,
    unknown_features,
    too_many_features,
    too_few_samples,
    single_class,
    features_not_finite,
    constant_windows,
    constant_features,
    outcome_contradicts_pnl,
    unusable_outcomes,
    other_features,
    future_rows,
    stale_store,
)


def audit(dataset: Dataset, policy: AuditPolicy, now: datetime) -> tuple[Finding, ...]:
    """Ask every audit and keep every finding, BLOCKs first, otherwise in the order of AUDITS."""
    answers = (ask(dataset, policy, now) for ask in AUDITS)
    findings = [finding for finding in answers if finding is not None]
    return tuple(sorted(findings, key=lambda finding: finding.severity is not Severity.BLOCK))
