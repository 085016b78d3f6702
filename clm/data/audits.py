"""Questions asked of a data set before a second is trained; AUDITS is the list."""

from dataclasses import dataclass
from enum import StrEnum


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
    rows: int
    message: str
    next_step: str
