"""What the parent asks of a child that scores models on one data set, and what it answers, as files.

Both sides import this; it needs no torch.
"""

import io
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import orjson

from clm.artefacts.files import replace_durably
from clm.artefacts.job_files import parse_champion, write_job
from clm.artefacts.records import read_arrays
from clm.data.dataset import Dataset
from clm.domain.job import ChampionRef, TrainingJob
from clm.domain.sample import Floats
from clm.errors import TrainingError

MODELS = "models.json"
SCORES = "scores.npz"


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """P(WIN) of the test rows by each model, in the order in which they were named."""

    p_models: tuple[Floats, ...]
    p_logistic_N: Floats


def write_score_job(job: TrainingJob, models: Sequence[ChampionRef], dataset: Dataset) -> None:
    """Write the data set as for a training, and which files are to be scored.

    Raises:
        ArtefactError: DISK_FULL, READ_ONLY_FS, PERMISSION, IO_ERROR.
    """
    write_job(job, dataset)
    replace_durably(job.directory / MODELS, orjson.dumps([asdict(model) for model in models], default=str))


def read_models(directory: Path) -> tuple[ChampionRef, ...]:
    """Return which files are to be scored.

    Raises:
        TrainingError: JOB_UNREADABLE.
    """
    try:
        return tuple(parse_champion(plain) for plain in orjson.loads((directory / MODELS).read_bytes()))
    except (OSError, ValueError, KeyError, TypeError) as exc:
        raise TrainingError("JOB_UNREADABLE", f"{directory} names no models: {exc}") from exc


def write_scores(directory: Path, scores: Scores) -> None:
    """Write scores.npz.

    Raises:
        ArtefactError: DISK_FULL, READ_ONLY_FS, PERMISSION, IO_ERROR.
    """
    arrays = io.BytesIO()
    np.savez(arrays, p_logistic_N=scores.p_logistic_N, p_models_MN=np.stack(scores.p_models))
    replace_durably(directory / SCORES, arrays.getvalue())


def read_scores(directory: Path, n_models: int, n_test: int) -> Scores:
    """Return the child's answer.

    Raises:
        TrainingError: RESULT_INVALID.
    """
    try:
        stored = read_arrays(directory / SCORES)
        p_models_MN, p_logistic_N = stored["p_models_MN"], stored["p_logistic_N"]
    except (OSError, ValueError, KeyError) as exc:
        raise TrainingError("RESULT_INVALID", f"{directory} holds no scores: {exc}") from exc
    if p_models_MN.shape != (n_models, n_test) or p_logistic_N.shape != (n_test,):
        raise TrainingError(
            "RESULT_INVALID",
            f"{directory} holds scores of shape {p_models_MN.shape}, wanted {(n_models, n_test)}",
        )
    return Scores(p_models=tuple(p_models_MN), p_logistic_N=p_logistic_N)
