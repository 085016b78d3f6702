"""Train, validation and test by time, purged and embargoed; once, or in folds that walk forward."""

from dataclasses import dataclass, replace

import numpy as np

from clm.clock import HOUR
from clm.domain.sample import Ints


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitPolicy:
    """Shares of the windows by time; the test part is the rest."""

    train_share: float
    validation_share: float
    embargo_h: float
    folds: int = 1
    """Splits that walk forward by the length of a test part; the last one trains the model."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """Indices into the windows, each ordered by decided_at; windows in no part were purged or embargoed."""

    train: Ints
    validation: Ints
    test: Ints
    validation_starts_at: int
    """Boundary in microseconds: no training label was known later than this."""
    test_starts_at: int
    purged: int
    embargoed: int


def split_by_time(decided_at_N: Ints, resolved_at_N: Ints, policy: SplitPolicy) -> Split:
    """Return the last fold: the newest windows are its test."""
    return walk_forward(decided_at_N, resolved_at_N, replace(policy, folds=1))[0]


def walk_forward(decided_at_N: Ints, resolved_at_N: Ints, policy: SplitPolicy) -> tuple[Split, ...]:
    """Return the folds, oldest first, with consecutive test parts.

    A fold is the split that would have been made when its test part ended: it contains no window decided
    later. Older folds have shorter training parts, down to none.
    """
    # Stable, so that equal times keep the order of their ids.
    order_N = np.argsort(decided_at_N, kind="stable").astype(np.int64)
    decided_N, resolved_N = decided_at_N[order_N], resolved_at_N[order_N]
    n_train = int(policy.train_share * len(order_N))
    n_before_test = int((policy.train_share + policy.validation_share) * len(order_N))
    folds: list[Split] = []
    for back in range(policy.folds):
        shift = back * (len(order_N) - n_before_test)
        # An older fold ends where the next one's test part starts.
        known = int(np.searchsorted(decided_N, folds[-1].test_starts_at)) if folds else len(decided_N)
        fold = _split(
            decided_N[:known],
            resolved_N[:known],
            validation_starts_at=_cut(decided_N, n_train - shift),
            test_starts_at=_cut(decided_N, n_before_test - shift),
            embargo=round(policy.embargo_h * HOUR),
        )
        folds.append(
            replace(
                fold,
                train=order_N[fold.train],
                validation=order_N[fold.validation],
                test=order_N[fold.test],
            )
        )
    return tuple(reversed(folds))


def _split(
    decided_N: Ints, resolved_N: Ints, *, validation_starts_at: int, test_starts_at: int, embargo: int
) -> Split:
    """Cut ordered windows at two moments; a part holds what was decided in it and known by its end.

    Windows decided at the same moment never straddle a cut. A window whose outcome came after the end of
    its part is purged; one decided within the embargo after a cut is embargoed.
    """
    # Equal decision times can move both cuts to one moment; the order must hold anyway.
    test_starts_at = max(validation_starts_at, test_starts_at)
    before_validation_N = decided_N < validation_starts_at
    before_test_N = decided_N < test_starts_at
    between_N = before_test_N & ~before_validation_N
    # Purging and embargo: Lopez de Prado, Advances in Financial Machine Learning (2018), 7.4.
    train_N = before_validation_N & (resolved_N <= validation_starts_at)
    rested_N = between_N & (decided_N >= validation_starts_at + embargo)
    validation_N = rested_N & (resolved_N <= test_starts_at)
    test_N = ~before_test_N & (decided_N >= test_starts_at + embargo)
    purged = int((before_validation_N & ~train_N).sum() + (rested_N & ~validation_N).sum())
    return Split(
        train=np.flatnonzero(train_N),
        validation=np.flatnonzero(validation_N),
        test=np.flatnonzero(test_N),
        validation_starts_at=validation_starts_at,
        test_starts_at=test_starts_at,
        purged=purged,
        embargoed=len(decided_N) - purged - int((train_N | validation_N | test_N).sum()),
    )


def _cut(decided_N: Ints, before: int) -> int:
    """Return the moment before which `before` of the ordered windows were decided."""
    if not len(decided_N):
        return 0
    position = max(0, before)
    return int(decided_N[position]) if position < len(decided_N) else int(decided_N[-1]) + 1
