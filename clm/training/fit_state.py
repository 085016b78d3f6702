"""The state of a fit: everything that changes from epoch to epoch and that a checkpoint must contain."""

import copy
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from clm.domain.job import EpochReport
from clm.training.calibrate import IDENTITY, Calibration

State = Mapping[str, Tensor]


@dataclass(slots=True, kw_only=True)
class Story:
    """The epochs so far: the best one, all reports, and the average of the last weights.

    Its tensors are copies and do not change with the network.
    """

    state: State
    """Weights of the best epoch; before the first epoch, the initial weights."""
    calibration: Calibration = IDENTITY
    best: float = math.inf
    best_epoch: int = 0
    reports: list[EpochReport] = field(default_factory=list)
    average: dict[str, Tensor] = field(default_factory=dict)
    """Mean of the weights at the end of the last `averaged` epochs."""
    averaged: int = 0

    @property
    def last_epoch(self) -> int:
        """Return the number of the last judged epoch; 0 if there is none."""
        return self.reports[-1].epoch if self.reports else 0

    def judge(self, epoch: int, log_loss: float, calibration: Calibration, state: State) -> bool:
        """Keep these weights if they are the best so far, and return whether they are."""
        if better := log_loss < self.best:
            # Copy deeply: the tensors of state_dict() are the live weights, which later steps change.
            self.best, self.best_epoch, self.state = log_loss, epoch, copy.deepcopy(dict(state))
            self.calibration = calibration
        return better

    def average_in(self, state: State) -> None:
        """Add the weights of one more epoch to the average.

        Izmailov et al., "Averaging weights leads to wider optima and better generalization", UAI 2018. No
        network here has batch normalisation, so no statistics need to be recomputed.
        """
        self.averaged += 1
        for name, tensor in state.items():
            if name in self.average and tensor.is_floating_point():  # a boolean mask has no mean
                self.average[name].lerp_(tensor, 1.0 / self.averaged)
            else:
                self.average[name] = tensor.detach().clone()

    def as_document(self) -> dict[str, object]:
        """Return all fields as tensors, numbers and strings."""
        return {
            "state": dict(self.state),
            "calibration": asdict(self.calibration),
            "best": self.best,
            "best_epoch": self.best_epoch,
            "reports": [asdict(report) for report in self.reports],
            "average": self.average,
            "averaged": self.averaged,
        }


class Queue:
    """The windows of successive epochs: every window is used once before any is used again."""

    def __init__(self, n_windows: int, an_epoch: int, seed: int) -> None:
        self._n_windows = n_windows
        self._an_epoch = an_epoch
        self._shuffle = torch.Generator().manual_seed(seed)
        self._waiting = torch.empty(0, dtype=torch.int64)

    def next(self) -> Tensor:
        """Return the indices of the windows of the next epoch."""
        if len(self._waiting) < self._an_epoch:
            # Its own generator: the order of windows must not depend on how often dropout draws.
            again = torch.randperm(self._n_windows, generator=self._shuffle)
            self._waiting = torch.cat([self._waiting, again])
        index_N, self._waiting = self._waiting[: self._an_epoch], self._waiting[self._an_epoch :]
        return index_N

    def as_document(self) -> dict[str, Tensor]:
        """Return the state of the generator and the windows that are still queued."""
        # Copy: torch.save would write the whole storage of a slice.
        return {"shuffle": self._shuffle.get_state(), "waiting": self._waiting.clone()}

    def restore(self, document: Mapping[str, Tensor]) -> None:
        """Restore the state at the time of `as_document`."""
        self._shuffle.set_state(document["shuffle"])
        self._waiting = document["waiting"]


@dataclass(slots=True, kw_only=True)
class FitState:
    """The complete state of one fit between two epochs."""

    model: nn.Module
    optimizer: torch.optim.Optimizer
    queue: Queue
    story: Story
    device: torch.device

    def as_document(self) -> dict[str, object]:
        """Return all fields as tensors, numbers and strings.

        This includes torch's own generators, because dropout draws from them.
        """
        document = {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "queue": self.queue.as_document(),
            "story": self.story.as_document(),
            "cpu_generator": torch.get_rng_state(),
        }
        if self.device.type == "cuda":
            document["cuda_generator"] = torch.cuda.get_rng_state(self.device)
        return document

    def restore(self, document: Mapping[str, Any]) -> None:
        """Restore the state at the time of `as_document`, bit for bit."""
        self.model.load_state_dict(document["model"])
        self.optimizer.load_state_dict(document["optimizer"])
        self.queue.restore(document["queue"])
        self.story = _story(document["story"], self.device)
        torch.set_rng_state(document["cpu_generator"])
        if self.device.type == "cuda":
            torch.cuda.set_rng_state(document["cuda_generator"], self.device)


def _story(document: Mapping[str, Any], device: torch.device) -> Story:
    fields = dict(document)
    for name in ("state", "average"):
        fields[name] = {key: tensor.to(device) for key, tensor in fields[name].items()}
    fields["calibration"] = Calibration(**fields["calibration"])
    fields["reports"] = [EpochReport(**report) for report in fields["reports"]]
    return Story(**fields)
