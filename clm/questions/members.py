"""The question `members`: networks of one job that differ by their seed, shared out among processes.

The processes that help read the same question. The one that creates claim-<n> trains member n and leaves
member-<n>.json; so the number of processes is a matter of the machine, and changes no network.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from clm.artefacts.records import RecordError, read_record, write_record
from clm.domain.job import TrainingSpec
from clm.domain.sample import Floats
from clm.errors import TrainingError
from clm.questions.question import Files, Limits

NAME = "members"


@dataclass(frozen=True, slots=True, kw_only=True)
class MembersJob:
    """One network a seed, on the same windows."""

    directory: Path
    data: Path
    """Directory that holds the question `train`."""
    spec: TrainingSpec
    """Of all members but for the seed; its `processes` are trained at a time."""
    seeds: tuple[int, ...]
    parts: tuple[str, ...]
    """Parts of the split whose P(WIN) is wanted: `train`, `validation`, `test`."""

    def progress(self, number: int) -> Path:
        """Return the progress file of a member, one epoch a line."""
        return self.directory / f"progress-{number}.jsonl"


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberAnswer:
    """A member's calibrated P(WIN) of the parts that are wanted."""

    p_by_part: Mapping[str, Floats]


def write_members(job: MembersJob) -> None:
    """Write the question into an empty directory; limits are inherited from the process that asks.

    Raises:
        ArtefactError: DISK_FULL, READ_ONLY_FS, PERMISSION, IO_ERROR.
    """
    files = Files(directory=job.directory, name=NAME)
    write_record(files.limits, Limits(wall_s=0.0))
    write_record(files.inputs, job)


def claim(job: MembersJob) -> int | None:
    """Claim the first member that no process has claimed and return its number; None if there is none."""
    for number in range(len(job.seeds)):
        try:
            # Made or refused in one step by the kernel: two processes never train the same member.
            (job.directory / f"claim-{number}").touch(exist_ok=False)
        except FileExistsError:
            continue
        return number
    return None


def write_member(job: MembersJob, number: int, p_by_part: Mapping[str, Floats]) -> None:
    """Write a member's answer.

    Raises:
        ArtefactError: DISK_FULL, READ_ONLY_FS, PERMISSION, IO_ERROR.
    """
    write_record(_answer(job, number), MemberAnswer(p_by_part=p_by_part))


def read_member(job: MembersJob, number: int) -> Mapping[str, Floats]:
    """Return a member's answer.

    Raises:
        TrainingError: RESULT_INVALID.
    """
    try:
        return read_record(MemberAnswer, _answer(job, number)).p_by_part
    except RecordError as exc:
        raise TrainingError("RESULT_INVALID", f"member {number + 1} left no answer: {exc}") from exc


def _answer(job: MembersJob, number: int) -> Path:
    return job.directory / f"member-{number}.json"
