"""One small trained job, shared by the tests that only look at it."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from clm.data.dataset import Dataset
from clm.domain.job import EpochReport, TrainingJob, TrainingResult
from clm.questions.train import TrainingArrays
from clm.training.train import train_job
from tests.training import jobs


@dataclass(frozen=True)
class Trained:
    """A job, its data, its result."""

    dataset: Dataset
    job: TrainingJob
    arrays: TrainingArrays
    result: TrainingResult
    told: list[EpochReport]


def train(directory: Path, dataset: Dataset, **changes: object) -> Trained:
    """Train in this process."""
    arrays = jobs.arrays(dataset, directory)
    job = jobs.job(directory, of=dataset, **changes)
    told: list[EpochReport] = []
    return Trained(dataset, job, arrays, train_job(job, arrays, told.append), told)


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """Five of eight channels used, one of the five constant."""
    return train(tmp_path_factory.mktemp("trained"), jobs.dataset(n_features=5, constant=4))
