"""Several networks at once, with real processes: the same to the last bit, and none left behind."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from clm.domain.job import EpochReport
from clm.domain.sample import Floats
from clm.errors import Interrupted, TrainingError
from clm.questions.members import NAME, MemberAnswer, MembersJob, write_members
from clm.questions.question import Files, read_inputs
from clm.questions.shares import claim, read_item
from clm.questions.train import DATA as ARRAYS
from clm.questions.train import NAME as TRAIN
from clm.training import sharing
from clm.training.members import read_material, take_member, train_members
from clm.training.sharing import processes_at_once
from tests.builders import training_spec
from tests.children.processes import children, eventually, is_running
from tests.children.test_trainer import train
from tests.training import jobs

ENDLESS = training_spec(batch_size=32, epochs=1000, patience=1000, ensemble=2, processes=2)
DATA = jobs.dataset(n_windows=200)


def asked(directory: Path, **changes: object) -> MembersJob:
    """Three members on two hundred windows, asked for in an empty directory."""
    jobs.arrays(DATA, directory / "job")
    (directory / "members").mkdir()
    job = MembersJob(
        directory=directory / "members",
        data=directory / "job",
        spec=training_spec(**{"batch_size": 64, "epochs": 2, **changes}),
        seeds=(3, 5, 8),
        parts=("train", "test"),
    )
    write_members(job)
    return job


def member(job: MembersJob, number: int) -> Mapping[str, Floats]:
    return read_item(MemberAnswer, job.directory, number).p_by_part


def beside(job: MembersJob) -> int:
    """Let a process of its own take members, and return its exit code."""
    command = [sys.executable, "-P", "-m", "clm.training", NAME, str(job.directory), str(os.getpid())]
    return subprocess.run(command, timeout=100, check=False).returncode


def test_a_member_is_the_same_to_the_last_bit_whoever_trains_it(tmp_path: Path) -> None:
    """This process takes the first, another one the rest; then this one takes all, and after that another."""
    shared, alone, other = (asked(tmp_path / name) for name in ("shared", "alone", "other"))
    assert claim(shared.directory, 3) == 0
    assert beside(shared) == 0
    (shared.directory / "claim-0").unlink()
    take_member(shared, read_material(shared), 0, lambda _report: None)
    material = read_material(alone)
    for number in range(3):
        take_member(alone, material, number, lambda _report: None)
    assert beside(other) == 0
    for number in range(3):
        answers = [member(job, number) for job in (shared, alone, other)]
        assert {name: len(p_N) for name, p_N in answers[0].items()} == {
            "train": len(DATA.split.train),
            "test": len(DATA.split.test),
        }
        for answer in answers[1:]:
            np.testing.assert_array_equal(answer["train"], answers[0]["train"])
            np.testing.assert_array_equal(answer["test"], answers[0]["test"])
    first, second = (member(alone, number)["test"] for number in (0, 1))
    assert not np.array_equal(first, second), "another seed is another network"


@pytest.mark.slow
def test_an_ensemble_gives_the_same_file_however_many_train_at_once(tmp_path: Path) -> None:
    """The number of processes is the server's matter; the model is not to know."""
    spec = training_spec(batch_size=32, epochs=4, patience=4, ensemble=4)
    told: list[EpochReport] = []
    one = train(tmp_path / "one", DATA, spec=replace(spec, processes=1), on_epoch=told.append)
    two = train(tmp_path / "two", DATA, spec=replace(spec, processes=2))
    assert two.weights_hash == one.weights_hash
    assert [report.network for report in told] == [
        *(f"member {number} of 4" for number in range(1, 5) for _ in range(4)),
        *[""] * 4,
    ]
    assert one.epochs == tuple(told[-4:])
    assert not list((tmp_path / "two").glob("members-*")), "files of the members go when they are done"


def test_every_member_is_taken_once(tmp_path: Path) -> None:
    """Two that train the same one would leave another to nobody."""
    with ThreadPoolExecutor(8) as pool:
        taken = [pool.submit(claim, tmp_path, 60) for _ in range(80)]
    numbers = [future.result() for future in taken]
    assert sorted(number for number in numbers if number is not None) == list(range(60))
    assert numbers.count(None) == 20


def test_what_is_asked_for_survives_the_file(tmp_path: Path) -> None:
    """The other process knows nothing but what it reads."""
    job = asked(tmp_path)
    assert read_inputs(MembersJob, job.directory, NAME) == job
    Files(directory=job.directory, name=NAME).inputs.write_bytes(b"{}")
    with pytest.raises(TrainingError, match="holds no question 'members'"):
        read_inputs(MembersJob, job.directory, NAME)


@pytest.mark.parametrize(
    ("wanted", "threads", "networks", "cores", "at_once"),
    [
        (0, 1, 5, 2, 2),
        (0, 1, 5, 8, 5),
        (0, 2, 5, 2, 1),
        (0, 4, 5, 2, 1),
        (1, 1, 5, 8, 1),
        (3, 1, 5, 2, 3),
        (3, 1, 2, 8, 2),
    ],
)
def test_as_many_at_a_time_as_cores_unless_it_is_said(
    monkeypatch: pytest.MonkeyPatch, wanted: int, threads: int, networks: int, cores: int, at_once: int
) -> None:
    """Cores are those this process may use, not those of the machine: the engine may have the others."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: set(range(cores)))
    monkeypatch.setattr(sharing, "available_bytes", lambda: None)
    assert processes_at_once(wanted, threads, networks) == at_once


@pytest.mark.parametrize(("free_in_processes", "at_once"), [(0.5, 1), (1.5, 2), (2.5, 3), (9.0, 4)])
def test_no_more_at_a_time_than_the_memory_that_is_free_holds(
    monkeypatch: pytest.MonkeyPatch, free_in_processes: float, at_once: int
) -> None:
    """A helper takes what this process has taken; a machine that swaps trains nothing."""
    monkeypatch.setattr(sharing, "_own_bytes", lambda: 1000)
    monkeypatch.setattr(sharing, "available_bytes", lambda: int(free_in_processes * 1000))
    assert processes_at_once(4, 1, 4) == at_once


def test_a_failure_of_the_process_beside_ends_all_with_its_code(tmp_path: Path) -> None:
    """This one would train for hours, for nothing: the other member will never be there."""
    job, before = asked(tmp_path, epochs=1000, patience=1000, processes=2), children()
    material = read_material(job)
    (job.data / ARRAYS).unlink()
    with pytest.raises(TrainingError) as caught:
        train_members(job, material, lambda _report: None)
    assert caught.value.code == "JOB_UNREADABLE"
    assert not [pid for pid in children() if is_running(pid) and pid not in before]


def test_a_code_that_says_nothing_is_handed_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A traceback has its place in the log; the code has to be that of a failure."""
    broken = tmp_path / "python"
    broken.write_text("#!/bin/sh\nexit 3\n")
    broken.chmod(0o755)
    monkeypatch.setattr(sharing.sys, "executable", str(broken))
    job = asked(tmp_path, epochs=1000, patience=1000, processes=2)
    with pytest.raises(SystemExit) as caught:
        train_members(job, read_material(job), lambda _report: None)
    assert caught.value.code == 3


class Pair:
    """A training child and the process that it started, after both have reported an epoch."""

    def __init__(self) -> None:
        self.told: set[str] = set()
        self.pids: list[int] = []
        self.before = children()

    def seen(self, report: EpochReport) -> bool:
        """Return True once, when both train."""
        self.told.add(report.network)
        if self.pids or self.told != {"member 1 of 2", "member 2 of 2"}:
            return False
        (worker,) = children() - self.before
        (helper,) = children(worker)
        self.pids = [worker, helper]
        return True

    @property
    def gone(self) -> bool:
        return len(self.pids) == 2 and eventually(lambda: not any(map(is_running, self.pids)))


@pytest.mark.slow
@pytest.mark.parametrize("who", ["worker", "helper"])
def test_e1_kill_9_of_either_is_told_and_leaves_neither(tmp_path: Path, who: str) -> None:
    """An orphan would train for hours and take CPU time from the engine."""
    pair = Pair()

    def kill(report: EpochReport) -> None:
        if pair.seen(report):
            os.kill(pair.pids[who == "helper"], signal.SIGKILL)

    with pytest.raises(TrainingError, match=r"by SIGKILL \(signal 9\), after epoch \d+ of 1000 of member"):
        train(tmp_path / "job", DATA, spec=ENDLESS, on_epoch=kill)
    assert pair.gone


@pytest.mark.slow
def test_e2_a_helper_killed_for_memory_is_told_as_such(tmp_path: Path) -> None:
    """The kernel chooses one of the two; the operator has to hear of memory whichever it was."""
    pair, kills = Pair(), [0]

    def kill(report: EpochReport) -> None:
        if pair.seen(report):
            kills[0] += 1
            os.kill(pair.pids[1], signal.SIGKILL)

    with pytest.raises(TrainingError) as caught:
        train(tmp_path / "job", DATA, spec=ENDLESS, on_epoch=kill, oom_kills=lambda: kills[0])
    assert caught.value.code == "CHILD_OOM"
    assert pair.gone


@pytest.mark.slow
def test_e11_a_stop_ends_both(tmp_path: Path) -> None:
    """They are one process group, which the daemon ends as a whole."""
    pair, stop = Pair(), threading.Event()

    def ask(report: EpochReport) -> None:
        if pair.seen(report):
            stop.set()

    with pytest.raises(Interrupted):
        train(tmp_path / "job", DATA, spec=ENDLESS, on_epoch=ask, stop=stop)
    assert pair.gone


@pytest.mark.slow
def test_e7_both_die_with_a_killed_daemon(tmp_path: Path) -> None:
    """A killed daemon cannot notify its children, so each process is tied to its parent."""
    code = (
        "from pathlib import Path; from tests.training import test_members as t;"
        f"t.train(Path({str(tmp_path / 'job')!r}), t.DATA, spec=t.ENDLESS)"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], cwd=Path(__file__).parents[2])
    progress = Files(directory=tmp_path / "job", name=TRAIN).progress
    try:
        assert eventually(lambda: progress.exists() and b"member 2" in progress.read_bytes(), 90)
        (worker,) = children(parent.pid)
        (helper,) = children(worker)
    finally:
        parent.kill()
        parent.wait()
    assert eventually(lambda: not is_running(worker) and not is_running(helper))


def test_e9_a_loss_that_is_not_finite_keeps_its_code(tmp_path: Path) -> None:
    """Whichever process meets it first."""
    spec = training_spec(batch_size=32, epochs=3, learning_rate=1e38, ensemble=2, processes=2)
    with pytest.raises(TrainingError) as caught:
        train(tmp_path / "job", DATA, spec=spec)
    assert caught.value.code == "NAN_LOSS"
