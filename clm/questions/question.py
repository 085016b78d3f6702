"""A typed question for another process, its limits, and the files through which it is asked and answered.

Both sides import this; it needs no torch.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np

from clm.artefacts.files import translated
from clm.artefacts.records import RecordError, read_record, write_record
from clm.domain.sample import Floats
from clm.errors import TrainingError

A = TypeVar("A")
Inputs = TypeVar("Inputs")


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a child may use; 0 is no limit."""

    wall_s: float
    """Seconds from its start until it is ended."""
    silence_s: float = 0.0
    """Seconds without progress until it is ended."""
    cpu_s: float = 0.0
    """Processor seconds of all threads."""
    memory_mb: int = 0
    """Megabytes of data of a process."""
    threads: int = 1
    """Threads of the mathematics; 0 leaves the number to the child."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question(Generic[A]):
    """Work for another process: what it is given, what it may use, and the record it must return."""

    name: str
    """Names the handler (clm/training/__main__.py) and the files."""
    subject: str
    """What is done, for messages: "training p07_...", "scoring models"."""
    inputs: object
    """A frozen record for the codec."""
    limits: Limits
    answer: type[A]
    check: Callable[[A], A]
    """Returns the answer as the parent may use it; raises ValueError when the answer cannot be right."""
    advice: str
    """What an operator can do when the time is used up."""
    leaves: tuple[str, ...] = ()
    """Files that the child leaves next to its answer."""


class ChildExit(IntEnum):
    """Exit codes of a child that have a meaning; the names are codes of TrainingError."""

    DONE = 0
    NAN_LOSS = 90
    EXPORT_MISMATCH = 91
    CHILD_OOM = 92
    JOB_UNREADABLE = 93
    ARCHITECTURE_UNKNOWN = 94
    ORPHANED = 95
    DEVICE_ABSENT = 96
    NOT_SCORED = 97


@dataclass(frozen=True, slots=True, kw_only=True)
class Files:
    """The files of one question in its directory."""

    directory: Path
    name: str

    def _of(self, suffix: str) -> Path:
        return self.directory / f"{self.name}.{suffix}"

    @property
    def inputs(self) -> Path:
        """Return the question; its arrays lie next to it."""
        return self._of("question.json")

    @property
    def limits(self) -> Path:
        """Return what the child may use."""
        return self._of("limits.json")

    @property
    def answer(self) -> Path:
        """Return the answer; its arrays lie next to it."""
        return self._of("answer.json")

    @property
    def progress(self) -> Path:
        """Return what the child has done so far, one record a line."""
        return self._of("progress.jsonl")

    @property
    def stdout(self) -> Path:
        """Return what the child wrote to its standard output."""
        return self._of("stdout.log")

    @property
    def stderr(self) -> Path:
        """Return what the child wrote to its standard error; its last lines are its last words."""
        return self._of("stderr.log")

    def remove_answer(self, leaves: Sequence[str]) -> None:
        """Remove what an earlier child left, so that it cannot be taken for the next child's answer."""
        own = (self.answer, self.answer.with_suffix(".npz"), self.progress)
        for path in (*own, *(self.directory / name for name in leaves)):
            path.unlink(missing_ok=True)


def write_question(question: Question[A], directory: Path) -> Files:
    """Write the question into its directory, which is made, and remove an earlier answer.

    The inputs come last: a child that waits for its question begins when they are there.

    Raises:
        ArtefactError: DISK_FULL, READ_ONLY_FS, PERMISSION, IO_ERROR.
    """
    files = Files(directory=directory, name=question.name)
    with translated(f"cannot prepare {directory}"):
        directory.mkdir(parents=True, exist_ok=True)
        files.inputs.unlink(missing_ok=True)
        files.remove_answer(question.leaves)
    write_record(files.limits, question.limits)
    write_record(files.inputs, question.inputs)
    return files


def read_inputs(kind: type[Inputs], directory: Path, name: str) -> Inputs:
    """Return what a child is given.

    Raises:
        TrainingError: JOB_UNREADABLE.
    """
    try:
        return read_record(kind, Files(directory=directory, name=name).inputs)
    except RecordError as exc:
        raise TrainingError("JOB_UNREADABLE", f"{directory} holds no question {name!r}: {exc}") from exc


def read_answer(question: Question[A], directory: Path) -> A:
    """Return what the child answered, checked; the parent trusts nothing that a child writes.

    Raises:
        TrainingError: RESULT_INVALID.
    """
    try:
        return question.check(
            read_record(question.answer, Files(directory=directory, name=question.name).answer)
        )
    except ValueError as exc:
        raise TrainingError(
            "RESULT_INVALID",
            f"{question.subject}: the child ended well, but its answer in {directory} cannot be used: {exc}",
        ) from exc


def require_probabilities(name: str, p_N: Floats, n: int) -> None:
    """Refuse what are not so many probabilities.

    Raises:
        ValueError: another number, NaN, or a value outside [0, 1].
    """
    if p_N.shape != (n,):
        raise ValueError(f"{name} is {p_N.dtype}{list(p_N.shape)}, wanted float64[{n}]")
    if not np.all((p_N >= 0.0) & (p_N <= 1.0)):
        raise ValueError(f"{name} holds numbers that are no probabilities")
