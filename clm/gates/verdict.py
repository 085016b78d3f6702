"""What a gate answers."""

from dataclasses import dataclass
from enum import StrEnum


class GateStatus(StrEnum):
    """PASS, FAIL, or DEFER: it cannot be known yet."""

    PASS = "PASS"
    FAIL = "FAIL"
    DEFER = "DEFER"


@dataclass(frozen=True, slots=True, kw_only=True)
class GateVerdict:
    """One gate's answer: the figure, the bar, the reason, and what would have made it pass."""

    name: str
    status: GateStatus
    observed: float | None
    threshold: float | None
    reason: str
    would_pass: str = ""
    gain: float | None = None
    """What the candidate adds over the champion; None where the gate does not measure that."""
