"""One driver for every question: however a child ends, the parent gets its answer or one clear error."""

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from clm.artefacts.records import read_record
from clm.children.ask import SubprocessAsker
from clm.errors import ArtefactError, Interrupted, TrainingError
from clm.questions.question import ChildExit, Files, Limits, Question, read_answer
from clm.training.__main__ import HANDLERS
from tests.children.processes import children, eventually, is_running, script
from tests.children.questions import QUESTIONS, Place, keep_answer


@dataclass(frozen=True)
class Asked:
    """One question, and where it is asked."""

    question: Question[Any]
    directory: Path
    root: Path

    @property
    def files(self) -> Files:
        return Files(directory=self.directory, name=self.question.name)

    def limited(self, **limits: float) -> "Asked":
        return replace(self, question=replace(self.question, limits=replace(self.question.limits, **limits)))

    def answered_by(
        self,
        body: str | None = None,
        *,
        stop: threading.Event | None = None,
        oom_kills: Callable[[], int | None] = lambda: None,
        grace_s: float = 0.3,
    ) -> object:
        """Ask a program in the place of Python, or the real child."""
        python = script(self.root, body) if body else None
        asker = SubprocessAsker(python=python, grace_s=grace_s, oom_kills=oom_kills)
        return asker.ask(self.question, self.directory, stop or threading.Event())

    def fails(self, body: str, **options: Any) -> TrainingError:
        with pytest.raises(TrainingError) as caught:
            self.answered_by(body, **options)
        return caught.value


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    return Place(tmp_path_factory.mktemp("questions"))


@pytest.fixture(params=QUESTIONS)
def asked(request: pytest.FixtureRequest, place: Place, tmp_path: Path) -> Asked:
    """Each question in turn."""
    directory = tmp_path / "question"
    return Asked(question=QUESTIONS[request.param](place, directory), directory=directory, root=tmp_path)


@pytest.fixture(autouse=True)
def nothing_left_behind() -> Iterator[None]:
    """However a question ends, no child and no zombie of ours remains."""
    before = children()
    yield
    assert children() - before == set()


def test_every_question_has_a_handler_and_every_handler_a_question() -> None:
    """`members` and `trials` are asked by a training of its helpers, not by the daemon."""
    shared = {"members", "trials"}
    assert set(HANDLERS) == {*QUESTIONS, *shared}
    names = {question.partition("_")[0] for question in QUESTIONS}
    modules = {path.stem.partition("_")[0] for path in Path("clm/questions").glob("*.py")}
    assert modules - {"", "question", "shares", *shared} == names


@pytest.mark.slow
def test_the_real_child_answers_and_a_copy_of_its_answer_is_believed(asked: Asked) -> None:
    """The whole way; and the control of all tests below: what they refuse is not the copying."""
    answer = asked.answered_by()
    kept = asked.root / "kept"
    keep_answer(asked.question, answer, asked.directory, kept)
    copy = asked.answered_by(f"cp {kept}/* $5")
    assert type(copy) is asked.question.answer
    assert read_record(Limits, asked.files.limits) == asked.question.limits


def test_e1_a_killed_child_is_reported_with_its_signal(asked: Asked) -> None:
    """The kill says nothing about the question: it can be asked again."""
    error = asked.fails("kill -9 $$")
    assert (error.code, error.exit_code) == ("CHILD_KILLED", 70)
    assert f"{asked.question.subject} was killed by SIGKILL (signal 9)" in error.message


def test_e2_a_child_killed_for_memory_is_told_apart_by_the_kernels_counter(asked: Asked) -> None:
    """The SIGKILL looks like any other, but a retry would end in the same way."""
    counter = asked.root / "oom_kill"
    counter.write_text("4")
    error = asked.fails(f"echo 5 > {counter}; kill -9 $$", oom_kills=lambda: int(counter.read_text()))
    assert error.code == "CHILD_OOM"
    assert "MemoryMax" in error.message


HUNGRY = """\
import sys
from clm.training import __main__ as child
whole = child.read_inputs
def hungry(*arguments):
    child.limit(cpu_s=0, memory_mb=600)
    return bytearray(10**9) and whole(*arguments)
child.read_inputs = hungry
sys.exit(child.main(sys.argv[1:]))
"""


def test_e3_memory_that_is_refused_is_reported_with_peak_and_limit(asked: Asked) -> None:
    """Under RLIMIT_DATA nothing is killed: an allocation of the real child fails."""
    (asked.root / "hungry.py").write_text(HUNGRY)
    error = asked.fails(f"exec {sys.executable} {asked.root}/hungry.py $4 $5 $6")
    assert error.code == "CHILD_OOM"
    assert "out of memory (peak" in error.message
    assert "MiB of data" in error.message


def test_e4_a_child_that_hangs_is_ended_with_all_it_started(asked: Asked) -> None:
    """The child and its own child ignore SIGTERM: their process group gets SIGKILL."""
    body = f"trap '' TERM; sleep 300 & echo $! > {asked.root}/grandchild; while :; do sleep 0.1; done"
    error = asked.limited(wall_s=0.5).fails(body)
    assert error.code == "CHILD_TIMEOUT"
    assert "ended after 0.5 s" in error.message
    assert error.message.endswith(" ".join(asked.question.advice.split()))
    grandchild = int((asked.root / "grandchild").read_text())
    assert eventually(lambda: not is_running(grandchild))


def test_e4_processor_time_is_limited_too(asked: Asked) -> None:
    """Wall time says little where neighbours take the cores: SIGXCPU is a limit, not a crash."""
    error = asked.limited(cpu_s=7.0).fails("kill -XCPU $$")
    assert error.code == "CHILD_TIMEOUT"
    assert "after 7 s of processor time" in error.message


def test_e5_a_child_without_progress_is_ended(asked: Asked) -> None:
    """Only where the question limits silence."""
    error = asked.limited(silence_s=0.4).fails("exec sleep 60")
    assert error.code == "CHILD_TIMEOUT"
    assert "0.4 s without progress" in error.message


def test_e6_a_flood_of_output_stops_no_child(asked: Asked) -> None:
    """A pipe of 64 KiB that is not read would stop it for ever."""
    error = asked.fails("head -c 3000000 /dev/zero | tee /dev/stderr; echo done >&2; exit 1")
    assert error.code == "CHILD_FAILED"
    assert error.message.endswith("done")
    assert asked.files.stdout.stat().st_size == 3_000_000


def test_e7_the_real_child_dies_with_a_killed_parent(asked: Asked, place: Place) -> None:
    """kill -9 leaves the parent no time to end its child."""
    code = (
        "import sys, time; from pathlib import Path; from clm.children.ask import SubprocessAsker\n"
        f"with SubprocessAsker().prepared({asked.question.name!r}, Path(sys.argv[1])): time.sleep(60)"
    )
    asked.directory.mkdir()
    parent = subprocess.Popen(
        [sys.executable, "-c", code, str(asked.directory)], cwd=Path(__file__).parents[2]
    )
    try:
        assert eventually(lambda: bool(children(parent.pid)), 60)
        (child,) = children(parent.pid)
        assert is_running(child)
    finally:
        parent.kill()
        parent.wait()
    assert eventually(lambda: not is_running(child))


@pytest.mark.parametrize("name", ["SIGSEGV", "SIGABRT"])
def test_e10_a_crash_is_reported_with_its_signal_and_its_last_words(asked: Asked, name: str) -> None:
    """No process sent it: the fault is in the child."""
    error = asked.fails(f"ulimit -c 0; echo 'terminate called' >&2; kill -{name[3:]} $$")
    assert error.code == "CHILD_FAILED"
    assert f"crashed by {name}" in error.message
    assert "terminate called" in error.message


def test_e10_last_words_are_short_and_printable(asked: Asked) -> None:
    """Twenty lines and eight KiB; the message ends up in events and reports."""
    error = asked.fails("for i in $(seq 500); do echo line $i >&2; done; printf '\\e[31mred' >&2; exit 1")
    assert error.message.endswith("line 499 line 500 ?[31mred")
    assert "line 481" not in error.message
    error = asked.fails("head -c 1000000 /dev/zero | tr '\\0' x >&2; exit 1")
    assert 8000 < len(error.message) < 9000


@pytest.mark.parametrize("code", [code for code in ChildExit if code])
def test_a_child_that_knows_why_it_failed_is_believed(asked: Asked, code: ChildExit) -> None:
    """Its exit code is the name of the error, its last line the reason."""
    error = asked.fails(f"echo because >&2; exit {code.value}")
    assert error.code == code.name
    assert error.message.endswith("failed: because") or "because" in error.message


@pytest.mark.parametrize("words", ["MemoryError", "RuntimeError: [enforce fail a"])
def test_a_child_without_memory_for_its_own_report_is_recognised(asked: Asked, words: str) -> None:
    """Reporting an error takes memory too; what was printed of it decides."""
    error = asked.fails(f"echo '{words}' >&2; exit 1")
    assert error.code == "CHILD_OOM"
    assert "MemoryMax" in error.message


def test_a_silent_death_says_so(asked: Asked) -> None:
    """An exit code without a meaning and without a word."""
    error = asked.fails("exit 3")
    assert error.code == "CHILD_FAILED"
    assert "exit code 3" in error.message
    assert error.message.endswith("it left no message")


def test_e13_a_child_that_ends_well_without_an_answer_is_refused(asked: Asked) -> None:
    """Exit code 0 is a claim; and an earlier child's answer is not this one's."""
    asked.directory.mkdir()
    asked.files.answer.write_text("{}")
    error = asked.fails("exit 0")
    assert error.code == "RESULT_INVALID"
    assert "No such file" in error.message


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"extra": NaN}'])
def test_e13_an_answer_that_is_no_such_record_is_refused(asked: Asked, text: str) -> None:
    """The answer is read by the declared types."""
    error = asked.fails(f"printf %s '{text}' > {asked.files.answer}")
    assert error.code == "RESULT_INVALID"
    assert str(asked.directory) in error.message


def test_e13_the_check_of_the_question_has_the_last_word(asked: Asked) -> None:
    """A record of the right types may still be a lie."""

    def refuse(_answer: object) -> object:
        raise ValueError("it cannot be so")

    kept = asked.root / "kept"
    kept.mkdir()
    lying = replace(asked, question=replace(asked.question, answer=Limits, check=refuse))
    error = lying.fails(f"cp {asked.files.limits} {asked.files.answer}")
    assert error.code == "RESULT_INVALID"
    assert error.message.endswith("it cannot be so")


def test_e11_a_stop_ends_the_child_at_once(asked: Asked) -> None:
    """A service manager kills what does not end in time."""
    stop = threading.Event()
    threading.Timer(0.3, stop.set).start()
    began = time.monotonic()
    with pytest.raises(Interrupted) as caught:
        asked.answered_by("exec sleep 60", stop=stop)
    assert caught.value.code == "TRAINING_INTERRUPTED"
    assert caught.value.transient
    assert time.monotonic() - began < 5


def test_e11_a_child_that_got_the_signal_before_its_parent_counts_as_stopped(asked: Asked) -> None:
    """A service manager signals the whole group, in any order; the task then goes back to the queue."""
    stop, gone = threading.Event(), asked.root / "gone"

    def signalled_later() -> None:
        eventually(gone.exists)
        time.sleep(0.3)
        stop.set()

    threading.Thread(target=signalled_later, daemon=True).start()
    with pytest.raises(Interrupted):
        asked.answered_by(f"touch {gone}; kill -TERM $$", stop=stop)


def test_e11_a_child_that_fails_while_its_parent_is_being_stopped_counts_as_stopped(asked: Asked) -> None:
    """Its parent's signal came between the last look at it and the child's end."""

    class SetLate(threading.Event):
        """Set at the second look; a wait returns after the child is gone."""

        looks = 0

        def wait(self, timeout: float | None = None) -> bool:
            return eventually(lambda: not any(map(is_running, children())))

        def is_set(self) -> bool:
            self.looks += 1
            return self.looks > 1

    with pytest.raises(Interrupted):
        asked.answered_by("sleep 0.5; exit 3", stop=SetLate())


def test_a_child_that_somebody_else_sent_sigterm_was_killed(asked: Asked) -> None:
    """The parent is not to stop: nothing is put back to the queue for it."""
    error = asked.fails("kill -TERM $$")
    assert error.code == "CHILD_KILLED"
    assert "SIGTERM" in error.message


def test_a_python_that_cannot_be_started_is_named(asked: Asked) -> None:
    """A mistyped CLM_TRAINING__PYTHON is one line."""
    asker = SubprocessAsker(python=asked.root / "nowhere/python")
    with pytest.raises(
        TrainingError, match=r"nowhere/python cannot be started.*CLM_TRAINING__PYTHON"
    ) as caught:
        asker.ask(asked.question, asked.directory, threading.Event())
    assert caught.value.code == "CHILD_FAILED"


def test_a_question_that_cannot_be_written_starts_no_child(asked: Asked) -> None:
    """A full or foreign disk is the operator's, one line."""
    (asked.root / "file").touch()
    with pytest.raises(ArtefactError, match="cannot prepare"):
        SubprocessAsker().ask(asked.question, asked.root / "file" / "question", threading.Event())


def test_e12_threads_are_set_before_the_libraries_are_loaded(asked: Asked) -> None:
    """They read the variables once; and nothing else of the parent's environment is handed down."""
    asked.limited(threads=3).fails(f"env > {asked.root}/env; exit 3")
    names = dict(line.split("=", 1) for line in (asked.root / "env").read_text().splitlines())
    assert names["OMP_NUM_THREADS"] == names["MKL_NUM_THREADS"] == names["OPENBLAS_NUM_THREADS"] == "3"
    ours = {"PATH", "PYTHONPATH", "GOMP_SPINCOUNT", "CUBLAS_WORKSPACE_CONFIG"}
    assert set(names) - {"PWD", "SHLVL", "_", "OLDPWD"} - ours == {
        "OMP_NUM_THREADS",
        "MKL_NUM_THREADS",
        "OPENBLAS_NUM_THREADS",
    }


def test_e8_many_questions_leave_no_descriptor(asked: Asked) -> None:
    """A daemon runs for years."""
    asked.fails("exit 3")
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(5):
        asked.fails("exit 3")
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_a_real_child_that_is_killed_leaves_what_it_had_already_answered(asked: Asked) -> None:
    """Partial answers of `measure` and `tune` are worth something; a whole one of any question is."""
    body = f"cp {asked.files.limits} {asked.files.answer}; kill -9 $$"
    kept = replace(asked, question=replace(asked.question, answer=Limits, check=lambda answer: answer))
    assert kept.fails(body).code == "CHILD_KILLED"
    assert read_answer(kept.question, asked.directory) == asked.question.limits


def several(asked: Asked, count: int) -> list[tuple[Question[Any], Path]]:
    """The same question in directories of their own; its answer is its limits."""
    question = replace(asked.question, answer=Limits, check=lambda answer: answer)
    return [
        (replace(question, limits=replace(question.limits, cpu_s=float(n))), asked.root / f"question-{n}")
        for n in range(count)
    ]


@pytest.mark.parametrize("at_once", [1, 2, 9])
def test_several_questions_are_answered_in_their_order(asked: Asked, at_once: int) -> None:
    """Whichever child ends first; and never more children than allowed."""
    running = asked.root / "running"
    running.mkdir()
    body = (
        f"touch {running}/$$; ls {running} | wc -l >> {asked.root}/counts\n"
        f"case $5 in *-0) sleep 0.5;; esac; cp $5/$4.limits.json $5/$4.answer.json; rm {running}/$$"
    )
    asker = SubprocessAsker(python=script(asked.root, body))
    answers = asker.ask_all(several(asked, 4), threading.Event(), at_once=at_once)
    assert [answer.cpu_s for answer in answers] == [0.0, 1.0, 2.0, 3.0]
    counts = [int(count) for count in (asked.root / "counts").read_text().split()]
    assert max(counts) <= at_once


def test_one_failure_among_several_ends_them_all(asked: Asked) -> None:
    """A result that needs all of them is lost already."""
    body = "case $5 in *-1) exit 3;; esac; exec sleep 60"
    asker = SubprocessAsker(python=script(asked.root, body), grace_s=0.3)
    with pytest.raises(TrainingError, match="exit code 3"):
        asker.ask_all(several(asked, 3), threading.Event(), at_once=3)


def test_a_child_started_by_hand_needs_its_question_at_once(asked: Asked) -> None:
    """With a parent it waits for it; a person would wait for ever."""
    command = [sys.executable, "-m", "clm.training", asked.question.name, str(asked.root)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=Path(__file__).parents[2])
    assert done.returncode == ChildExit.JOB_UNREADABLE
    assert f"holds no question '{asked.question.name}'" in done.stderr


def test_another_question_than_the_known_ones_is_refused(tmp_path: Path) -> None:
    """The catalogue is the list of what a child can do."""
    command = [sys.executable, "-m", "clm.training", "sing", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=Path(__file__).parents[2])
    assert done.returncode == ChildExit.JOB_UNREADABLE
    assert "there is no question 'sing'" in done.stderr


def test_e14_the_parents_side_never_imports_torch() -> None:
    """The idle daemon takes less memory than torch alone."""
    code = (
        "import sys, clm.children.trainer\n"
        "print(sorted({'torch', 'sklearn', 'scipy', 'optuna'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("name", "absent"),
    [
        ("floor", {"torch", "optuna"}),
        ("train", {"optuna"}),
        ("load_check", {"optuna", "sklearn"}),
        ("score", {"optuna"}),
    ],
)
def test_a_child_imports_what_its_question_needs(name: str, absent: set[str]) -> None:
    """A second of loading is a second of the engine's core."""
    code = (
        "import sys; from importlib import import_module; from clm.training.__main__ import HANDLERS\n"
        f"import_module(HANDLERS[{name!r}]); print(*sorted(set(sys.modules) & {absent!r}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
