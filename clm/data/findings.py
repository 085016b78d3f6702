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


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditPolicy:
    """Where a data set stops being good enough; shares are of 1."""

    min_samples: int
    """Windows below which nothing is trained."""
    max_bad_share: float
    """Unreadable rows above which nothing is trained."""
    max_staleness_days: float
    """Age of the newest sample above which a warning is given."""
    max_features: int = 8
    """What the served architecture takes."""
    warn_bad_share: float = 0.01
    max_contradicting_share: float = 0.02
    """Outcomes against the recorded profit above which the labels as such are in doubt."""
    warn_constant_windows: float = 0.25
    max_constant_windows: float = 0.95
    """(window, feature) pairs without variance over time above which nothing is trained."""


Audit = Callable[[Dataset, AuditPolicy, datetime], Finding | None]
