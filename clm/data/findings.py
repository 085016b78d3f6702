"""What an audit answers, and the bars it is given."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from clm.data.dataset import Dataset


class Severity(StrEnum):
    """WARN is shown; one BLOCK ends the cycle as REFUSED."""

    WARN = "WARN"
    BLOCK = "BLOCK"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What an audit found, with its measurement."""

    name: str
    severity: Severity
    statistic: float
    threshold: float
    """The bar that the statistic crossed."""
    rows: int
    message: str
    next_step: str
    sample_ids: tuple[int, ...] = ()
    """Ids of the rows, ascending, as far as they are few and known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditPolicy:
    """Where a data set stops being good enough; shares are of 1.

    docs/reference/findings.md says why each bar is where it is.
    """

    min_samples: int
    """Windows below which nothing is trained."""
    max_bad_share: float
    """Unreadable rows above which nothing is trained."""
    max_staleness_days: float
    """Age of the newest sample above which a warning is given."""
    history_days: int = 0
    """How far back is read; 0 reads all."""
    max_features: int = 8
    """What the architecture takes."""
    erases_levels: bool = False
    """Whether the architecture takes the mean out of each window."""
    max_erased_share: float = 0.5
    """Windows over which a feature stands still, above which such an architecture does not see it."""
    warn_bad_share: float = 0.01
    max_contradicting_share: float = 0.02
    """Outcomes against the recorded profit above which the labels as such are in doubt."""
    max_conflicting_share: float = 0.05
    """Samples that differ in nothing but their label, above which a warning is given."""
    min_class_share: float = 0.10
    """Share of the rarer label below which a warning is given."""
    warn_constant_windows: float = 0.25
    max_constant_windows: float = 0.95
    """(window, feature) pairs without variance over time above which nothing is trained."""
    max_correlation: float = 0.999
    """Of two features, above which they are the same one."""
    min_rank_share: float = 0.30
    """Effective rank, as a share of the number of features, below which a warning is given."""
    max_zero_share: float = 0.10
    """Exact zeros of a feature that otherwise takes many values."""
    max_spike: float = 1000.0
    """Distance of a feature's most extreme value from its median, in interquartile ranges."""
    max_scale_ratio: float = 1e6
    """Of the largest to the smallest standard deviation."""
    max_feature_auroc: float = 0.95
    """Of one feature alone, in either direction, above which it must know the outcome."""
    max_foresight: float = 0.35
    """Rank correlation of a feature with the market's move after the decision."""
    max_drift_auroc: float = 0.90
    """Of a classifier that separates the test part from the training part."""
    max_purged_share: float = 0.25
    """Windows that purge and embargo take."""
    max_symbol_share: float = 0.90
    """Windows of one symbol above which the model is one of that symbol."""
    max_p_value: float = 0.05
    """Of the best baseline under the hypothesis that features predict nothing."""
    block_without_skill: bool = False
    """Whether a store without a sign of skill is refused; by default that is a warning."""


Audit = Callable[[Dataset, AuditPolicy, datetime], Finding | None]
