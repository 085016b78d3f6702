"""Share trainings out among this process and helpers, each claiming the next item that is free.

Processes have one thread each: a second thread speeds up one training by less than a second training
gains. A process does item after item, so that it loads torch once; this process works too instead of
waiting. An item depends on its own inputs alone: the process that does it, and what runs at the same time,
change no bit.
"""

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from clm.artefacts.records import decode_line, encode_line
from clm.domain.job import EpochReport
from clm.errors import TrainingError
from clm.questions.question import ChildExit
from clm.questions.shares import claim, progress_of
from clm.store.memory import available_bytes
from clm.training.process import end_as

_POLL_S = 0.05
_GRACE_S = 2.0
_STATM = Path("/proc/self/statm")

OnEpoch = Callable[[EpochReport], None]
Take = Callable[[int, OnEpoch], None]
"""Does an item and writes its answer; it reports every epoch."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shared:
    """Items 0 to `count` - 1 of the question `name` in `directory`."""

    name: str
    directory: Path
    count: int


def share(shared: Shared, take: Take, on_epoch: OnEpoch, *, at_once: int) -> None:
    """Do all items, `at_once` at a time; no process is left behind.

    `on_epoch` gets every epoch of every item. If a helper is killed, or fails with a code without a meaning,
    this process ends in the same way, so that its parent sees the reason.

    Raises:
        TrainingError: a helper failed with a name of ChildExit.
    """
    with _helpers(shared, at_once - 1) as helpers:
        news = _News(shared, on_epoch)

        def report(epoch: EpochReport) -> None:
            on_epoch(epoch)
            _require_well(helpers)
            news.pass_on()

        _take_all(shared, lambda number: take(number, report))
        while any(helper.poll() is None for helper in helpers):
            _require_well(helpers)
            news.pass_on()
            time.sleep(_POLL_S)
        _require_well(helpers)
        news.pass_on()


def help_with(shared: Shared, take: Take) -> None:
    """Do items until all are claimed, as a helper: epochs go to the progress files."""

    def reporting(number: int) -> OnEpoch:
        def report(epoch: EpochReport) -> None:
            with progress_of(shared.directory, number).open("ab") as progress:
                progress.write(encode_line(epoch))

        return report

    _take_all(shared, lambda number: take(number, reporting(number)))


def processes_at_once(wanted: int, threads: int, n_items: int) -> int:
    """Return how many items are done at a time.

    0 wanted is as many as this process may use cores; never more than the memory that is free holds, if each
    takes what this process has taken.
    """
    at_once = wanted or len(os.sched_getaffinity(0)) // max(1, threads)
    free_bytes, own_bytes = available_bytes(), _own_bytes()
    if free_bytes is not None and own_bytes:
        at_once = min(at_once, 1 + free_bytes // own_bytes)
    return max(1, min(at_once, n_items))


def _own_bytes() -> int:
    try:
        return int(_STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return 0


def _take_all(shared: Shared, take: Callable[[int], None]) -> None:
    while (number := claim(shared.directory, shared.count)) is not None:
        take(number)


@contextmanager
def _helpers(shared: Shared, count: int) -> Iterator[Sequence[subprocess.Popen[bytes]]]:
    """Start so many processes that claim items too, and end them however this ends."""
    # They inherit the number of threads, the scheduling class, the limits, the logs and the process group,
    # which the parent of this process ends as a whole.
    command = [
        sys.executable, "-P", "-m", "clm.training", shared.name, str(shared.directory), str(os.getpid())
    ]  # fmt: skip
    helpers: list[subprocess.Popen[bytes]] = []
    try:
        for _ in range(count):
            # One by one, so that the earlier ones are ended if the next cannot be started.
            helpers.append(subprocess.Popen(command, stdin=subprocess.DEVNULL))  # noqa: PERF401
        yield helpers
    finally:
        for helper in helpers:
            helper.terminate()
        for helper in helpers:
            with contextlib.suppress(subprocess.TimeoutExpired):
                helper.wait(_GRACE_S)
            helper.kill()
            helper.wait()


def _require_well(helpers: Sequence[subprocess.Popen[bytes]]) -> None:
    """Return while no helper has failed.

    Raises:
        TrainingError: one ended with a code of ours; its message is in the log.
    """
    for code in filter(None, (helper.poll() for helper in helpers)):
        if code in set(ChildExit):
            raise TrainingError(ChildExit(code).name, "a process that helped with the training failed")
        for helper in helpers:
            helper.kill()
        end_as(code)


class _News:
    """Passes on the epochs of the helpers while they train."""

    def __init__(self, shared: Shared, on_epoch: OnEpoch) -> None:
        self._shared, self._on_epoch = shared, on_epoch
        self._reported = [0] * shared.count

    def pass_on(self) -> None:
        """Report every epoch that a helper completed since the last call."""
        for number, reported in enumerate(self._reported):
            path = progress_of(self._shared.directory, number)
            lines = path.read_bytes().split(b"\n")[:-1] if path.exists() else []
            for line in lines[reported:]:
                self._on_epoch(decode_line(EpochReport, line))
            self._reported[number] = max(reported, len(lines))
