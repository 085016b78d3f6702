"""Why no answer is given: an expected outcome, and a value."""

from dataclasses import dataclass
from enum import StrEnum


class Abstains(StrEnum):
    """The kinds of reasons, stable for machines."""

    TOO_LITTLE_HISTORY = "too_little_history"
    STALE = "stale"
    OUT_OF_RANGE = "out_of_range"
    CONSTANT_INPUT = "constant_input"
    """Nothing moves within the window: one row repeated is no history."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Abstention:
    """A kind and one sentence."""

    kind: Abstains
    reason: str
