"""The training child: `python -m clm.training.worker JOBDIR [PARENT_PID]`.

Reads job.json and dataset.npz, leaves progress.jsonl, model.pth, predictions.npz and result.json, and
says by its exit code how it ended (ChildExit). What went wrong stands in the last line of stderr.
"""

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from clm.artefacts.job_files import PROGRESS, ChildExit, epoch_line, read_job, resumed_line
from clm.artefacts.result_files import write_result
from clm.errors import TrainingError
from clm.training.process import become_disposable, keep_freed_memory, leave, limit, loading, out_of_memory


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
    keep_freed_memory()
    # Imported here, after the tie to the parent: torch alone takes seconds in which the parent may die.
    with loading():
        from clm.training.checkpoint import checkpoints_of
        from clm.training.device import device_of
        from clm.training.figures import figures_of
        from clm.training.logistic import score_folds
        from clm.training.run import train_job
        from clm.training.threads import with_threads

    job, arrays = read_job(directory)
    # A GPU's driver maps more than any budget for this machine's own memory.
    on_cpu = device_of(job.spec.device).type == "cpu"
    limit(cpu_s=job.cpu_s, memory_mb=job.memory_mb if on_cpu else 0)
    job, counted = with_threads(job)
    with (directory / PROGRESS).open("wb") as progress:

        def say(line: bytes) -> None:
            progress.write(line)
            progress.flush()

        checkpoints = checkpoints_of(job, arrays, lambda epoch: say(resumed_line(epoch)))
        result = train_job(job, arrays, lambda report: say(epoch_line(report)), checkpoints)
    notes = {**result.notes, **counted, "logistic_folds": score_folds(arrays)}
    write_result(directory, replace(result, notes=notes, figures=figures_of(arrays, result)))
    if checkpoints:
        checkpoints.clear()


def _end(code: ChildExit, message: str) -> ChildExit:
    sys.stderr.write(message + "\n")
    return code


if __name__ == "__main__":
    leave(main(sys.argv[1:]))
