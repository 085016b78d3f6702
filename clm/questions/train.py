"""The question `train`: a network from windows, and its predictions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Self

import numpy as np

from clm.artefacts.files import sha256_of
from clm.data.dataset import Dataset
from clm.data.scaling import Scaler
from clm.domain.job import EpochReport, TrainingJob, TrainingResult
from clm.domain.sample import Bytes8, Floats, Ints
from clm.errors import ArtefactError
from clm.questions.question import Limits, Question, read_inputs, require_probabilities

NAME = "train"
WEIGHTS = "model.pth"
"""The served file, in the directory of the question."""
PLAIN = {"logistic", "trees"}
"""The plain models that are trained with every candidate."""
DATA = f"{NAME}.question.npz"
"""The windows, in the directory of the question."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingArrays:
    """What training sees of a data set: window n is the rows that end at `row_N[n]`, oldest first.

    Channels `held_K` hold `held_NK[n]` in every step instead; in `features_RC` they are zero.
    """

    features_RC: Floats
    """Raw, not scaled."""
    row_N: Ints
    label_N: Bytes8
    train: Ints
    validation: Ints
    test: Ints
    scaler: Scaler
    held_K: Ints
    held_NK: Floats
    folds: tuple[tuple[Ints, Ints], ...] = ()
    """Training and test windows of each fold that walks forward, oldest first; the last one is the split."""
    fingerprint: str = ""
    """Of the data set."""

    @property
    def name_N(self) -> Ints:
        """What a window is gathered by: its last row, or its number where it holds values of its own."""
        return np.arange(len(self.row_N)) if len(self.held_K) else self.row_N

    def last_steps(self, part: Ints) -> Floats:
        """Return the last step of these windows, raw."""
        last_NC = self.features_RC[self.row_N[part]]
        last_NC[:, self.held_K] = self.held_NK[part]
        return last_NC

    def with_columns(self, columns: Sequence[int]) -> Self:
        """Return the same windows with these channels alone, in this order."""
        chosen = list(columns)
        held_at = [column for column in chosen if column in self.held_K]
        return replace(
            self,
            features_RC=self.features_RC[:, chosen],
            scaler=Scaler(mean_C=self.scaler.mean_C[chosen], scale_C=self.scaler.scale_C[chosen]),
            held_K=np.array([chosen.index(column) for column in held_at], dtype=np.int64),
            held_NK=self.held_NK[:, [self.held_K.tolist().index(column) for column in held_at]],
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainInputs:
    """A job and the windows it learns from."""

    job: TrainingJob
    arrays: TrainingArrays


@dataclass(frozen=True, slots=True, kw_only=True)
class Resumed:
    """Progress: an earlier process completed the epochs up to this one."""

    epoch: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainProgress:
    """One line of progress."""

    news: EpochReport | Resumed


def training_arrays(dataset: Dataset) -> TrainingArrays:
    """Return what training sees of a data set."""
    return TrainingArrays(
        features_RC=dataset.windows.steps_MC,
        row_N=dataset.windows.end_N,
        label_N=dataset.label_N,
        train=dataset.split.train,
        validation=dataset.split.validation,
        test=dataset.split.test,
        scaler=dataset.scaler,
        held_K=dataset.windows.held_K,
        held_NK=dataset.windows.held_NK,
        folds=tuple((fold.train, fold.test) for fold in dataset.folds),
        fingerprint=dataset.fingerprint,
    )


def read_training(directory: Path) -> TrainInputs:
    """Return the question `train` of a directory, with the directory as it is now.

    Raises:
        TrainingError: JOB_UNREADABLE.
    """
    inputs = read_inputs(TrainInputs, directory, NAME)
    return replace(inputs, job=replace(inputs.job, directory=directory))


def train_question(job: TrainingJob, dataset: Dataset, *, silence_s: float = 0.0) -> Question[TrainingResult]:
    """Return the question whose answer is a trained network."""
    return Question(
        name=NAME,
        subject=f"training {job.run_id}",
        inputs=TrainInputs(job=job, arrays=training_arrays(dataset)),
        limits=Limits(
            wall_s=job.timeout_s,
            silence_s=silence_s,
            cpu_s=job.cpu_s,
            memory_mb=job.memory_mb,
            threads=job.spec.threads,
        ),
        answer=TrainingResult,
        check=partial(_checked, job, len(dataset.split.test), len(dataset.split.validation)),
        advice="raise CLM_LIMITS__WALL_S or lower CLM_TRAINING__EPOCHS",
        leaves=(WEIGHTS,),
    )


def _checked(job: TrainingJob, n_test: int, n_validation: int, result: TrainingResult) -> TrainingResult:
    """Hash the file again, and look at every prediction."""
    path = job.directory / WEIGHTS
    try:
        file_sha256 = sha256_of(path)
    except ArtefactError as error:
        raise ValueError(error.message) from error
    if file_sha256 != result.file_sha256:
        raise ValueError(f"{WEIGHTS} has sha256 {file_sha256}, the answer names another")
    if (result.p_champion_N is None) == (not result.champion_absent_because):
        raise ValueError("the champion is neither scored nor reported as absent, or both")
    if result.p_validation_N is None:
        raise ValueError("p_validation_N is missing")
    require_probabilities("p_candidate_N", result.p_candidate_N, n_test)
    require_probabilities("p_logistic_N", result.p_logistic_N, n_test)
    require_probabilities("p_validation_N", result.p_validation_N, n_validation)
    require_plain(result.p_trees_N, result.validation_by_plain, n_test, n_validation)
    if result.p_champion_N is not None:
        require_probabilities("p_champion_N", result.p_champion_N, n_test)
    return replace(result, weights_path=path)


def require_plain(
    p_trees_N: Floats | None, validation_by_plain: Mapping[str, Floats], n_test: int, n_validation: int
) -> None:
    """Refuse predictions of the plain models that are missing or are not probabilities.

    Raises:
        ValueError: what is wrong with them.
    """
    if p_trees_N is None or set(validation_by_plain) != PLAIN:
        raise ValueError(f"predictions of the plain models are missing: {', '.join(sorted(PLAIN))}")
    require_probabilities("p_trees_N", p_trees_N, n_test)
    for name, p_N in validation_by_plain.items():
        require_probabilities(f"the validation of {name}", p_N, n_validation)
