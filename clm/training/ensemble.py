"""One network, or several of different seeds taught to one: the engine holds a single file of one shape.

Hinton, Vinyals & Dean, "Distilling the knowledge in a neural network", 2015.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from torch import nn

from clm.domain.job import EpochReport, TrainingSpec
from clm.models.catalogue import Architecture
from clm.training.checkpoint import Checkpoint, Checkpoints
from clm.training.loop import Fit, fit
from clm.training.predict import logits, p_win
from clm.training.start import begin
from clm.training.windows import Part, Windows


def fit_candidate(
    architecture: Architecture,
    windows: Windows,
    train: Part,
    validation: Part,
    spec: TrainingSpec,
    on_epoch: Callable[[EpochReport], None],
    checkpoints: Checkpoints | None = None,
) -> tuple[nn.Module, Fit]:
    """Return a network and its fit; of an ensemble, the one that learnt the average of all.

    The average is of calibrated probabilities, taken on training windows alone: the pupil's validation labels
    stay what they are, and choose its epoch as for any other network. Each network has its own checkpoint.

    Raises:
        TrainingError: NAN_LOSS.
    """

    def kept(name: str) -> Checkpoint | None:
        return checkpoints.of(name) if checkpoints else None

    if spec.ensemble == 1:
        model = begin(architecture, windows, train, spec)
        return model, fit(model, windows, train, validation, spec, on_epoch, kept("network"))
    total_N = np.zeros(len(train.row_N))
    for member in range(spec.ensemble):
        own = replace(spec, seed=spec.seed + member)
        torch.manual_seed(own.seed)
        teacher = begin(architecture, windows, train, own)
        fitted = fit(teacher, windows, train, validation, own, on_epoch, kept(f"teacher-{member + 1}"))
        teacher.load_state_dict(fitted.state)
        calibration = fitted.calibration
        total_N += p_win(calibration.slope * logits(teacher, windows, train.row_N) + calibration.intercept)
    taught = Part(
        row_N=train.row_N,
        label_N=torch.from_numpy((total_N / spec.ensemble).astype(np.float32)).to(train.row_N.device),
    )
    # What the teachers say is on the scale of the base rate and soft already.
    plain = replace(spec, class_weights=False, label_smoothing=0.0)
    torch.manual_seed(spec.seed)
    pupil = begin(architecture, windows, train, spec)
    return pupil, fit(pupil, windows, taught, validation, plain, on_epoch, kept("pupil"))
