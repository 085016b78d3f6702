"""Items of one question that several processes take, each the next one that is free.

The processes that help read the same question. The one that creates claim-<n> does item n and leaves
item-<n>.json; so the number of processes depends on the machine, and changes no answer.
"""

from pathlib import Path
from typing import TypeVar

from clm.artefacts.records import RecordError, read_record, write_record
from clm.errors import TrainingError

A = TypeVar("A")


def claim(directory: Path, count: int) -> int | None:
    """Claim the first item that no process has claimed and return its number; None if there is none."""
    for number in range(count):
        try:
            # Made or refused in one step by the kernel: two processes never do the same item.
            (directory / f"claim-{number}").touch(exist_ok=False)
        except FileExistsError:
            continue
        return number
    return None


def progress_of(directory: Path, number: int) -> Path:
    """Return the progress file of an item, one epoch a line."""
    return directory / f"progress-{number}.jsonl"


def write_item(directory: Path, number: int, answer: object) -> None:
    """Write the answer of one item.

    Raises:
        ArtefactError: DISK_FULL, READ_ONLY_FS, PERMISSION, IO_ERROR.
    """
    write_record(_answer(directory, number), answer)


def read_item(kind: type[A], directory: Path, number: int) -> A:
    """Return the answer of one item.

    Raises:
        TrainingError: RESULT_INVALID.
    """
    try:
        return read_record(kind, _answer(directory, number))
    except RecordError as exc:
        raise TrainingError("RESULT_INVALID", f"item {number + 1} left no answer: {exc}") from exc


def _answer(directory: Path, number: int) -> Path:
    return directory / f"item-{number}.json"
