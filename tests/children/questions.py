"""Every question, small, with inputs that its real handler answers within seconds."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from clm.artefacts.files import sha256_of
from clm.artefacts.records import write_record
from clm.data.dataset import Dataset
from clm.data.floor import FloorPolicy
from clm.domain.job import ChampionRef, TrainingJob
from clm.domain.load_check import GoldenRows
from clm.domain.tuning import AS_SET, TuningJob
from clm.models.catalogue import architecture
from clm.questions.floor import floor_question
from clm.questions.load_check import LoadCheckJob, load_check_question
from clm.questions.measure import measure_question
from clm.questions.question import Files, Question
from clm.questions.score import score_question
from clm.questions.train import NAME as TRAIN
from clm.questions.train import train_question
from clm.questions.tune import tune_question
from clm.training.train import answer as train
from clm.training.work import Work
from tests.builders import training_spec
from tests.data.test_signal import rows
from tests.training import jobs

SPEC = training_spec(batch_size=64, epochs=1)
WALL_S = 100.0


class Place:
    """A data set, a trained job and a served file, made once for all questions."""

    def __init__(self, directory: Path) -> None:
        self.dataset: Dataset = jobs.dataset(n_windows=160)
        self.trained: TrainingJob = jobs.job(directory / "trained", of=self.dataset, spec=SPEC)
        jobs.write_job(self.trained, self.dataset)
        files = Files(directory=self.trained.directory, name=TRAIN)
        inputs = train_question(self.trained, self.dataset).inputs
        train(inputs, Work(files=files))  # type: ignore[arg-type]  # the inputs of this very question
        torch.manual_seed(11)
        self.model = directory / "served.pth"
        torch.save({"model_state_dict": architecture("engine").build(0.0).state_dict()}, self.model)
        self.champion = ChampionRef(version="served", path=self.model, sha256=sha256_of(self.model))


def _train(place: Place, directory: Path) -> Question[Any]:
    return train_question(jobs.job(directory, of=place.dataset, spec=SPEC, timeout_s=WALL_S), place.dataset)


def _floor(_place: Place, _directory: Path) -> Question[Any]:
    return floor_question(rows(), FloorPolicy(block_h=24.0, embargo_h=1.0), budget_s=WALL_S)


def _load_check(place: Place, directory: Path) -> Question[Any]:
    job = LoadCheckJob(
        directory=directory,
        weights_path=place.model,
        sha256=place.champion.sha256,
        architecture="engine",
        context_length=128,
        n_features=8,
        timeout_s=WALL_S,
    )
    golden = GoldenRows(window_GLC=np.zeros((4, 128, 8), np.float32), p_G=np.full(4, 0.5))
    return load_check_question(job, golden)


def _measure(place: Place, _directory: Path) -> Question[Any]:
    return measure_question(place.trained, budget_s=0.001)


def _tune(place: Place, directory: Path) -> Question[Any]:
    job = TuningJob(
        run_id=place.trained.run_id,
        directory=directory,
        study="patchtst-test",
        storage=directory / "tuning.db",
        spec=SPEC,
        knobs=("learning_rate",),
        variants={AS_SET: place.trained.directory},
        trials=1,
        budget_s=WALL_S,
    )
    return tune_question(job)


def _score(place: Place, directory: Path) -> Question[Any]:
    job = jobs.job(directory, of=place.dataset, spec=SPEC, timeout_s=WALL_S)
    return score_question(job, [place.champion], place.dataset)


QUESTIONS: Mapping[str, Callable[[Place, Path], Question[Any]]] = {
    "train": _train,
    "floor": _floor,
    "load_check": _load_check,
    "measure": _measure,
    "tune": _tune,
    "score": _score,
}


def keep_answer(question: Question[Any], answer: object, source: Path, target: Path) -> None:
    """Put a sound answer, and what the child leaves next to it, into another directory."""
    target.mkdir(exist_ok=True)
    write_record(Files(directory=target, name=question.name).answer, answer)
    for name in question.leaves:
        (target / name).write_bytes((source / name).read_bytes())
