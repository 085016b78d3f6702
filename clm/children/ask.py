"""Ask a question of a child process: start it, follow it, end it, and return its checked answer.

Every way in which this can end has one form, whatever the question:

    the answer                      the child ended with code 0, and its answer passed the check
    Interrupted                     `stop` was set, before or after the child got SIGTERM
    TrainingError
      CHILD_FAILED                  it could not be started, crashed, or ended with a code without a meaning
      CHILD_TIMEOUT                 wall time, silence, or processor time (SIGXCPU)
      CHILD_OOM                     the kernel killed it for memory, or refused it memory
      CHILD_KILLED                  another signal from outside
      RESULT_INVALID                it ended with code 0, but its answer or its progress cannot be used
      a name of ChildExit           it reported the reason itself
"""

import os
import re
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import BinaryIO, Generic, Protocol, TypeVar

import clm
from clm.artefacts.files import translated
from clm.children.process import Child, cgroup_oom_kills, last_words, threads_environment
from clm.clock import SystemClock
from clm.errors import Interrupted, TrainingError
from clm.ports import Clock, StopSignal
from clm.questions.question import ChildExit, Files, Question, read_answer, write_question

A = TypeVar("A")

SIGNAL_GRACE_S = 1.0
"""How long a parent waits for its own signal after its child ended by SIGTERM: a service manager that stops
the unit signals both, in either order."""
_MEMORY_REFUSED = re.compile(r"MemoryError|\[enforce fail a")
"""Python's and torch's words; a process without memory may fail to print the rest of its exception."""
_MORE_MEMORY = "raise the unit's MemoryMax or lower CLM_DATA__MAX_ROWS"
_CRASHES = {signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGILL, signal.SIGFPE, signal.SIGSYS}
"""Signals that a process causes itself; any other one was sent."""


class Progress(Protocol):
    """What a child reports while it works."""

    def advance(self) -> bool:
        """Pass on what is new since the last call, and return whether anything is.

        Raises:
            TrainingError: RESULT_INVALID.
        """
        ...

    def where(self) -> str:
        """Return how far the child came, for messages: "after epoch 3 of 20", or ""."""
        ...


class NoProgress:
    """A question without progress reports."""

    def advance(self) -> bool:
        """Return that there is nothing new."""
        return False

    def where(self) -> str:
        """Return nothing."""
        return ""


class SubprocessAsker:
    """Asks with `python -m clm.training NAME DIRECTORY PARENT_PID`, each question in a process of its own."""

    def __init__(
        self,
        *,
        python: Path | None = None,
        environment: Mapping[str, str] | None = None,
        grace_s: float = 10.0,
        poll_s: float = 0.05,
        clock: Clock | None = None,
        oom_kills: Callable[[], int | None] = cgroup_oom_kills,
    ) -> None:
        """Keep what is needed to start children.

        `environment` is what children inherit in addition to the thread counts; `grace_s` are the seconds
        between SIGTERM and SIGKILL; `oom_kills` counts the processes that the kernel killed for memory.
        """
        self.python = python or Path(sys.executable)
        self.environment = dict(environment or {"PATH": os.defpath})
        self.grace_s = grace_s
        self.poll_s = poll_s
        self.clock = clock or SystemClock()
        self.oom_kills = oom_kills

    def ask(
        self, question: Question[A], directory: Path, stop: StopSignal, progress: Progress | None = None
    ) -> A:
        """Return the checked answer; the child is gone however this ends.

        Raises:
            TrainingError: see above.
            ArtefactError: the question cannot be written.
            Interrupted: TRAINING_INTERRUPTED, `stop` was set.
        """
        write_question(question, directory)
        with self._started(question, directory, progress or NoProgress()) as under_way:
            return under_way.followed(stop)

    def ask_all(
        self, questions: Sequence[tuple[Question[A], Path]], stop: StopSignal, *, at_once: int
    ) -> tuple[A, ...]:
        """Return the answers in the order of the questions, with up to `at_once` children at a time.

        Each question needs a directory of its own. The first failure ends all children.

        Raises:
            TrainingError, ArtefactError, Interrupted: as `ask`.
        """
        waiting = list(enumerate(questions))
        under_way: dict[int, _UnderWay[A]] = {}
        answers: dict[int, A] = {}
        with ExitStack() as started:
            while waiting or under_way:
                while waiting and len(under_way) < at_once:
                    number, (question, directory) = waiting.pop(0)
                    write_question(question, directory)
                    under_way[number] = started.enter_context(
                        self._started(question, directory, NoProgress())
                    )
                stop.wait(self.poll_s)
                for number, one in list(under_way.items()):
                    if one.has_ended():
                        answers[number] = under_way.pop(number).answer(stop)
                    else:
                        one.require_time(stop)
        return tuple(answers[number] for number in range(len(questions)))

    @contextmanager
    def prepared(self, name: str, directory: Path) -> Iterator["Prepared"]:
        """Start a child that loads its libraries while its question is not known yet; one thread.

        Raises:
            TrainingError: CHILD_FAILED, it cannot be started.
        """
        child = self._start(name, directory, threads=1)
        try:
            yield Prepared(self, child, directory)
        finally:
            child.end(0.0, self.clock)

    @contextmanager
    def _started(
        self, question: Question[A], directory: Path, progress: Progress
    ) -> Iterator["_UnderWay[A]"]:
        oom_kills = self.oom_kills()
        child = self._start(question.name, directory, question.limits.threads)
        try:
            yield _UnderWay(self, question, directory, child, progress, oom_kills)
        finally:
            child.end(self.grace_s, self.clock)

    def _start(self, name: str, directory: Path, threads: int) -> Child:
        files = Files(directory=directory, name=name)
        environment = {
            **self.environment,
            **threads_environment(threads),
            "PYTHONPATH": str(Path(clm.__file__).parents[1]),
            # Without it a GPU's products may differ from run to run; a CPU does not read it.
            "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
        }
        # The parent's pid shows the child whether its parent died before the child could tie itself to it.
        command = [str(self.python), "-P", "-m", "clm.training", name, str(directory), str(os.getpid())]
        with (
            translated(f"cannot prepare {directory}"),
            _new_log(files.stdout) as stdout,
            _new_log(files.stderr) as stderr,
        ):
            try:
                return Child(
                    command, environment=environment, directory=directory, stdout=stdout, stderr=stderr
                )
            except OSError as exc:
                raise TrainingError(
                    "CHILD_FAILED",
                    f"{self.python} cannot be started: {exc.strerror}; set CLM_TRAINING__PYTHON",
                ) from exc


def _new_log(path: Path) -> BinaryIO:
    """Open an empty log for appending: several processes may write to it, each through its own opening."""
    path.unlink(missing_ok=True)
    return path.open("ab")


class Prepared:
    """A child that waits for its question."""

    def __init__(self, asker: SubprocessAsker, child: Child, directory: Path) -> None:
        self._asker = asker
        self._child = child
        self._directory = directory

    def ask(self, question: Question[A], stop: StopSignal) -> A:
        """Return the checked answer; the time runs from now on.

        Raises:
            TrainingError, ArtefactError, Interrupted: as `SubprocessAsker.ask`.
        """
        write_question(question, self._directory)
        oom_kills = self._asker.oom_kills()
        under_way = _UnderWay(self._asker, question, self._directory, self._child, NoProgress(), oom_kills)
        return under_way.followed(stop)


class _UnderWay(Generic[A]):
    """One question while its child works."""

    def __init__(
        self,
        asker: SubprocessAsker,
        question: Question[A],
        directory: Path,
        child: Child,
        progress: Progress,
        oom_kills: int | None,
    ) -> None:
        self._asker = asker
        self._question = question
        self._files = Files(directory=directory, name=question.name)
        self._child = child
        self._progress = progress
        self._oom_kills = oom_kills
        self._began = self._heard = asker.clock.monotonic()

    def followed(self, stop: StopSignal) -> A:
        """Wait for the child's end and return its checked answer."""
        while not self.has_ended():
            stop.wait(self._asker.poll_s)
            self.require_time(stop)
        return self.answer(stop)

    def has_ended(self) -> bool:
        """Return whether the child ended by itself, after passing on its progress."""
        if self._progress.advance():
            self._heard = self._asker.clock.monotonic()
        return self._child.has_ended()

    def require_time(self, stop: StopSignal) -> None:
        """Return while the child may go on.

        Raises:
            Interrupted: TRAINING_INTERRUPTED, `stop` was set.
            TrainingError: CHILD_TIMEOUT.
        """
        if stop.is_set():
            raise self._interrupted()
        limits, now = self._question.limits, self._asker.clock.monotonic()
        if now - self._began >= limits.wall_s:
            raise self._timeout(f"after {limits.wall_s:g} s", self._question.advice)
        if limits.silence_s and now - self._heard >= limits.silence_s:
            raise self._timeout(
                f"after {limits.silence_s:g} s without progress", "check whether the machine is overloaded"
            )

    def answer(self, stop: StopSignal) -> A:
        """Return the checked answer of a child that ended by itself.

        Raises:
            TrainingError, Interrupted: see the module.
        """
        code = self._child.end(0.0, self._asker.clock)
        self._progress.advance()
        if code and (stop.is_set() or (code == -signal.SIGTERM and stop.wait(SIGNAL_GRACE_S))):
            raise self._interrupted()
        if code:
            raise self._failure(code)
        return read_answer(self._question, self._files.directory)

    def _interrupted(self) -> Interrupted:
        return Interrupted(
            "TRAINING_INTERRUPTED",
            f"{self._question.subject} was stopped{self._where()}: the daemon is to stop",
        )

    def _timeout(self, limit: str, advice: str) -> TrainingError:
        return TrainingError(
            "CHILD_TIMEOUT", f"{self._question.subject} was ended {limit}{self._where(', ')}; {advice}"
        )

    def _where(self, before: str = " ") -> str:
        return f"{before}{where}" if (where := self._progress.where()) else ""

    def _failure(self, code: int) -> TrainingError:
        """Return the error for the exit code of a child that failed."""
        subject, where = self._question.subject, self._where()
        words = last_words(self._files.stderr) or "it left no message"
        if code in set(ChildExit):
            return TrainingError(ChildExit(code).name, f"{subject} failed{where}: {words}")
        if code >= 0:
            if _MEMORY_REFUSED.search(words):
                return TrainingError(
                    "CHILD_OOM", f"{subject} ran out of memory{where}: {words}; {_MORE_MEMORY}"
                )
            return TrainingError("CHILD_FAILED", f"{subject} failed with exit code {code}{where}: {words}")
        number = signal.Signals(-code)
        name = f"{number.name} (signal {-code})"
        if number is signal.SIGXCPU:
            limit = f"after {self._question.limits.cpu_s:g} s of processor time"
            return self._timeout(limit, "raise CLM_LIMITS__CPU_S or lower CLM_TRAINING__EPOCHS")
        if number in _CRASHES:
            return TrainingError("CHILD_FAILED", f"{subject} crashed by {name}{where}: {words}")
        if number is signal.SIGKILL and self._asker.oom_kills() != self._oom_kills:
            return TrainingError(
                "CHILD_OOM",
                f"{subject} was killed for memory{where}; {_MORE_MEMORY}",
            )
        return TrainingError(
            "CHILD_KILLED", f"{subject} was killed by {name}{self._where(', ')}; it can be started again"
        )
