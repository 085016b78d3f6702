"""The entry point of every child: `python -m clm.training NAME DIRECTORY [PARENT_PID]`.

It reads the question NAME from the directory, calls its handler, and writes the answer. The exit code states
how the child ended (ChildExit); the last line of standard error states why. Without PARENT_PID, a person
started it to repeat a question from its files.
"""

import sys
import time
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import get_type_hints

from clm.artefacts.records import RecordError, read_record
from clm.errors import TrainingError
from clm.questions.question import ChildExit, Files, Limits, read_inputs
from clm.training.process import become_disposable, keep_freed_memory, leave, limit, loading, out_of_memory
from clm.training.work import Work

HANDLERS: Mapping[str, str] = {
    "train": "clm.training.train",
    "members": "clm.training.members",
    "floor": "clm.training.floor",
    "load_check": "clm.training.load_check",
    "measure": "clm.training.measure",
    "tune": "clm.training.study",
    "trials": "clm.training.trials",
    "score": "clm.training.score",
}
"""The module of each question's handler, a function `answer`; a child imports only the one it needs."""

TRAINING = frozenset({"train", "members", "measure", "tune", "trials"})
"""Questions that train: their allocator keeps the memory that a step frees. The load check must not, because
it times predictions as the engine makes them."""
_POLL_S = 0.02


def main(arguments: Sequence[str]) -> ChildExit:
    """Answer the question and return the exit code."""
    name, directory = arguments[0], Path(arguments[1])
    parent_pid = int(arguments[2]) if len(arguments) > 2 else None
    try:
        # First of all: a parent that dies during the imports must not leave an orphan.
        become_disposable(parent_pid)
        _answer(name, directory, waits=parent_pid is not None)
    except TrainingError as error:
        # An unknown code is a bug: its traceback is worth more than a short line.
        if error.code not in ChildExit.__members__:
            raise
        return _end(ChildExit[error.code], error.message)
    except (MemoryError, RuntimeError, OSError) as error:
        if not (message := out_of_memory(error)):
            raise
        return _end(ChildExit.CHILD_OOM, message)
    return ChildExit.DONE


def _answer(name: str, directory: Path, *, waits: bool) -> None:
    if name not in HANDLERS:
        raise TrainingError("JOB_UNREADABLE", f"there is no question {name!r}; known: {', '.join(HANDLERS)}")
    if name in TRAINING:
        keep_freed_memory()
    # Load after the process is tied to its parent: torch takes seconds, and the parent may die meanwhile.
    with loading():
        handler = import_module(HANDLERS[name])
    files = Files(directory=directory, name=name)
    # The parent starts the child before it has written the inputs, so that imports overlap with its work.
    while waits and not files.inputs.exists():
        time.sleep(_POLL_S)
    try:
        limits = read_record(Limits, files.limits)
    except RecordError as exc:
        raise TrainingError("JOB_UNREADABLE", f"{directory} holds no question {name!r}: {exc}") from exc
    inputs = read_inputs(get_type_hints(handler.answer)["inputs"], directory, name)
    uses_gpu = getattr(handler, "uses_gpu", lambda _inputs: False)
    # The GPU driver maps more memory than any sensible limit for main memory.
    limit(cpu_s=limits.cpu_s, memory_mb=0 if uses_gpu(inputs) else limits.memory_mb)
    work = Work(files=files, parented=waits)
    if (found := handler.answer(inputs, work)) is not None:
        work.keep(found)


def _end(code: ChildExit, message: str) -> ChildExit:
    sys.stderr.write(message + "\n")
    return code


if __name__ == "__main__":
    leave(main(sys.argv[1:]))
