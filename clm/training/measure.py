"""Answer the question `measure`. It does not affect the judgement of the run."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from clm.artefacts.files import sha256_of
from clm.artefacts.records import RecordError, read_record
from clm.clock import SystemClock
from clm.data.association import spread
from clm.diagnosis.training import REFERENCE_LEARNING_RATE
from clm.domain.job import EpochReport, TrainingJob, TrainingResult
from clm.domain.measurement import Measurement
from clm.domain.sample import Ints
from clm.errors import ArtefactError, TrainingError
from clm.evaluation.metrics import auroc, log_loss
from clm.models.catalogue import Architecture, architecture
from clm.questions.measure import MeasureInputs, Measurements
from clm.questions.question import Files
from clm.questions.train import NAME as TRAIN
from clm.questions.train import WEIGHTS, TrainingArrays, read_training
from clm.training.activations import WINDOWS, activation_figures
from clm.training.determinism import make_deterministic
from clm.training.export import load_served
from clm.training.floor import MODELS
from clm.training.loop import MAX_GRADIENT_NORM, VALIDATION_WINDOWS, fit
from clm.training.predict import logits, p_win
from clm.training.windows import Windows, part_of, raw_windows, scaled_windows, scaler_of
from clm.training.work import Work

MEMORISED_ROWS = 64
"""Number of rows that any network of this size can memorise."""
MEMORISING_STEPS = 30
RERUN_WINDOWS = 1024
"""Training windows of the short trainings that are compared."""
RERUN_EPOCHS = 3
"""Epochs of these trainings."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """A trained job with its inputs and epoch reports; its directory contains the model."""

    job: TrainingJob
    arrays: TrainingArrays
    epochs: tuple[EpochReport, ...]

    @property
    def architecture(self) -> Architecture:
        """Return the trained architecture."""
        return architecture(self.job.spec.architecture).sized(len(self.job.feature_names))

    @property
    def validation_N(self) -> Tensor:
        """Return the rows or numbers by which the validation windows are gathered."""
        return part_of(self.arrays, self.arrays.validation).row_N

    def served(self) -> tuple[nn.Module, Windows]:
        """Return the network of the served file, and its raw input windows."""
        chosen, context_length = self.architecture, self.job.context_length
        model = chosen.build(0.0)
        load_served(model, (self.job.directory / WEIGHTS).read_bytes())
        return model, raw_windows(self.arrays, n_channels=chosen.n_features, context_length=context_length)

    def windows(self, scaling: str) -> Windows:
        """Return the training windows with this scaling."""
        arrays = replace(self.arrays, scaler=scaler_of(self.arrays, scaling))
        n_channels, context_length = self.architecture.n_features, self.job.context_length
        return scaled_windows(arrays, n_channels=n_channels, context_length=context_length)


class NotApplicable(Exception):
    """Raised if a measurement does not apply to this run; the text is the reason."""


def saved_file(subject: Subject) -> Mapping[str, float]:
    """Return the validation log loss of the served file, and the one that selected its epoch."""
    model, windows = subject.served()
    arrays = subject.arrays
    chosen_on = part_of(arrays, arrays.validation).spread(VALIDATION_WINDOWS)
    p_N = p_win(logits(model, windows, chosen_on.row_N))
    return {
        "reported_log_loss": min(epoch.validation_log_loss for epoch in subject.epochs),
        "file_log_loss": log_loss(chosen_on.label_N.numpy().astype(np.int8), p_N),
    }


def activations(subject: Subject) -> Mapping[str, float]:
    """Return the activation figures of the served network on validation windows."""
    model, windows = subject.served()
    row_N = subject.validation_N
    return activation_figures(model, windows.gather(row_N[torch.from_numpy(spread(len(row_N), WINDOWS))]))


def overfit(subject: Subject) -> Mapping[str, float]:
    """Return the loss after memorising 64 rows, at the job's learning rate and at a reference rate."""
    spec = subject.job.spec
    # Always scale the inputs: the effect of missing scaling has its own measurement.
    scaling = "standard" if spec.scaling == "none" else spec.scaling
    own, gradient_norm = _memorise(subject, spec.learning_rate, scaling)
    reference = own
    if spec.learning_rate != REFERENCE_LEARNING_RATE:
        reference, _ = _memorise(subject, REFERENCE_LEARNING_RATE, scaling)
    return {"own_loss": own, "own_gradient_norm": gradient_norm, "reference_loss": reference}


def time(subject: Subject) -> Mapping[str, float]:
    """Return the AUROC of boosted trees with a split in time, and with rows shuffled before the split."""
    arrays = subject.arrays
    known = np.concatenate([arrays.train, arrays.validation])
    shuffled = np.random.default_rng(subject.job.spec.seed).permutation(known)
    cut = len(arrays.train)
    return {
        "purged_auroc": _plain(arrays, arrays.train, arrays.validation, "boosted trees"),
        "naive_auroc": _plain(arrays, shuffled[:cut], shuffled[cut:], "boosted trees"),
    }


def learning_curve(subject: Subject) -> Mapping[str, float]:
    """Return the better plain model's validation AUROC, trained on the newest quarter, half and all rows."""
    arrays = subject.arrays
    return {
        name: max(
            _plain(arrays, arrays.train[-(len(arrays.train) // part) :], arrays.validation, model)
            for model in MODELS
        )
        for name, part in (("quarter", 4), ("half", 2), ("all", 1))
    }


def scaling(subject: Subject) -> Mapping[str, float]:
    """Return the results of memorising 64 rows and of a short training, without and with feature scaling."""
    if subject.job.spec.scaling != "none":
        raise NotApplicable(f"features are scaled: CLM_TRAINING__SCALING={subject.job.spec.scaling}")
    own, scaled = (
        {**_rerun(subject, name), "by_heart": _memorise(subject, REFERENCE_LEARNING_RATE, name)[0]}
        for name in ("none", "standard")
    )
    scale_C = subject.arrays.scaler.scale_C
    return {
        **{f"own_{name}": figure for name, figure in own.items()},
        **{f"scaled_{name}": figure for name, figure in scaled.items()},
        "scale_ratio": float(scale_C.max() / scale_C.min()),
    }


Measure = Callable[[Subject], Mapping[str, float]]

MEASUREMENTS: tuple[Measure, ...] = (saved_file, activations, overfit, time, learning_curve, scaling)
"""In the order of their cost, so that a small budget yields as many as possible."""


def measure_all(
    subject: Subject, budget_s: float, keep: Callable[[Mapping[str, Measurement]], None]
) -> Mapping[str, Measurement]:
    """Measure until the budget is used up, and pass all results so far to `keep` after each measurement.

    A measurement that does not fit into the budget reports this as its reason.
    """
    clock, measured = SystemClock(), {}
    began = clock.monotonic()
    for measure in MEASUREMENTS:
        spent = clock.monotonic() - began
        if spent >= budget_s:
            why = f"the budget of {budget_s:g} s was already used up; raise CLM_DIAGNOSIS__BUDGET_S"
            measured[measure.__name__] = Measurement(figures={}, cost_s=0.0, absent_because=why)
            continue
        make_deterministic(subject.job.spec.seed, subject.job.spec.threads)
        figures, why = _tried(measure, subject)
        measured[measure.__name__] = Measurement(
            figures=figures, cost_s=clock.monotonic() - began - spent, absent_because=why
        )
        keep(measured)
    keep(measured)
    return measured


def _tried(measure: Measure, subject: Subject) -> tuple[Mapping[str, float], str]:
    """Return the figures, or the reason for their absence, so that a failure does not stop the others."""
    try:
        return measure(subject), ""
    except NotApplicable as reason:
        return {}, str(reason)
    except (TrainingError, ArtefactError, OSError, ValueError, RuntimeError) as error:
        return {}, " ".join(f"could not be measured: {error}".split())[:300]


def _memorise(subject: Subject, learning_rate: float, scaling: str) -> tuple[float, float]:
    """Return the loss and median gradient norm of a network trained repeatedly on the same 64 rows."""
    arrays, half = subject.arrays, MEMORISED_ROWS // 2
    won = arrays.label_N[arrays.train] == 1
    if min(won.sum(), (~won).sum()) < half:
        raise NotApplicable(f"there are fewer than {half} training rows of a class")
    rows = np.concatenate([_some(arrays.train[won], half), _some(arrays.train[~won], half)])
    torch.manual_seed(subject.job.spec.seed)
    model = subject.architecture.build(0.0)
    part = part_of(arrays, rows)
    x_BLC = subject.windows(scaling).gather(part.row_N)
    optimizer = torch.optim.AdamW(model.parameters(), lr=learning_rate, fused=True)
    norms = []
    for step in range(MEMORISING_STEPS + 1):
        loss = binary_cross_entropy_with_logits(model(x_BLC), part.label_N)
        if step == MEMORISING_STEPS or not torch.isfinite(loss):
            break
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        norms.append(float(nn.utils.clip_grad_norm_(model.parameters(), MAX_GRADIENT_NORM)))
        optimizer.step()
    return float(loss.detach()), float(np.median(norms)) if norms else float("nan")


def _rerun(subject: Subject, scaling: str) -> Mapping[str, float]:
    """Return the validation figures of a short training."""
    arrays, asked = subject.arrays, subject.job.spec
    spec = replace(asked, epochs=min(RERUN_EPOCHS, asked.epochs), ensemble=1)
    windows, validation = subject.windows(scaling), part_of(arrays, arrays.validation)
    torch.manual_seed(spec.seed)
    model = subject.architecture.build(spec.dropout)
    train = part_of(arrays, _some(arrays.train, RERUN_WINDOWS))
    fitted = fit(model, windows, train, validation, spec, lambda _: None)
    model.load_state_dict(fitted.state)
    logit_N = logits(model, windows, validation.row_N)
    p_N = p_win(fitted.calibration.slope * logit_N + fitted.calibration.intercept)
    label_N = arrays.label_N[arrays.validation]
    return {"log_loss": log_loss(label_N, p_N), "auroc": auroc(label_N, p_N), "std": float(p_N.std())}


def _plain(arrays: TrainingArrays, train: Ints, test: Ints, model: str) -> float:
    """Return the AUROC of a plain model of the last step; NaN if it is undefined."""
    label_N = arrays.label_N[train]
    if len(np.unique(label_N)) < 2 or not len(test):
        return float("nan")
    score_N = MODELS[model](arrays.last_steps(train), label_N, arrays.last_steps(test))
    return auroc(arrays.label_N[test], p_win(score_N))


def _some(rows: Ints, limit: int) -> Ints:
    return rows[spread(len(rows), limit)]


def answer(inputs: MeasureInputs, work: Work) -> None:
    """Measure until the budget is used up; rewrite the answer after each measurement.

    Raises:
        TrainingError: JOB_UNREADABLE.
    """
    trained = read_training(inputs.directory)
    try:
        result = read_record(TrainingResult, Files(directory=inputs.directory, name=TRAIN).answer)
        file_sha256 = sha256_of(inputs.directory / WEIGHTS)
    except (RecordError, ArtefactError) as exc:
        raise TrainingError("JOB_UNREADABLE", f"{inputs.directory} has no trained network: {exc}") from exc
    if file_sha256 != result.file_sha256:
        raise TrainingError(
            "JOB_UNREADABLE", f"the network in {inputs.directory} is not the one that was trained"
        )
    subject = Subject(job=trained.job, arrays=trained.arrays, epochs=result.epochs)
    measure_all(subject, inputs.budget_s, lambda found: work.keep(Measurements(by_name=found)))
