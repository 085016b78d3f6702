"""The verdict of a gate."""

from dataclasses import dataclass
from enum import StrEnum


class GateStatus(StrEnum):
    """PASS, FAIL, or DEFER if the gate cannot judge yet."""

    PASS = "PASS"
    FAIL = "FAIL"
    DEFER = "DEFER"


@dataclass(frozen=True, slots=True, kw_only=True)
class GateVerdict:
    """One gate's verdict: the figure, the threshold, the reason, and what would have passed."""

    name: str
    status: GateStatus
    observed: float | None
    threshold: float | None
    reason: str
    would_pass: str = ""
    gain: float | None = None
    """How much better the candidate is than the champion; None if the gate does not measure that."""
