"""Answer the question `train`: train, check the served file, and measure its predictions."""

import hashlib
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from clm.clock import SystemClock
from clm.domain.job import EpochReport, TrainingJob, TrainingResult
from clm.domain.sample import Ints
from clm.errors import TrainingError
from clm.models.catalogue import Architecture, architecture
from clm.models.linear import onednn
from clm.models.scaling import linear_layer
from clm.questions.train import WEIGHTS, Resumed, TrainingArrays, TrainInputs, TrainProgress
from clm.training import precision
from clm.training.calibrate import fold_calibration
from clm.training.champion import score_champion
from clm.training.checkpoint import Checkpoints, checkpoints_of
from clm.training.determinism import make_deterministic
from clm.training.device import device_of
from clm.training.ensemble import fit_candidate
from clm.training.export import load_served, require_agreement, save_served, weights_hash
from clm.training.figures import figures_of
from clm.training.loop import Fit
from clm.training.members import Material
from clm.training.plain import score_folds, score_plain
from clm.training.predict import logits, p_win
from clm.training.threads import with_threads
from clm.training.windows import live_channels, part_of, raw_windows, scaled_windows, scaler_of
from clm.training.work import Work


def uses_gpu(inputs: TrainInputs) -> bool:
    """Return whether the network is trained on a GPU.

    Raises:
        TrainingError: DEVICE_ABSENT.
    """
    return device_of(inputs.job.spec.device).type != "cpu"


def answer(inputs: TrainInputs, work: Work) -> None:
    """Train; the checkpoints are removed once the answer is on disk.

    Raises:
        TrainingError: ARCHITECTURE_UNKNOWN, DEVICE_ABSENT, JOB_UNREADABLE, NAN_LOSS, EXPORT_MISMATCH.
        ArtefactError: a file cannot be written.
    """
    job, counted = with_threads(replace(inputs.job, directory=work.directory))
    checkpoints = checkpoints_of(
        job, inputs.arrays, lambda epoch: work.report(TrainProgress(news=Resumed(epoch=epoch)))
    )
    result = train_job(
        job, inputs.arrays, lambda report: work.report(TrainProgress(news=report)), checkpoints
    )
    notes = {**result.notes, **counted, "logistic_folds": score_folds(inputs.arrays)}
    work.keep(replace(result, notes=notes, figures=figures_of(inputs.arrays, result)))
    if checkpoints:
        checkpoints.clear()


def train_job(
    job: TrainingJob,
    arrays: TrainingArrays,
    on_epoch: Callable[[EpochReport], None],
    checkpoints: Checkpoints | None = None,
) -> TrainingResult:
    """Train, calibrate, export, and predict the test rows with the exported file.

    CLM_TRAINING__DEVICE selects the training device. Checks and predictions run on the CPU, as in the engine.

    Raises:
        TrainingError: ARCHITECTURE_UNKNOWN, DEVICE_ABSENT, JOB_UNREADABLE, NAN_LOSS, EXPORT_MISMATCH.
        ArtefactError: the file cannot be written.
    """
    clock = SystemClock()
    started = clock.monotonic()
    chosen = architecture(job.spec.architecture).sized(len(job.feature_names))
    _require_fit(job, arrays, chosen)
    device = device_of(job.spec.device)
    make_deterministic(job.spec.seed, job.spec.threads)
    learnt = replace(arrays, scaler=scaler_of(arrays, job.spec.scaling))
    scaled = scaled_windows(learnt, n_channels=chosen.n_features, context_length=job.context_length)
    raw = raw_windows(arrays, n_channels=chosen.n_features, context_length=job.context_length)
    live_C = live_channels(arrays, chosen.n_features)
    train, validation = part_of(arrays, arrays.train), part_of(arrays, arrays.validation)
    test_N = _rows(arrays, arrays.test)
    material = Material(
        architecture=chosen,
        windows=scaled.to(device),
        parts={"train": train.to(device), "validation": validation.to(device)},
        checkpoints=checkpoints,
    )
    model, fitted = fit_candidate(material, job.spec, on_epoch, job.directory)
    model.cpu().load_state_dict(fitted.state)
    fold_calibration(linear_layer(model, chosen.output_layer), fitted.calibration)
    p_trained_N = p_win(logits(model, scaled, test_N))
    chosen.fold_scaling(model, learnt.scaler, live_C)
    served, sha256 = _written_and_read(model, chosen, job.directory / WEIGHTS)
    p_candidate_N = p_win(logits(served, raw, test_N))
    difference = require_agreement(p_candidate_N, p_trained_N)
    plain = score_plain(arrays)
    champion = score_champion(job.champion, job.feature_names, arrays, job.context_length)
    return TrainingResult(
        weights_path=job.directory / WEIGHTS,
        file_sha256=sha256,
        weights_hash=weights_hash(served.state_dict()),
        n_parameters=sum(parameter.numel() for parameter in served.parameters()),
        best_epoch=fitted.best_epoch,
        stopped_because=fitted.stopped_because,
        epochs=fitted.epochs,
        seconds=clock.monotonic() - started,
        p_candidate_N=p_candidate_N,
        p_logistic_N=plain["logistic"].p_test_N,
        p_champion_N=champion.p_N,
        champion_absent_because=champion.absent_because,
        p_validation_N=p_win(logits(served, raw, validation.row_N)),
        p_trees_N=plain["trees"].p_test_N,
        validation_by_plain={name: scores.p_validation_N for name, scores in plain.items()},
        notes={
            **_notes(job, device, fitted, difference, [bool(live) for live in live_C]),
            "trees": dict(plain["trees"].chosen),
            **_remarks(checkpoints),
        },
    )


def _written_and_read(model: nn.Module, chosen: Architecture, path: Path) -> tuple[nn.Module, str]:
    """Write the network, load it from the file's bytes, and return it with their sha256."""
    data = save_served(model, path)
    served = chosen.build(0.0)
    load_served(served, data)
    return served, hashlib.sha256(data).hexdigest()


def _require_fit(job: TrainingJob, arrays: TrainingArrays, chosen: Architecture) -> None:
    """Raise for a job that does not fit the architecture. The parent's audits normally refuse it earlier."""
    n_features = arrays.features_RC.shape[1]
    if job.context_length != chosen.context_length or n_features > chosen.n_features:
        raise TrainingError(
            "JOB_UNREADABLE",
            f"architecture {chosen.name} takes windows of {chosen.context_length} steps and at most "
            f"{chosen.n_features} features, but the job has {job.context_length} and {n_features}",
        )
    if not len(arrays.train) or not len(arrays.validation) or not len(arrays.test):
        raise TrainingError("JOB_UNREADABLE", "a part of the split is empty; more samples are needed")


def _rows(arrays: TrainingArrays, part: Ints) -> Tensor:
    return torch.from_numpy(arrays.name_N[part])


def _remarks(checkpoints: Checkpoints | None) -> dict[str, object]:
    return {"checkpoints": checkpoints.remarks} if checkpoints and checkpoints.remarks else {}


def _named(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def _notes(
    job: TrainingJob, device: torch.device, fitted: Fit, difference: float, live: list[bool]
) -> dict[str, object]:
    kind = precision.type_of_products(job.spec.precision, device)
    hand_written = job.spec.architecture == "engine"  # the only one that uses clm/models/layers.py
    return {
        "device": _named(device),
        "threads": job.spec.threads,
        "precision": precision.described(job.spec.precision, device),
        "linear_layers": "oneDNN" if hand_written and onednn(kind, device.type) else "torch",
        "torch": torch.__version__,
        "calibration": asdict(fitted.calibration),
        "export_difference": difference,
        "silent_features": [name for name, on in zip(job.feature_names, live, strict=False) if not on],
        "epochs_run": fitted.epochs[-1].epoch,
    }
