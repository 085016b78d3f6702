"""Windows are gathered on the fly. N windows of L steps overlap in R rows, so only the rows are kept.

Shapes: R rows, N windows, B batch, L context_length, C channels of the architecture, K static channels.
"""

from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from clm.data.association import spread
from clm.data.scaling import Scaler, fit_robust, unscaled, varies
from clm.domain.sample import Floats, Ints
from clm.questions.train import TrainingArrays


@dataclass(frozen=True, slots=True, kw_only=True)
class Windows:
    """Rows with all channels of the architecture; a window is identified by its last row."""

    values_RC: Tensor
    """float32, contiguous; channels without a feature are zero."""
    context_length: int

    def gather(self, row_B: Tensor) -> Tensor:
        """Return x_BLC, oldest step first. Each window is contiguous, so it is copied in one piece."""
        length, n_channels = self.context_length, self.values_RC.shape[1]
        n_windows = max(len(self.values_RC) - length + 1, 0)
        all_NF = self.values_RC.as_strided((n_windows, length * n_channels), (n_channels, 1))
        return all_NF.index_select(0, row_B - (length - 1)).view(-1, length, n_channels)

    def to(self, device: torch.device) -> Self:
        """Return the same windows on a device; batches are gathered there."""
        return replace(self, values_RC=self.values_RC.to(device))

    def last_step(self, row_B: Tensor) -> Tensor:
        """Return the newest step of these windows, x_BC."""
        return self.values_RC[row_B]


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldWindows(Windows):
    """Windows in which K channels are static: one value for all steps. Windows are identified by number."""

    end_N: Tensor
    """Last row of each window."""
    held_K: Tensor
    """Indices of the static channels."""
    held_NK: Tensor
    """Their values, float32."""

    def gather(self, row_B: Tensor) -> Tensor:
        """Return x_BLC of the windows with these numbers, oldest step first."""
        x_BLC = Windows.gather(self, self.end_N[row_B])
        x_BLC[:, :, self.held_K] = self.held_NK[row_B][:, None, :]
        return x_BLC

    def to(self, device: torch.device) -> Self:
        """Return the same windows, with their static values, on a device."""
        held = {name: getattr(self, name).to(device) for name in ("values_RC", "end_N", "held_K", "held_NK")}
        return replace(self, **held)

    def last_step(self, row_B: Tensor) -> Tensor:
        """Return the newest step of the windows with these numbers, x_BC."""
        x_BC = self.values_RC[self.end_N[row_B]]
        x_BC[:, self.held_K] = self.held_NK[row_B]
        return x_BC


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """The labelled windows of one part of the split."""

    row_N: Tensor
    label_N: Tensor
    """float32, 1 or 0."""

    def to(self, device: torch.device) -> "Part":
        """Return the same part on a device."""
        return Part(row_N=self.row_N.to(device), label_N=self.label_N.to(device))

    def spread(self, limit: int) -> "Part":
        """Return at most `limit` of the windows, evenly spread over the part."""
        if len(self.row_N) <= limit:
            return self
        kept_N = torch.from_numpy(spread(len(self.row_N), limit)).to(self.row_N.device)
        return Part(row_N=self.row_N[kept_N], label_N=self.label_N[kept_N])


def raw_windows(arrays: TrainingArrays, *, n_channels: int, context_length: int) -> Windows:
    """Return the windows as the engine passes them to the network: float32, unscaled."""
    return _windows(arrays, arrays.features_RC, arrays.held_NK, n_channels, context_length)


def scaled_windows(arrays: TrainingArrays, *, n_channels: int, context_length: int) -> Windows:
    """Return the training windows: the raw float32 windows, scaled; silent channels are zero."""
    # Round to float32 first: the served file sees float32, and training must not see more digits.
    features_RC = arrays.features_RC.astype(np.float32).astype(np.float64)
    varies_C, scaler = varies_in_training(arrays), arrays.scaler
    scaled_RC = np.where(varies_C, scaler.apply(features_RC), 0.0)
    held_NK = arrays.held_NK.astype(np.float32).astype(np.float64)
    held_NK = (held_NK - scaler.mean_C[arrays.held_K]) / scaler.scale_C[arrays.held_K]
    held_NK = np.where(varies_C[arrays.held_K], held_NK, 0.0)
    return _windows(arrays, scaled_RC, held_NK, n_channels, context_length)


def scaler_of(arrays: TrainingArrays, scaling: str) -> Scaler:
    """Return the scaler for a value of CLM_TRAINING__SCALING, fitted on the training part."""
    if scaling == "robust":
        return fit_robust(arrays.last_steps(arrays.train))
    return unscaled(arrays.features_RC.shape[1]) if scaling == "none" else arrays.scaler


def part_of(arrays: TrainingArrays, part: Ints) -> Part:
    """Return these windows with their labels."""
    return Part(
        row_N=torch.from_numpy(arrays.name_N[part]),
        label_N=torch.from_numpy(arrays.label_N[part].astype(np.float32)),
    )


def live_channels(arrays: TrainingArrays, n_channels: int) -> NDArray[np.bool_]:
    """Return which channels of the architecture vary over the training rows, shape (C,)."""
    live_C = np.zeros(n_channels, dtype=np.bool_)
    live_C[: arrays.features_RC.shape[1]] = varies_in_training(arrays)
    return live_C


def varies_in_training(arrays: TrainingArrays) -> NDArray[np.bool_]:
    """Return which features vary over the training rows; weights on other features are never learned."""
    varies_C = varies(arrays.features_RC[np.unique(arrays.row_N[arrays.train])])
    varies_C[arrays.held_K] = varies(arrays.held_NK[arrays.train])
    return varies_C


def _windows(
    arrays: TrainingArrays, features_RC: Floats, held_NK: Floats, n_channels: int, context_length: int
) -> Windows:
    values_RC = _padded(features_RC, n_channels)
    if not len(arrays.held_K):
        return Windows(values_RC=values_RC, context_length=context_length)
    return HeldWindows(
        values_RC=values_RC,
        context_length=context_length,
        end_N=torch.from_numpy(arrays.row_N),
        held_K=torch.from_numpy(arrays.held_K),
        held_NK=torch.from_numpy(held_NK.astype(np.float32)),
    )


def _padded(features_RC: Floats, n_channels: int) -> Tensor:
    n_rows, n_features = features_RC.shape
    if n_features > n_channels:
        raise ValueError(
            f"{n_features} features do not fit into the {n_channels} channels of the architecture"
        )
    values_RC = np.zeros((n_rows, n_channels), dtype=np.float32)
    values_RC[:, :n_features] = features_RC
    return torch.from_numpy(values_RC)
