"""Train, validation and test by time, purged and embargoed."""

from dataclasses import dataclass

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
