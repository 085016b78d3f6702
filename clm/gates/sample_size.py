"""Phrases for gate reasons: the number of the attempt, and how many more rows would be enough."""

from math import ceil

from clm.evaluation.evaluation import Comparison


def attempt_in_words(comparison: Comparison) -> str:
    """Return "Attempt 37 since the last promotion: ", or an empty string for the first attempt."""
    number = comparison.attempt.number
    return f"Attempt {number} since the last promotion: " if number > 1 else ""


def more_rows(*, reach: float, distance: float, n_rows: int) -> str:
    """Return how many more rows would move the interval's bound to the bar, if the estimate stays the same.

    The width of an interval falls with the square root of the number of rows. Returns an empty string if
    more rows cannot help: the estimate itself misses the bar (`distance` <= 0), or the interval is unknown.
    """
    if not reach > distance > 0.0:
        return ""
    more = ceil(n_rows * ((reach / distance) ** 2 - 1.0))
    return f", or about {more:,} more test rows at the same value"
