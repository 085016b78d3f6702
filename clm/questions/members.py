"""The question `members`: networks of one job that differ by their seed, shared out among processes."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from clm.artefacts.records import write_record
from clm.domain.job import TrainingSpec
from clm.domain.sample import Floats
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
