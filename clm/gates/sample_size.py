"""Which attempt this is, and what evidence it lacks: how much better a figure, or how many rows more."""

from math import ceil

from clm.evaluation.evaluation import Comparison


def attempt_in_words(comparison: Comparison) -> str:
    """Return "Attempt 37 on the champion's place: ", nothing at the first."""
    number = comparison.attempt.number
    return f"Attempt {number} on the champion's place: " if number > 1 else ""


def more_rows(*, reach: float, distance: float, n_rows: int) -> str:
    """Return how many more rows would bring an interval's end to the bar if its middle stayed where it is.

    An interval narrows with the root of its rows. Nothing is said where more rows cannot help: the
    middle itself is beyond the bar (`distance` <= 0), or the interval is unknown.
    """
    if not reach > distance > 0.0:
        return ""
    more = ceil(n_rows * ((reach / distance) ** 2 - 1.0))
    return f", or about {more:,} more test rows at this one"
