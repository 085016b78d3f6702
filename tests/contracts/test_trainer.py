"""The rules of ports.Trainer, for the trainer with a real child process and for the fake."""

import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from clm.artefacts.files import sha256_of
from clm.children.trainer import SubprocessTrainer
from clm.data.dataset import Dataset
from clm.domain.job import EpochReport, TrainingJob, TrainingResult
from clm.errors import Interrupted
from clm.ports import Trainer
from tests.fakes import FakeTrainer, oracle
from tests.training import jobs

MAKERS: dict[str, Callable[[], Trainer]] = {
    "fake": lambda: FakeTrainer(oracle(1.2)),
    "subprocess": lambda: SubprocessTrainer(environment={"PATH": os.defpath}, poll_s=0.05, grace_s=5.0),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """A training that ended well: what it was given, what it reported meanwhile, what it returned."""

    job: TrainingJob
    dataset: Dataset
    reported: tuple[EpochReport, ...]
    result: TrainingResult


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return jobs.dataset()


@pytest.fixture(scope="module", params=list(MAKERS))
def trainer(request: pytest.FixtureRequest) -> Trainer:
    return MAKERS[request.param]()


def trained(trainer: Trainer, directory: Path, dataset: Dataset) -> Training:
    job, reported = jobs.job(directory, of=dataset), list[EpochReport]()
    result = trainer.train(job, dataset, reported.append, threading.Event())
    return Training(job=job, dataset=dataset, reported=tuple(reported), result=result)


@pytest.fixture(scope="module")
def training(trainer: Trainer, tmp_path_factory: pytest.TempPathFactory, dataset: Dataset) -> Training:
    """One training for each trainer, in a directory that did not exist before."""
    return trained(trainer, tmp_path_factory.mktemp("runs") / "new" / "training", dataset)


def test_every_row_that_is_judged_has_a_probability(training: Training) -> None:
    """The gates compare candidate and baseline row by row."""
    n_test = len(training.dataset.split.test)
    for p_N in (training.result.p_candidate_N, training.result.p_logistic_N):
        assert p_N.shape == (n_test,)
        assert np.all((p_N > 0) & (p_N < 1))


def test_the_served_file_is_there_with_the_hash_that_was_reported(training: Training) -> None:
    """The registry refuses a file of another hash."""
    result = training.result
    assert training.job.directory in result.weights_path.parents
    assert result.file_sha256 == sha256_of(result.weights_path)
    assert len(result.weights_hash) == 64
    assert result.n_parameters > 0


def test_every_epoch_is_reported_once_and_kept_in_the_result(training: Training) -> None:
    """`clm status` shows the reports, the proof pack shows the result."""
    assert training.reported == training.result.epochs
    assert training.reported
    numbers = [report.epoch for report in training.reported]
    assert numbers == sorted(set(numbers))
    assert training.result.best_epoch in numbers
    assert training.result.seconds > 0


def test_without_a_champion_there_is_a_reason_in_place_of_its_score(training: Training) -> None:
    """A comparison that was not made must not look like one that was won."""
    assert training.job.champion is None
    assert training.result.p_champion_N is None
    assert training.result.champion_absent_because


def test_the_same_job_can_be_trained_again_and_gives_the_same_answer(
    trainer: Trainer, training: Training
) -> None:
    """A retry after a crash meets the directory of the first try, and a seed gives one model."""
    again = trained(trainer, training.job.directory, training.dataset)
    assert again.result.weights_hash == training.result.weights_hash
    assert np.array_equal(again.result.p_candidate_N, training.result.p_candidate_N)
    assert len(again.reported) == len(training.reported)


def test_a_stop_ends_the_training_as_interrupted(trainer: Trainer, tmp_path: Path, dataset: Dataset) -> None:
    """The task goes back to the queue without a counted attempt."""
    stop, reported = threading.Event(), list[EpochReport]()
    stop.set()
    with pytest.raises(Interrupted) as caught:
        trainer.train(jobs.job(tmp_path / "stopped", of=dataset), dataset, reported.append, stop)
    assert caught.value.code == "TRAINING_INTERRUPTED"
    assert caught.value.transient
    assert reported == []
