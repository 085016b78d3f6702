"""Reasons for abstaining. Abstaining is an expected outcome, so it is a value and not an exception."""

from dataclasses import dataclass
from enum import StrEnum


class Abstains(StrEnum):
    """The kinds of reasons. Programs may rely on these values."""

    TOO_LITTLE_HISTORY = "too_little_history"
    STALE = "stale"
    OUT_OF_RANGE = "out_of_range"
    CONSTANT_INPUT = "constant_input"
    """No feature changes within the window; a repeated row contains no history."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Abstention:
    """A reason: its kind, and one sentence for people."""

    kind: Abstains
    reason: str
