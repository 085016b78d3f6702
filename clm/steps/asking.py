"""Questions whose answer explains or improves a run: without an answer, the reason takes its place."""

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from clm.errors import ArtefactError, ClmError, TrainingError
from clm.questions.question import Question, read_answer

A = TypeVar("A")

_REASON_CHARACTERS = 300


def as_far_as_it_came(
    ask: Callable[[], A], question: Question[A], directory: Path, nothing: A
) -> tuple[A, str]:
    """Return the answer and "", or what the process wrote before it failed, and why it failed.

    Raises:
        Interrupted: the stop signal was set.
    """
    try:
        return ask(), ""
    except ArtefactError as error:
        return nothing, reason_of(error)
    except TrainingError as error:
        why = reason_of(error)
    try:
        return read_answer(question, directory), why
    except TrainingError:
        return nothing, why


def reason_of(error: Exception) -> str:
    """Return why there is no answer, as one line of a report."""
    text = error.message if isinstance(error, ClmError) else f"it cannot be asked: {error}"
    return text[:_REASON_CHARACTERS]
