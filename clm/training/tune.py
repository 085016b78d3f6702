"""The child that tries other settings: `python -m clm.training.tune DIRECTORY [PARENT_PID]`.

It reads tuning.json and the data of each variant, and leaves trials.json, written anew after each try.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from clm.artefacts.job_files import ChildExit
from clm.artefacts.tuning_files import read_tuning
from clm.errors import TrainingError
from clm.training.process import become_disposable, keep_freed_memory, leave, loading


def main(arguments: Sequence[str]) -> ChildExit:
    """Climb the study in the directory named first."""
    try:
        become_disposable(int(arguments[1]) if len(arguments) > 1 else None)
        job = read_tuning(Path(arguments[0]))
        # After the tie to the parent: torch takes seconds in which the parent may die.
        keep_freed_memory()
        with loading():
            from clm.training.study import climb

        climb(job)
    except TrainingError as error:
        sys.stderr.write(error.message + "\n")
        return ChildExit[error.code]
    return ChildExit.DONE


if __name__ == "__main__":
    leave(main(sys.argv[1:]))
