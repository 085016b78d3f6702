"""What a training child answers, as files of the job's directory; the parent believes nothing unchecked.

Both sides import this; it needs no torch.
"""

import io
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import numpy as np
import orjson

from clm.artefacts.files import replace_durably, sha256_of
from clm.artefacts.job_files import MODEL, PREDICTIONS, RESULT, parse_epoch
from clm.artefacts.records import read_arrays
from clm.domain.job import TrainingResult
from clm.domain.sample import Floats
from clm.errors import ArtefactError, TrainingError


def write_result(directory: Path, result: TrainingResult) -> None:
    """Write predictions.npz, then result.json: where the latter lies, everything lies.

    Raises:
        ArtefactError: DISK_FULL, READ_ONLY_FS, PERMISSION, IO_ERROR.
    """
    predictions = {"p_candidate_N": result.p_candidate_N, "p_logistic_N": result.p_logistic_N}
    optional = {"p_champion_N": result.p_champion_N, "p_validation_N": result.p_validation_N}
    predictions |= {name: p_N for name, p_N in optional.items() if p_N is not None}
    arrays = io.BytesIO()
    np.savez(arrays, **predictions)  # type: ignore[arg-type]  # arrays by name, no keyword of savez among them
    replace_durably(directory / PREDICTIONS, arrays.getvalue())
    document = {
        "file_sha256": result.file_sha256,
        "weights_hash": result.weights_hash,
        "n_parameters": result.n_parameters,
        "best_epoch": result.best_epoch,
        "stopped_because": result.stopped_because,
        "epochs": [asdict(report) for report in result.epochs],
        "seconds": result.seconds,
        "champion_absent_because": result.champion_absent_because,
        "figures": {name: dict(figures) for name, figures in result.figures.items()},
        "notes": dict(result.notes),
    }
    replace_durably(
        directory / RESULT, orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_SERIALIZE_NUMPY)
    )


def read_result(directory: Path, n_test: int, n_validation: int) -> TrainingResult:
    """Return the child's answer for so many rows, its file hashed anew and its predictions checked.

    Raises:
        TrainingError: RESULT_INVALID.
    """
    try:
        document = orjson.loads((directory / RESULT).read_bytes())
        predictions = read_arrays(directory / PREDICTIONS)
        file_sha256 = sha256_of(directory / MODEL)
        if file_sha256 != document["file_sha256"]:
            raise _invalid(directory, f"{MODEL} has sha256 {file_sha256}, {RESULT} says another")
        p_champion_N = predictions.get("p_champion_N")
        because = str(document["champion_absent_because"])
        if (p_champion_N is None) == (not because):
            raise _invalid(directory, "the champion is neither scored nor said to be absent, or both")
        return TrainingResult(
            weights_path=directory / MODEL,
            file_sha256=file_sha256,
            weights_hash=str(document["weights_hash"]),
            n_parameters=int(document["n_parameters"]),
            best_epoch=int(document["best_epoch"]),
            stopped_because=str(document["stopped_because"]),
            epochs=tuple(parse_epoch(line) for line in document["epochs"]),
            seconds=float(document["seconds"]),
            p_candidate_N=_probabilities(directory, predictions, "p_candidate_N", n_test),
            p_logistic_N=_probabilities(directory, predictions, "p_logistic_N", n_test),
            p_champion_N=None
            if p_champion_N is None
            else _probabilities(directory, predictions, "p_champion_N", n_test),
            champion_absent_because=because,
            p_validation_N=_probabilities(directory, predictions, "p_validation_N", n_validation),
            figures={
                str(name): {str(figure): _figure(value) for figure, value in figures.items()}
                for name, figures in document["figures"].items()
            },
            notes=dict(document["notes"]),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, ArtefactError) as exc:
        raise _invalid(directory, str(exc) or type(exc).__name__) from exc


def _probabilities(directory: Path, predictions: Mapping[str, Floats], name: str, n_test: int) -> Floats:
    p_N = predictions[name]
    if p_N.shape != (n_test,) or p_N.dtype != np.float64:
        raise _invalid(directory, f"{name} is {p_N.dtype}{list(p_N.shape)}, wanted float64[{n_test}]")
    if not np.all((p_N >= 0.0) & (p_N <= 1.0)):
        raise _invalid(directory, f"{name} holds numbers that are no probabilities")
    return p_N


def _figure(value: object) -> float:
    """Return a figure; NaN is written as null."""
    if value is None:
        return float("nan")
    if type(value) not in (int, float):
        raise TypeError(f"{value!r} is no figure")
    return float(value)  # type: ignore[arg-type]  # int or float by now


def _invalid(directory: Path, why: str) -> TrainingError:
    return TrainingError(
        "RESULT_INVALID", f"the training child ended well but its answer in {directory} cannot be used: {why}"
    )
