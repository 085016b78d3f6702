"""Fit one network, or distil several with different seeds into one. The engine loads a single network.

Hinton, Vinyals & Dean, "Distilling the knowledge in a neural network", 2015.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from torch import nn

from clm.domain.job import EpochReport, TrainingSpec
from clm.questions.members import MembersJob
from clm.training.checkpoint import Checkpoint
from clm.training.loop import Fit, fit
from clm.training.members import Material, train_members
from clm.training.start import begin
from clm.training.windows import Part


def fit_candidate(
    material: Material, spec: TrainingSpec, on_epoch: Callable[[EpochReport], None], directory: Path
) -> tuple[nn.Module, Fit]:
    """Return a network and its fit. For an ensemble, return the student that learned the members' average.

    The average is over calibrated probabilities of training windows only. The student's validation labels are
    the real ones, and they select its epoch as for any other network. `directory` contains the question with
    the windows and parts; the processes that train other members read it. Each network has its own
    checkpoint.

    Raises:
        TrainingError: NAN_LOSS.
        ArtefactError: the members' files cannot be written.
    """
    windows, train, validation = material.windows, material.parts["train"], material.parts["validation"]

    def kept(name: str) -> Checkpoint | None:
        return material.checkpoints.of(name) if material.checkpoints else None

    if spec.ensemble == 1:
        model = begin(material.architecture, windows, train, spec)
        return model, fit(model, windows, train, validation, spec, on_epoch, kept("network"))
    with TemporaryDirectory(prefix="members-", dir=directory) as place:
        members = MembersJob(
            directory=Path(place),
            data=directory,
            spec=spec,
            seeds=tuple(spec.seed + number for number in range(spec.ensemble)),
            parts=("train",),
        )
        answers = train_members(members, material, on_epoch)
    total_N = np.sum([p_by_part["train"] for p_by_part in answers], axis=0)
    taught_N = torch.from_numpy((total_N / spec.ensemble).astype(np.float32))
    taught = Part(row_N=train.row_N, label_N=taught_N.to(train.row_N.device))
    # The teachers' probabilities match the base rate and are soft already.
    plain = replace(spec, class_weights=False, label_smoothing=0.0)
    # Members draw numbers too, and how many depends on the processes that trained them.
    torch.manual_seed(spec.seed)
    student = begin(material.architecture, windows, train, plain)
    return student, fit(student, windows, taught, validation, plain, on_epoch, kept("pupil"))
