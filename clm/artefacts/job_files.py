"""What the parent asks of a training child, and how far the child has come, as files of the job's directory.

Both sides import this; it needs no torch.
"""

import io
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from enum import IntEnum
from pathlib import Path
from typing import Self

import numpy as np
import orjson

from clm.artefacts.files import replace_durably, translated
from clm.artefacts.records import read_arrays
from clm.data.dataset import Dataset
from clm.data.scaling import Scaler
from clm.domain.job import ChampionRef, EpochReport, TrainingJob, TrainingSpec
from clm.domain.sample import Bytes8, Floats, Ints
from clm.errors import TrainingError

JOB = "job.json"
DATASET = "dataset.npz"
PROGRESS = "progress.jsonl"
MODEL = "model.pth"
PREDICTIONS = "predictions.npz"
RESULT = "result.json"
STDOUT = "stdout.log"
STDERR = "stderr.log"

ANSWERS = (PROGRESS, MODEL, PREDICTIONS, RESULT, STDOUT, STDERR)
"""What a child leaves; removed before the next child starts in the same directory."""


class ChildExit(IntEnum):
    """Exit codes of the child that have a meaning; the names are the codes of TrainingError."""

    DONE = 0
    NAN_LOSS = 90
    EXPORT_MISMATCH = 91
    CHILD_OOM = 92
    JOB_UNREADABLE = 93
    ARCHITECTURE_UNKNOWN = 94
    ORPHANED = 95
    DEVICE_ABSENT = 96


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


def write_job(job: TrainingJob, dataset: Dataset) -> None:
    """Write job.json and dataset.npz into the job's directory, and remove what an earlier child left.

    Raises:
        ArtefactError: DISK_FULL, READ_ONLY_FS, PERMISSION, IO_ERROR.
    """
    with translated(f"cannot prepare {job.directory}"):
        job.directory.mkdir(parents=True, exist_ok=True)
        for name in ANSWERS:
            (job.directory / name).unlink(missing_ok=True)
    arrays = io.BytesIO()
    fold_parts = [part for fold in dataset.folds for part in (fold.train, fold.test)]
    np.savez(
        arrays,
        features_RC=dataset.windows.steps_MC,
        row_N=dataset.windows.end_N,
        label_N=dataset.label_N,
        train=dataset.split.train,
        validation=dataset.split.validation,
        test=dataset.split.test,
        mean_C=dataset.scaler.mean_C,
        scale_C=dataset.scaler.scale_C,
        held_K=dataset.windows.held_K,
        held_NK=dataset.windows.held_NK,
        fold_windows=np.concatenate([np.empty(0, dtype=np.int64), *fold_parts]),
        fold_sizes=np.array([len(part) for part in fold_parts], dtype=np.int64),
    )
    replace_durably(job.directory / DATASET, arrays.getvalue())
    document = {**asdict(job), "data_fingerprint": dataset.fingerprint}
    replace_durably(
        job.directory / JOB,
        orjson.dumps(document, default=str, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS),
    )


def read_job(directory: Path) -> tuple[TrainingJob, TrainingArrays]:
    """Return what `write_job` wrote; the directory is where the files lie now.

    Raises:
        TrainingError: JOB_UNREADABLE.
    """
    try:
        document = orjson.loads((directory / JOB).read_bytes())
        champion = document["champion"]
        job = TrainingJob(
            run_id=document["run_id"],
            directory=directory,
            spec=TrainingSpec(**document["spec"]),
            context_length=document["context_length"],
            feature_names=tuple(document["feature_names"]),
            champion=parse_champion(champion) if champion else None,
            timeout_s=document["timeout_s"],
            cpu_s=document["cpu_s"],
            memory_mb=document["memory_mb"],
            checkpoints=Path(document["checkpoints"]) if document["checkpoints"] else None,
        )
        stored = read_arrays(directory / DATASET)
        arrays = TrainingArrays(
            features_RC=stored["features_RC"],
            row_N=stored["row_N"],
            label_N=stored["label_N"],
            train=stored["train"],
            validation=stored["validation"],
            test=stored["test"],
            scaler=Scaler(mean_C=stored["mean_C"], scale_C=stored["scale_C"]),
            held_K=stored["held_K"],
            held_NK=stored["held_NK"],
            folds=_folds(stored["fold_windows"], stored["fold_sizes"]),
            fingerprint=document["data_fingerprint"],
        )
    except (OSError, ValueError, KeyError, TypeError) as exc:
        raise TrainingError(
            "JOB_UNREADABLE",
            f"{directory} holds no job that can be trained: {exc}; let the daemon write it anew",
        ) from exc
    return job, arrays


def _folds(windows: Ints, sizes: Ints) -> tuple[tuple[Ints, Ints], ...]:
    parts = np.split(windows, np.cumsum(sizes))[:-1]
    return tuple(zip(parts[::2], parts[1::2], strict=True))


def parse_champion(document: Mapping[str, object]) -> ChampionRef:
    """Return the model of one parsed JSON object.

    Raises:
        KeyError, TypeError: the object names no model.
    """
    return ChampionRef(
        version=str(document["version"]),
        path=Path(str(document["path"])),
        sha256=str(document["sha256"]),
        feature_names=tuple(document["feature_names"]),  # type: ignore[arg-type]  # a list of names, or TypeError
        adopted=bool(document["adopted"]),
        architecture=str(document["architecture"]),
    )


def epoch_line(report: EpochReport) -> bytes:
    """Return one line of progress.jsonl; NaN is written as null."""
    return orjson.dumps(asdict(report)) + b"\n"


def resumed_line(epoch: int) -> bytes:
    """Return the line of progress.jsonl which says that the training goes on behind this epoch."""
    return orjson.dumps({"resumed_after": epoch}) + b"\n"


def parse_resumed(document: Mapping[str, object]) -> int | None:
    """Return the epoch behind which a training goes on; None where the line tells of something else.

    Raises:
        TypeError: it is no number.
    """
    return _whole(document["resumed_after"]) if "resumed_after" in document else None


def parse_epoch(document: Mapping[str, object]) -> EpochReport:
    """Return the report of one parsed line.

    Raises:
        KeyError, TypeError, ValueError: the document is no report.
    """
    return EpochReport(
        epoch=_whole(document["epoch"]),
        epochs=_whole(document["epochs"]),
        train_loss=_figure(document["train_loss"]),
        validation_log_loss=_figure(document["validation_log_loss"]),
        validation_auroc=_figure(document["validation_auroc"]),
        validation_p_win_std=_figure(document["validation_p_win_std"]),
        seconds=_figure(document["seconds"]),
        best=document["best"] is True,
        network=str(document.get("network", "")),
    )


def _whole(value: object) -> int:
    if type(value) is not int:
        raise TypeError(f"{value!r} is no whole number")
    return value


def _figure(value: object) -> float:
    if value is None:
        return float("nan")
    if type(value) not in (int, float):
        raise TypeError(f"{value!r} is no number")
    return float(value)  # type: ignore[arg-type]  # int or float by now
