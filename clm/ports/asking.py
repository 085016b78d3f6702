"""Asking another process a typed question."""

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol, TypeVar

from clm.ports.time import StopSignal
from clm.questions.question import Question

A = TypeVar("A")


class PreparedChild(Protocol):
    """A process that loads its libraries while its question is not known yet."""

    def ask(self, question: Question[A], stop: StopSignal) -> A:
        """Return the checked answer, as `Asker.ask`."""
        ...


class Asker(Protocol):
    """Asks each question of a process of its own."""

    def ask(self, question: Question[A], directory: Path, stop: StopSignal) -> A:
        """Return the checked answer; the process is gone however this ends.

        Raises:
            TrainingError: the process failed, or its answer cannot be used; clm/children/ask.py lists the
                codes.
            ArtefactError: the question cannot be written.
            Interrupted: `stop` was set.
        """
        ...

    def prepared(self, name: str, directory: Path) -> AbstractContextManager[PreparedChild]:
        """Start the process for the question `name`, and end it on leaving.

        Raises:
            TrainingError: CHILD_FAILED, it cannot be started.
            ArtefactError: the directory cannot be written.
        """
        ...
