"""The child that measures for the probes: `python -m clm.training.measure JOBDIR BUDGET_S [PARENT_PID]`.

It reads the job's files and its trained model and leaves measurements.json, written anew after each
measurement. It changes nothing that the run is judged by.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from clm.artefacts.job_files import ChildExit, read_job
from clm.artefacts.result_files import read_result
from clm.errors import TrainingError
from clm.training.process import become_disposable, keep_freed_memory, leave, loading


def main(arguments: Sequence[str]) -> ChildExit:
    """Measure the job in the directory named first, within so many seconds."""
    directory, budget_s = Path(arguments[0]), float(arguments[1])
    try:
        become_disposable(int(arguments[2]) if len(arguments) > 2 else None)
        job, arrays = read_job(directory)
        epochs = read_result(directory, len(arrays.test), len(arrays.validation)).epochs
    except TrainingError as error:
        sys.stderr.write(error.message + "\n")
        return ChildExit.JOB_UNREADABLE
    # After the tie to the parent: torch takes seconds in which the parent may die.
    keep_freed_memory()
    with loading():
        from clm.training.measurements import Subject, measure_all

    measure_all(Subject(job=job, arrays=arrays, epochs=epochs), budget_s)
    return ChildExit.DONE


if __name__ == "__main__":
    leave(main(sys.argv[1:]))
