"""Train, validation and test by time, purged and embargoed."""

from dataclasses import dataclass

import numpy as np

from clm.clock import HOUR
from clm.domain.sample import Ints


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitPolicy:
    """Shares of the windows by time; the test part is the rest."""

    train_share: float
    validation_share: float
    embargo_h: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """Indices into the windows, each ordered by decided_at; what is in none was purged or embargoed."""

    train: Ints
    validation: Ints
    test: Ints
    validation_starts_at: int
    """Boundary in microseconds: no training label was known later than this."""
    test_starts_at: int
    purged: int
    embargoed: int


def split_by_time(decided_at_N: Ints, resolved_at_N: Ints, policy: SplitPolicy) -> Split:
    """Cut at two moments; a part holds what was decided in it and known by its end.

    Windows decided at the same moment never straddle a cut. A window whose outcome came after the end of
    its part is purged; one decided within `embargo_h` after a cut is embargoed.
    """
    order_N = np.argsort(decided_at_N, kind="stable").astype(np.int64)
    decided_N, resolved_N = decided_at_N[order_N], resolved_at_N[order_N]
    validation_starts_at = _cut(decided_N, policy.train_share)
    test_starts_at = max(validation_starts_at, _cut(decided_N, policy.train_share + policy.validation_share))
    embargo = round(policy.embargo_h * HOUR)

    before_validation_N = decided_N < validation_starts_at
    before_test_N = decided_N < test_starts_at
    between_N = before_test_N & ~before_validation_N
    train_N = before_validation_N & (resolved_N <= validation_starts_at)
    rested_N = between_N & (decided_N >= validation_starts_at + embargo)
    validation_N = rested_N & (resolved_N <= test_starts_at)
    test_N = ~before_test_N & (decided_N >= test_starts_at + embargo)
    purged = int((before_validation_N & ~train_N).sum() + (rested_N & ~validation_N).sum())
    return Split(
        train=order_N[train_N],
        validation=order_N[validation_N],
        test=order_N[test_N],
        validation_starts_at=validation_starts_at,
        test_starts_at=test_starts_at,
        purged=purged,
        embargoed=len(order_N) - purged - int((train_N | validation_N | test_N).sum()),
    )


def _cut(decided_N: Ints, share: float) -> int:
    """Return the moment before which `share` of the windows were decided."""
    if not len(decided_N):
        return 0
    position = int(share * len(decided_N))
    return int(decided_N[position]) if position < len(decided_N) else int(decided_N[-1]) + 1
