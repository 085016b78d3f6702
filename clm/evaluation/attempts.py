"""Alpha spending: the confidence that the gates require at the k-th attempt to replace one champion.

Repeated attempts are multiple tests, mostly on the same rows. A fixed summable sequence spends the error
alpha over all of them: attempt k is judged one-sided at alpha / (k (k + 1)). The levels add up to alpha for
any number of attempts. By the union bound, the probability that noise ever passes is at most alpha, whatever
the attempts share (alpha spending, the online Bonferroni rule of Tian & Ramdas 2021, Statistical Methods in
Medical Research 30:976). No level is zero: the bar rises with sqrt(2 log k), so skill can always pass.
"""

from dataclasses import dataclass
from math import ceil, log10

from clm.domain.ledger import PastAttempts


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptBudget:
    """The number of an attempt and the error it may spend."""

    number: int
    """1 for the first attempt since the champion was promoted."""
    alpha: float
    """Probability of promoting noise over all attempts, including future ones."""

    @property
    def level(self) -> float:
        """Return the one-sided level of this attempt; half of alpha at the first."""
        return self.alpha / (self.number * (self.number + 1.0))

    @property
    def confidence(self) -> float:
        """Return the two-sided coverage of the deciding intervals."""
        return 1.0 - 2.0 * self.level

    @property
    def left(self) -> float:
        """Return the part of alpha that is left for all later attempts together."""
        return self.alpha / (self.number + 1.0)


def next_attempt(past: PastAttempts, confidence: float) -> AttemptBudget:
    """Return the next attempt; `confidence` is the two-sided coverage at the first attempt."""
    return AttemptBudget(number=past.since_crown + 1, alpha=1.0 - confidence)


def in_percent(confidence: float) -> str:
    """Return a coverage in percent with its significant digits, such as 95, 99.17 or 99.99996."""
    digits = max(0, ceil(-log10(1.0 - confidence)) - 1) if confidence < 1.0 else 0
    text = f"{100.0 * confidence:.{digits}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
