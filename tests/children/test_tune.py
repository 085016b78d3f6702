"""A real study in a real child: it prunes, it goes on after a kill, it never reads a test row."""

import contextlib
import os
import signal
import sqlite3
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import optuna
import pytest

from clm.artefacts.records import read_arrays
from clm.children import ask
from clm.children.ask import SubprocessAsker
from clm.clock import SystemClock
from clm.domain.tuning import AS_SET, Trial, TuningJob
from clm.errors import Interrupted, TrainingError
from clm.questions.question import read_answer
from clm.questions.train import DATA
from clm.questions.tune import tune_question
from clm.steps.tuning import trials_of
from clm.training.study import climb
from tests.builders import training_spec
from tests.training import jobs

pytestmark = pytest.mark.slow


def study_of(directory: Path, *, trials: int = 2, epochs: int = 2, budget_s: float = 100.0) -> TuningJob:
    """A study on two hundred windows; its job has been trained already."""
    dataset = jobs.dataset(n_windows=200)
    job = jobs.job(
        directory / "job", of=dataset, spec=training_spec(batch_size=64, epochs=epochs, patience=epochs)
    )
    jobs.write_job(job, dataset)
    (directory / "tuning").mkdir()
    return TuningJob(
        run_id=job.run_id,
        directory=directory / "tuning",
        study="patchtst-test",
        storage=directory / "tuning.db",
        spec=job.spec,
        knobs=("learning_rate", "dropout", "window_source"),
        variants={AS_SET: job.directory},
        trials=trials,
        budget_s=budget_s,
    )


def climbed(job: TuningJob) -> tuple[Trial, ...]:
    """Make the trials in this process and return them."""
    kept: list[tuple[Trial, ...]] = []
    climb(job, kept.append)
    return kept[-1]


def kept_trials(job: TuningJob) -> tuple[Trial, ...]:
    """Return the trials that the child has written so far."""
    try:
        return read_answer(tune_question(job), job.directory).trials
    except TrainingError:
        return ()


class KillsChildren:
    """Stands for the kernel: kills the first child with signal 9 as soon as the test's condition holds."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, when: Callable[[], bool]) -> None:
        self.pids: list[int] = []
        started = ask.Child

        def start(*arguments: object, **options: object) -> object:
            child = started(*arguments, **options)
            self.pids.append(child.pid)
            if len(self.pids) == 1:
                threading.Thread(target=self._kill, args=(child.pid, when), daemon=True).start()
            return child

        monkeypatch.setattr(ask, "Child", start)

    @staticmethod
    def _kill(pid: int, when: Callable[[], bool]) -> None:
        while not when():
            time.sleep(0.02)
        os.kill(pid, signal.SIGKILL)


def _told(trials: tuple[Trial, ...]) -> list[tuple[object, ...]]:
    """Return what must not depend on what ran at the same time; numbers move where a trial is made again."""
    return [(trial.state, trial.variant, trial.settings, trial.excess, trial.epochs) for trial in trials]


def test_two_trials_at_a_time_are_the_trials_one_after_the_other(tmp_path):
    """Settings, states and losses are those of one process, to the last bit; an odd one is a batch of one."""
    jobs_ = [study_of(_made(tmp_path / name), trials=5, epochs=3) for name in ("one", "two")]
    one, two = (
        climbed(replace(job, spec=replace(job.spec, processes=n))) for n, job in enumerate(jobs_, start=1)
    )
    assert len(one) == 5
    assert _told(one) == _told(two)


def test_e1_a_killed_study_goes_on_and_makes_the_broken_batch_again(tmp_path, monkeypatch):
    """kill -9 in the second batch: the first is kept, the second made again, as if nothing had happened."""
    job = study_of(_made(tmp_path / "killed"), trials=6, epochs=8)
    undisturbed = climbed(study_of(_made(tmp_path / "undisturbed"), trials=6, epochs=8))

    def second_began() -> bool:
        if len(kept_trials(job)) != 2:
            return False
        running = "SELECT count(*) FROM trial_params JOIN trials USING (trial_id) WHERE state = 'RUNNING'"
        with contextlib.closing(sqlite3.connect(job.storage)) as connection:
            return connection.execute(running).fetchone()[0] == 6  # variant, rate and dropout of two

    killer = KillsChildren(monkeypatch, second_began)
    trials, why = trials_of(SubprocessAsker(), job, SystemClock(), threading.Event())
    assert why == ""
    assert len(killer.pids) == 2
    study = optuna.load_study(study_name=job.study, storage=f"sqlite:///{job.storage}")
    killed = [trial for trial in study.trials if "killed" in trial.user_attrs]
    assert [trial.number for trial in killed] == [2, 3]
    assert _told(trials) == _told(undisturbed)
    assert climbed(job) == trials, "a finished study is read, not made again"


def _made(directory: Path) -> Path:
    directory.mkdir()
    return directory


def test_a_try_never_reads_a_test_row(tmp_path):
    """Every test label turned and every step after validation spoilt: the tries stay what they were."""
    job = study_of(tmp_path, trials=1, epochs=1)
    trials = climbed(job)
    path = job.variants[AS_SET] / DATA
    arrays = read_arrays(path)
    label_N, test = arrays["/arrays/label_N"], arrays["/arrays/test"]
    label_N[test] = 1 - label_N[test]
    np.savez(path, **arrays)
    others = climbed(replace(job, study="another"))
    assert trials[0].excess == others[0].excess
    assert trials[0].settings == {"learning_rate": 5e-4, "dropout": 0.1}


def test_a_try_of_an_ensemble_is_judged_by_the_network_that_would_be_served(tmp_path):
    """Its members are other networks: their figures are not its own, and their order is that of the clock."""
    job = study_of(tmp_path, trials=1, epochs=2)
    (trial,) = climbed(replace(job, spec=replace(job.spec, ensemble=2, processes=2)))
    assert (trial.state, trial.epochs) == ("complete", 2)


def test_a_stop_ends_the_child_at_once(tmp_path):
    """The daemon is to end; the study is kept for the next run."""
    stop = threading.Event()
    stop.set()
    with pytest.raises(Interrupted):
        trials_of(SubprocessAsker(), study_of(tmp_path), SystemClock(), stop)


def test_a_child_that_cannot_start_is_no_try_and_no_error(tmp_path):
    """A rejection does not hang on its repair."""
    asker = SubprocessAsker(python=tmp_path / "no-python")
    trials, why = trials_of(asker, study_of(tmp_path), SystemClock(), threading.Event())
    assert trials == ()
    assert "cannot be started" in why
