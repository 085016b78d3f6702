"""The question `train` and its answer survive the files; what lies or is torn is refused."""

import math
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import orjson
import pytest

from clm.artefacts.records import RecordError, decode_line, encode_line, write_record
from clm.domain.job import ChampionRef, EpochReport, TrainingResult
from clm.errors import ArtefactError, TrainingError
from clm.questions.question import Files, Question, read_answer
from clm.questions.train import DATA, NAME, WEIGHTS, TrainProgress, train_question
from tests.training import jobs
from tests.training.conftest import Trained, trained
from tests.training.jobs import read_job, write_job

__all__ = ["trained"]

JOB, ANSWER, ARRAYS = "train.question.json", "train.answer.json", "train.answer.npz"
REPORT = EpochReport(
    epoch=2,
    epochs=5,
    train_loss=0.69,
    validation_log_loss=0.68,
    validation_auroc=0.55,
    validation_p_win_std=0.01,
    seconds=1.5,
    best=True,
)


def test_a_job_survives_the_way_to_the_child(tmp_path: Path) -> None:
    """Both sides mean the same by every field."""
    dataset = jobs.dataset()
    champion = ChampionRef(
        version="patchtst_v20260101_000000",
        path=tmp_path / "patchtst_v20260101_000000.pth",
        sha256="a" * 64,
        feature_names=("rsi", "macd"),
        adopted=True,
        architecture="patchtst-mix",
    )
    job = jobs.job(tmp_path / "job", of=dataset, champion=champion)
    write_job(job, dataset)
    read, arrays = read_job(job.directory)
    assert read == job
    np.testing.assert_array_equal(arrays.features_RC, dataset.table.features_RC)
    np.testing.assert_array_equal(arrays.label_N, dataset.label_N)
    np.testing.assert_array_equal(arrays.row_N, dataset.row_N)
    for part in ("train", "validation", "test"):
        np.testing.assert_array_equal(getattr(arrays, part), getattr(dataset.split, part))
    np.testing.assert_array_equal(arrays.scaler.scale_C, dataset.scaler.scale_C)


def test_an_earlier_childs_answer_is_removed(tmp_path: Path) -> None:
    """The answer of an earlier child must not be taken for that of a child that was killed."""
    dataset = jobs.dataset()
    for name in ("train.answer.json", "train.answer.npz", "train.progress.jsonl", WEIGHTS):
        (tmp_path / name).write_text("old")
    write_job(jobs.job(tmp_path, of=dataset), dataset)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "train.limits.json",
        "train.question.json",
        DATA,
    ]


def test_a_directory_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    """A full or foreign disk is the operator's, one line."""
    (tmp_path / "file").touch()
    dataset = jobs.dataset()
    with pytest.raises(ArtefactError, match="cannot prepare"):
        write_job(jobs.job(tmp_path / "file" / "job", of=dataset), dataset)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda directory: (directory / JOB).unlink(),
        lambda directory: (directory / JOB).write_text("{"),
        lambda directory: (directory / JOB).write_text("{}"),
        lambda directory: (directory / DATA).write_bytes(b"PK\x03\x04 torn"),
        lambda directory: os.truncate(directory / DATA, 1000),
        lambda directory: np.savez(directory / DATA, row_N=np.array([object()], dtype=object)),
    ],
)
def test_a_job_that_cannot_be_read_is_said(tmp_path: Path, spoil: Callable[[Path], object]) -> None:
    """The child ends with a line and a code, not with a traceback."""
    dataset = jobs.dataset()
    write_job(jobs.job(tmp_path, of=dataset), dataset)
    spoil(tmp_path)
    with pytest.raises(TrainingError) as caught:
        read_job(tmp_path)
    assert caught.value.code == "JOB_UNREADABLE"


def test_a_report_survives_and_nan_stays_nan() -> None:
    """AUROC of one class is NaN; as 0 it would read as a very bad model."""
    assert decode_line(TrainProgress, encode_line(TrainProgress(news=REPORT))).news == REPORT
    unknown = TrainProgress(news=replace(REPORT, validation_auroc=math.nan))
    assert math.isnan(decode_line(TrainProgress, encode_line(unknown)).news.validation_auroc)


@pytest.mark.parametrize("change", [{"epoch": "2"}, {"epoch": True}, {"train_loss": "0.6"}, {"seconds": []}])
def test_a_report_of_other_types_is_refused(change: dict[str, object]) -> None:
    """What comes from another process is checked before it is shown as a figure."""
    with pytest.raises(RecordError):
        decode_line(EpochReport, orjson.dumps({**orjson.loads(encode_line(REPORT)), **change}))


@pytest.fixture
def answered(tmp_path: Path, trained: Trained) -> tuple[Path, TrainingResult]:
    """A directory with a sound answer in it, which claims that the file lies elsewhere."""
    (tmp_path / WEIGHTS).write_bytes(trained.result.weights_path.read_bytes())
    write_record(Files(directory=tmp_path, name=NAME).answer, trained.result)
    return tmp_path, trained.result


def asked(directory: Path, trained: Trained) -> Question[TrainingResult]:
    """The question to that answer."""
    return train_question(replace(trained.job, directory=directory), trained.dataset)


def test_a_result_survives_the_way_to_the_parent(
    answered: tuple[Path, TrainingResult], trained: Trained
) -> None:
    """Predictions to the last bit: the gates are computed from them."""
    directory, result = answered
    read = read_answer(asked(directory, trained), directory)
    assert read.weights_path == directory / WEIGHTS
    np.testing.assert_array_equal(read.p_candidate_N, result.p_candidate_N)
    np.testing.assert_array_equal(read.p_logistic_N, result.p_logistic_N)
    np.testing.assert_array_equal(read.p_trees_N, result.p_trees_N)
    for name in ("logistic", "trees"):
        np.testing.assert_array_equal(read.validation_by_plain[name], result.validation_by_plain[name])
    assert read.p_champion_N is None
    assert (read.file_sha256, read.epochs, read.notes) == (result.file_sha256, result.epochs, result.notes)
    assert read.champion_absent_because == result.champion_absent_because


def store(directory: Path, **change: np.ndarray) -> None:
    """Write the answer with some arrays changed, and announce them as they are."""
    with np.load(directory / ARRAYS) as stored:
        arrays = {name: stored[name] for name in stored.files}
    np.savez(directory / ARRAYS, **{**arrays, **{f"/{name}": array for name, array in change.items()}})
    tell(directory, **{name: f"{array.dtype}{list(array.shape)}" for name, array in change.items()})


def tell(directory: Path, **change: object) -> None:
    """Write the answer with some fields changed."""
    document = orjson.loads((directory / ANSWER).read_bytes())
    (directory / ANSWER).write_bytes(orjson.dumps({**document, **change}))


def flip_a_bit(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


HALF = np.full(44, 0.5)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda at: flip_a_bit(at / WEIGHTS), "has sha256"),
        (lambda at: tell(at, file_sha256="0" * 64), "has sha256"),
        (lambda at: (at / WEIGHTS).unlink(), "does not exist"),
        (lambda at: (at / ANSWER).unlink(), "No such file"),
        (lambda at: (at / ANSWER).write_text("[]"), "is not an object"),
        (lambda at: tell(at, epochs=[{"epoch": 1}]), "/epochs/0/.*is missing"),
        (lambda at: tell(at, best_epoch="third"), "third"),
        (lambda at: tell(at, champion_absent_because=""), "neither scored nor reported as absent"),
        (lambda at: store(at, p_champion_N=HALF), "or both"),
        (lambda at: (at / ARRAYS).unlink(), "does not hold this array"),
        (lambda at: os.truncate(at / ARRAYS, 300), "no whole archive"),
        (lambda at: store(at, p_candidate_N=HALF[:-1]), r"wanted float64\[44\]"),
        (lambda at: store(at, p_candidate_N=HALF[:, None]), "does not have 1 dimensions"),
        (lambda at: store(at, p_candidate_N=HALF.astype(np.float32)), "is not float64"),
        (lambda at: store(at, p_candidate_N=np.where(HALF > 0, np.nan, HALF)), "no probabilities"),
        (lambda at: store(at, p_logistic_N=HALF + 0.51), "no probabilities"),
        (lambda at: store(at, p_logistic_N=HALF - 0.51), "no probabilities"),
        (lambda at: store(at, p_trees_N=HALF + 0.51), "no probabilities"),
        (lambda at: tell(at, validation_by_plain={}), "validation_by_plain"),
        (lambda at: store(at, p_candidate_N=np.array([None] * 44)), "pickle"),
    ],
)
def test_e13_an_answer_that_lies_or_is_torn_is_refused(
    answered: tuple[Path, TrainingResult], trained: Trained, spoil: Callable[[Path], None], said: str
) -> None:
    """The parent trusts nothing: it hashes the file again and checks that each prediction is valid."""
    directory, result = answered
    assert len(result.p_candidate_N) == len(HALF)
    spoil(directory)
    with pytest.raises(TrainingError, match=said) as caught:
        read_answer(asked(directory, trained), directory)
    assert caught.value.code == "RESULT_INVALID"
