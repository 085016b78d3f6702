"""Networks of one job that differ by their seed, shared out among processes by files of a directory.

members.json says what is wanted; who makes claim-<n> trains member n, and leaves member-<n>.npz. The process
that asks and those that help import this; it needs no torch.
"""

import io
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import orjson

from clm.artefacts.files import replace_durably
from clm.artefacts.records import read_arrays
from clm.domain.job import TrainingSpec
from clm.domain.sample import Floats
from clm.errors import TrainingError

MEMBERS = "members.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class MembersJob:
    """One network a seed, on the same windows."""

    directory: Path
    data: Path
    """Directory that holds job.json and dataset.npz."""
    spec: TrainingSpec
    """Of all members but for the seed; its `processes` are trained at a time."""
    seeds: tuple[int, ...]
    parts: tuple[str, ...]
    """Parts of the split whose P(WIN) is wanted: `train`, `validation`, `test`."""

    def progress(self, number: int) -> Path:
        """Return where a member's epochs are told, a line each."""
        return self.directory / f"progress-{number}.jsonl"


def write_members(job: MembersJob) -> None:
    """Write what is wanted into an empty directory.

    Raises:
        ArtefactError: DISK_FULL, READ_ONLY_FS, PERMISSION, IO_ERROR.
    """
    document = orjson.dumps(asdict(job), default=str, option=orjson.OPT_INDENT_2)
    replace_durably(job.directory / MEMBERS, document)


def read_members(directory: Path) -> MembersJob:
    """Return what `write_members` wrote.

    Raises:
        TrainingError: JOB_UNREADABLE.
    """
    try:
        document = orjson.loads((directory / MEMBERS).read_bytes())
        return MembersJob(
            directory=directory,
            data=Path(document["data"]),
            spec=TrainingSpec(**document["spec"]),
            seeds=tuple(document["seeds"]),
            parts=tuple(document["parts"]),
        )
    except (OSError, ValueError, KeyError, TypeError) as exc:
        raise TrainingError("JOB_UNREADABLE", f"{directory} asks for no members: {exc}") from exc


def claim(job: MembersJob) -> int | None:
    """Return the number of the first member that nobody has taken, now taken; None when all are."""
    for number in range(len(job.seeds)):
        try:
            # Made or refused in one step by the kernel: two processes never train the same member.
            (job.directory / f"claim-{number}").touch(exist_ok=False)
        except FileExistsError:
            continue
        return number
    return None


def write_answer(job: MembersJob, number: int, p_by_part: Mapping[str, Floats]) -> None:
    """Write a member's calibrated P(WIN) of the parts that are wanted.

    Raises:
        ArtefactError: DISK_FULL, READ_ONLY_FS, PERMISSION, IO_ERROR.
    """
    arrays = io.BytesIO()
    np.savez(arrays, **p_by_part)  # type: ignore[arg-type]  # arrays by name, no keyword of savez among them
    replace_durably(_answer(job, number), arrays.getvalue())


def read_answer(job: MembersJob, number: int) -> Mapping[str, Floats]:
    """Return what `write_answer` wrote.

    Raises:
        TrainingError: RESULT_INVALID.
    """
    try:
        return read_arrays(_answer(job, number))
    except (OSError, ValueError) as exc:
        raise TrainingError("RESULT_INVALID", f"member {number + 1} left no answer: {exc}") from exc


def _answer(job: MembersJob, number: int) -> Path:
    return job.directory / f"member-{number}.npz"
