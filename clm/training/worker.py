"""The training child: `python -m clm.training.worker JOBDIR [PARENT_PID]`.

Reads job.json and dataset.npz, leaves progress.jsonl, model.pth, predictions.npz and result.json, and
says by its exit code how it ended (ChildExit). What went wrong stands in the last line of stderr.
"""

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from clm.artefacts.job_files import PROGRESS, ChildExit, epoch_line, read_job
from clm.artefacts.result_files import write_result
from clm.domain.job import EpochReport
from clm.errors import TrainingError
from clm.training.process import become_disposable, leave, loading, out_of_memory


def main(arguments: Sequence[str]) -> ChildExit:
    """Train the job in the directory named first and return how it ended."""
    directory = Path(arguments[0])
    try:
        become_disposable(int(arguments[1]) if len(arguments) > 1 else None)
        _train(directory)
    except TrainingError as error:
        return _end(ChildExit[error.code], error.message)
    except (MemoryError, RuntimeError, OSError) as error:
        if not (message := out_of_memory(error)):
            raise
        return _end(ChildExit.CHILD_OOM, message)
    return ChildExit.DONE


def _train(directory: Path) -> None:
    # Imported here, after the tie to the parent: torch alone takes seconds in which the parent may die.
    with loading():
        from clm.training.figures import figures_of
        from clm.training.logistic import score_folds
        from clm.training.run import train_job

    job, arrays = read_job(directory)
    with (directory / PROGRESS).open("wb") as progress:

        def tell(report: EpochReport) -> None:
            progress.write(epoch_line(report))
            progress.flush()

        result = train_job(job, arrays, tell)
    notes = {**result.notes, "logistic_folds": score_folds(arrays)}
    write_result(directory, replace(result, notes=notes, figures=figures_of(arrays, result)))


def _end(code: ChildExit, message: str) -> ChildExit:
    sys.stderr.write(message + "\n")
    return code


if __name__ == "__main__":
    leave(main(sys.argv[1:]))
