"""How sure a gate has to be at the k-th attempt on one champion's place.

Repeated attempts are multiple tests, mostly on the same rows. The error that may be made over all of
them, alpha, is spent by a fixed summable sequence: attempt k is judged one-sided at alpha / (k (k + 1)).
The levels add up to alpha however many attempts there are, so by the union bound the chance that noise
ever passes is at most alpha, whatever the attempts share (alpha spending, the online Bonferroni rule of
Tian & Ramdas 2021, Statistical Methods in Medical Research 30:976). No level is zero: the bar rises
with sqrt(2 log k) and nothing is ever shut out for good.
"""

from dataclasses import dataclass
from math import ceil, log10

from clm.domain.ledger import PastAttempts


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptBudget:
    """Which attempt on the champion's place this is, and what it may cost."""

    number: int
    """1 for the first since the champion was crowned."""
    alpha: float
    """Chance of letting noise in over all attempts, the coming ones included."""

    @property
    def level(self) -> float:
        """One-sided level of this attempt; at the first, half of alpha."""
        return self.alpha / (self.number * (self.number + 1.0))

    @property
    def confidence(self) -> float:
        """Two-sided coverage of the intervals that decide."""
        return 1.0 - 2.0 * self.level

    @property
    def left(self) -> float:
        """What is left of alpha for all later attempts together."""
        return self.alpha / (self.number + 1.0)


def next_attempt(past: PastAttempts, confidence: float) -> AttemptBudget:
    """Return the attempt that comes now; `confidence` is the two-sided coverage asked of the first."""
    return AttemptBudget(number=past.since_crown + 1, alpha=1.0 - confidence)


def in_percent(confidence: float) -> str:
    """Return a coverage with the digits that matter, such as 95, 99.17 or 99.99996."""
    digits = max(0, ceil(-log10(1.0 - confidence)) - 1) if confidence < 1.0 else 0
    text = f"{100.0 * confidence:.{digits}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
