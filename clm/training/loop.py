"""Fit a network on the training part; the validation part calibrates it and selects the epoch."""

import copy
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from clm.clock import SystemClock
from clm.domain.job import EpochReport, TrainingSpec
from clm.errors import TrainingError
from clm.evaluation.metrics import auroc, log_loss_rows
from clm.models.linear_start import StartsLinear
from clm.training.calibrate import Calibration, fit_calibration
from clm.training.checkpoint import Checkpoint
from clm.training.fit_state import FitState, Queue, Story
from clm.training.loss import class_weights, prior_shift, spread_term, weighted_loss
from clm.training.precision import products
from clm.training.predict import logits, p_win
from clm.training.windows import Part, Windows

EPOCH_WINDOWS = 8192
"""Maximum number of windows per epoch, so that a training takes minutes regardless of the store's size.

Neighbouring windows share all steps but one, so each window of a large store adds little information.
"""
VALIDATION_WINDOWS = 16_384
"""Maximum number of validation windows that select and calibrate the epoch, evenly spread over the part.

Without a cap, validation would dominate the epoch of a large store: nine tenths of it at a million samples.
Epochs are compared on the same windows, and the temperature is a single number, so a sample is enough.
"""
MAX_GRADIENT_NORM = 1.0
WARM_UP_SHARE = 0.1
"""Share of all steps in which the learning rate rises; then it decays to 0 along a cosine."""
STEPS_PER_CHECK = 16
"""Steps between two checks for a finite loss; a check after every step would stall a GPU."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """The weights of the best epoch, their calibration, and the reports of all epochs."""

    state: Mapping[str, Tensor]
    """On the CPU, whatever the training device."""
    calibration: Calibration
    best_epoch: int
    stopped_because: str
    epochs: tuple[EpochReport, ...]


def fit(
    model: nn.Module,
    windows: Windows,
    train: Part,
    validation: Part,
    spec: TrainingSpec,
    on_epoch: Callable[[EpochReport], None],
    checkpoint: Checkpoint | None = None,
) -> Fit:
    """Train with early stopping and return the epoch with the lowest validation log loss.

    A network with a linear start is also judged before its first step, as epoch 0 without a training loss.

    The validation figures are those of the calibrated network, as it would be served: class weights and
    label smoothing shift the raw log loss by more than the difference between two epochs. The network is
    moved to the device of the training windows. With a checkpoint, the fit resumes bit for bit. An epoch is
    saved before it is reported.

    Raises:
        TrainingError: NAN_LOSS, a loss is not finite.
    """
    clock = SystemClock()
    standing = _at_the_start(model.to(train.row_N.device), train, spec)
    if checkpoint and (document := checkpoint.load()):
        standing.restore(document)
        checkpoint.resumed(standing.story.last_epoch)
    story = standing.story
    weights = class_weights(train.label_N) if spec.class_weights else (1.0, 1.0)
    judge = _Judge(
        windows=windows,
        validation=validation.spread(VALIDATION_WINDOWS),
        spec=spec,
        prior=prior_shift(weights),
    )

    stopped_because = f"all {spec.epochs} epochs are done"
    # A random start must not be kept as epoch 0, even if its validation loss happens to be low.
    first = 0 if spec.start == "logistic" and isinstance(model, StartsLinear) else 1
    for epoch in range(story.last_epoch + 1 if story.reports else first, spec.epochs + 1):
        if epoch - 1 - story.best_epoch >= spec.patience:
            stopped_because = (
                f"no better validation log loss for {spec.patience} epochs after epoch {story.best_epoch}"
            )
            break
        started, train_loss = clock.monotonic(), math.nan
        if epoch:
            index_N = standing.queue.next()
            train_loss = _train_epoch(standing, windows, train, index_N, spec, weights, epoch)
        report = _judged(model, judge, story, epoch, train_loss)
        if spec.swa_from < 1.0 and epoch > spec.swa_from * spec.epochs:
            story.average_in(model.state_dict())
        report = replace(report, seconds=clock.monotonic() - started)
        story.reports.append(report)
        if checkpoint:
            checkpoint.save(standing.as_document())
        on_epoch(report)
    # The mean of one epoch's weights is that epoch, which has been judged.
    if story.averaged > 1:
        story.reports.append(_average_judged(model, judge, story, clock))
        on_epoch(story.reports[-1])
    return Fit(
        state={name: tensor.cpu() for name, tensor in story.state.items()},
        calibration=story.calibration,
        best_epoch=story.best_epoch,
        stopped_because=stopped_because,
        epochs=tuple(story.reports),
    )


def _at_the_start(model: nn.Module, train: Part, spec: TrainingSpec) -> FitState:
    optimizer = torch.optim.AdamW(_groups(model, spec.weight_decay), lr=spec.learning_rate, fused=True)
    n_windows = min(len(train.row_N), EPOCH_WINDOWS)
    return FitState(
        model=model,
        optimizer=optimizer,
        queue=Queue(len(train.row_N), n_windows, spec.seed),
        story=Story(state=copy.deepcopy(model.state_dict())),
        device=train.row_N.device,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Judge:
    """The data and settings that judge an epoch."""

    windows: Windows
    validation: Part
    spec: TrainingSpec
    prior: float
    """Shift of the log odds by class weights."""


def _judged(model: nn.Module, judge: _Judge, story: Story, epoch: int, train_loss: float) -> EpochReport:
    """Calibrate the network, keep it if it is the best so far, and return a report with 0 seconds."""
    spec = judge.spec
    label_N = judge.validation.label_N.cpu().numpy().astype(np.int8)
    logit_N = logits(model, judge.windows, judge.validation.row_N)
    _require_finite(float(logit_N.sum()), f"sum of the validation logits of epoch {epoch}")
    fitted = fit_calibration(logit_N, label_N, spec.spread_weight, judge.prior)
    p_N = p_win(fitted.slope * logit_N + fitted.intercept)
    log_loss = float(log_loss_rows(label_N, p_N).mean())
    return EpochReport(
        epoch=epoch,
        epochs=spec.epochs + (spec.swa_from < 1.0),
        train_loss=train_loss,
        validation_log_loss=log_loss,
        validation_auroc=auroc(label_N, p_N),
        validation_p_win_std=float(p_N.std()),
        seconds=0.0,
        best=story.judge(epoch, log_loss, fitted, model.state_dict()),
    )


def _average_judged(model: nn.Module, judge: _Judge, story: Story, clock: SystemClock) -> EpochReport:
    """Judge the average of the last epochs' weights as an additional epoch without training."""
    started = clock.monotonic()
    model.load_state_dict(story.average)
    report = _judged(model, judge, story, story.last_epoch + 1, math.nan)
    return replace(report, seconds=clock.monotonic() - started)


def learning_rate_factor(step: int, steps: int) -> float:
    """Return the learning rate factor of a step: linear warm-up, then cosine decay."""
    rise = WARM_UP_SHARE * steps
    if step < rise:
        return (step + 1) / (rise + 1)
    return 0.5 * (1.0 + math.cos(math.pi * (step - rise) / max(1.0, steps - rise)))


def _groups(model: nn.Module, weight_decay: float) -> list[dict[str, object]]:
    """Apply weight decay to matrices only; it does not regularise biases, norms or positions."""
    matrices = [parameter for parameter in model.parameters() if parameter.dim() == 2]
    others = [parameter for parameter in model.parameters() if parameter.dim() != 2]
    return [{"params": matrices, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}]


def _train_epoch(
    standing: FitState,
    windows: Windows,
    train: Part,
    index_N: Tensor,
    spec: TrainingSpec,
    weights: tuple[float, float],
    epoch: int,
) -> float:
    """Take one step per batch over the training windows `index_N` and return their mean loss."""
    model, optimizer = standing.model, standing.optimizer
    model.train()
    batches = torch.split(index_N, spec.batch_size)
    loss_S = torch.zeros(len(batches), device=train.label_N.device)
    before, steps = (epoch - 1) * len(batches), spec.epochs * len(batches)
    held_at = math.ceil(spec.swa_from * steps)
    for step, index_B in enumerate(batches):
        x_BLC, label_B = windows.gather(train.row_N[index_B]), train.label_N[index_B]
        with products(spec.precision, x_BLC.device):
            logit_B = model(x_BLC)
        # The loss in fp32: bf16 has three digits, too few for a gradient near zero.
        logit_B = logit_B.float()
        loss = weighted_loss(logit_B, label_B, label_smoothing=spec.label_smoothing, weights=weights)
        if spec.spread_weight:
            loss = loss + spec.spread_weight * spread_term(logit_B)
        # Kept on the device: reading each loss would wait for the GPU.
        loss_S[step] = loss.detach()
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        nn.utils.clip_grad_norm_(model.parameters(), MAX_GRADIENT_NORM)
        for group in optimizer.param_groups:
            group["lr"] = spec.learning_rate * learning_rate_factor(min(before + step, held_at), steps)
        optimizer.step()
        if step % STEPS_PER_CHECK == STEPS_PER_CHECK - 1:
            _require_finite_steps(loss_S[: step + 1], epoch)
    _require_finite_steps(loss_S, epoch)
    size_S = torch.tensor([len(index_B) for index_B in batches], dtype=torch.float64)
    return float(loss_S.cpu().double() @ size_S) / len(index_N)


def _require_finite_steps(loss_S: Tensor, epoch: int) -> None:
    """Raise for the first step whose loss is not finite; the steps after it are its consequences."""
    bad_S = torch.nonzero(~torch.isfinite(loss_S))
    if len(bad_S):
        first = int(bad_S[0])
        _require_finite(float(loss_S[first]), f"training loss at step {first + 1} of epoch {epoch}")


def _require_finite(loss: float, what: str) -> None:
    if not math.isfinite(loss):
        raise TrainingError(
            "NAN_LOSS",
            f"the {what} is {loss}; look for extreme features, or lower CLM_TRAINING__LEARNING_RATE",
        )
