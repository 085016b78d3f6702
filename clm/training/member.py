"""The process that trains members beside another: `python -m clm.training.member DIRECTORY [PARENT_PID]`.

It takes what nobody has taken of the networks that members.json asks for, and leaves of each its P(WIN) and
its epochs. Started by hand, without a parent, it trains all of them, with processes beside it as it is asked.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from clm.artefacts.job_files import ChildExit, epoch_line
from clm.artefacts.member_files import MembersJob, read_members
from clm.domain.job import EpochReport
from clm.errors import TrainingError
from clm.training.process import end_with, keep_freed_memory, leave, loading, out_of_memory


def main(arguments: Sequence[str]) -> ChildExit:
    """Train members of the directory named first."""
    directory = Path(arguments[0])
    try:
        # Not become_disposable: class, score for memory and limits came down from the parent.
        end_with(int(arguments[1]) if len(arguments) > 1 else None)
        job = read_members(directory)
        keep_freed_memory()
        # After the tie to the parent: torch takes seconds in which the parent may die.
        with loading():
            from clm.training.members import read_material, take_members, train_members

        if len(arguments) > 1:
            take_members(job, read_material(job), lambda number, report: _tell(job, number, report))
        else:
            train_members(job, read_material(job), lambda _report: None)
    except TrainingError as error:
        sys.stderr.write(error.message + "\n")
        return ChildExit[error.code]
    except (MemoryError, RuntimeError, OSError) as error:
        if not (message := out_of_memory(error)):
            raise
        sys.stderr.write(message + "\n")
        return ChildExit.CHILD_OOM
    return ChildExit.DONE


def _tell(job: MembersJob, number: int, report: EpochReport) -> None:
    with job.progress(number).open("ab") as progress:
        progress.write(epoch_line(report))


if __name__ == "__main__":
    leave(main(sys.argv[1:]))
