"""Fold the input scaling into a trained network, so that it reads raw windows.

If the first layer is linear over whole steps, the scaling goes into its weights; the file then has the
network's keys only, as the existing engine requires. It goes into buffers if all channels share the weights,
which cannot hold a scale per channel, or if a path bypasses the first layer.

Shapes: B batch, L context_length, C channels, F steps of a patch times channels, D outputs of a first layer.
"""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from clm.data.scaling import Scaler

Fold = Callable[[nn.Module, Scaler, NDArray[np.bool_]], None]
"""Makes a network read raw values. From then on, channels that are not live have no effect."""


class InputScaling(nn.Module):
    """Computes (x - mean) / scale per channel and exactly zero for silent channels; initially the identity.

    It uses the same float64 arithmetic as the scaling of the training windows. A served file therefore turns
    raw values, bit for bit, into the values of the training.
    """

    mean_C: Tensor
    scale_C: Tensor
    live_C: Tensor

    def __init__(self, n_channels: int) -> None:
        super().__init__()
        # Buffers, not parameters: they are saved in the file, but the optimiser does not change them.
        self.register_buffer("mean_C", torch.zeros(n_channels, dtype=torch.float64))
        self.register_buffer("scale_C", torch.ones(n_channels, dtype=torch.float64))
        self.register_buffer("live_C", torch.ones(n_channels, dtype=torch.bool))

    def forward(self, x_BLC: Tensor) -> Tensor:
        """Return the scaled windows (B, L, C) in the type of the input."""
        # float64, as in clm.data.scaling: float32 would round differently from the training's windows.
        scaled_BLC = (x_BLC.double() - self.mean_C) / self.scale_C
        # Select instead of multiplying: zero times infinity is NaN.
        return torch.where(self.live_C, scaled_BLC, 0.0).to(x_BLC.dtype)

    def take(self, scaler: Scaler, live_C: NDArray[np.bool_]) -> None:
        """Set mean, scale and live channels; channels beyond the scaler's keep their values."""
        n_features = len(scaler.mean_C)
        self.mean_C[:n_features] = torch.from_numpy(scaler.mean_C)
        self.scale_C[:n_features] = torch.from_numpy(scaler.scale_C)
        self.live_C.copy_(torch.from_numpy(live_C))


def fold_into_buffers(model: nn.Module, scaler: Scaler, live_C: NDArray[np.bool_]) -> None:
    """Set the network's `input_scaling`."""
    layer = model.get_submodule("input_scaling")
    # get_submodule returns any module with this name: a renamed layer must fail here, not in the engine.
    if not isinstance(layer, InputScaling):
        raise TypeError(f"input_scaling is {type(layer).__name__}, not InputScaling")
    layer.take(scaler, live_C)


def fold_into_weights(model: nn.Module, scaler: Scaler, live_C: NDArray[np.bool_]) -> None:
    """Fold the scaling into `patch_embedding`, which is linear over whole steps, channels innermost."""
    fold_scaling(linear_layer(model, "patch_embedding"), scaler, live_C)


def fold_scaling(input_layer: nn.Linear, scaler: Scaler, live_C: NDArray[np.bool_]) -> None:
    """Make the layer read raw values: W' = W / scale, b' = b - W @ (mean / scale), in float64.

    Columns of channels that are not live become exactly zero.
    """
    # Channels without a feature get mean 0 and scale 1; then every step of the patch repeats the channels.
    mean_C, scale_C = np.zeros(len(live_C)), np.ones(len(live_C))
    mean_C[: len(scaler.mean_C)], scale_C[: len(scaler.scale_C)] = scaler.mean_C, scaler.scale_C
    steps = input_layer.in_features // len(live_C)
    mean_F, scale_F, live_F = np.tile(mean_C, steps), np.tile(scale_C, steps), np.tile(live_C, steps)
    # Zero the dead columns before the bias is computed, so that their mean does not enter it.
    weight_DF = np.where(live_F, input_layer.weight.detach().double().numpy(), 0.0)
    bias_D = input_layer.bias.detach().double().numpy() - weight_DF @ (mean_F / scale_F)
    with torch.no_grad():
        input_layer.weight.copy_(torch.from_numpy(weight_DF / scale_F))
        input_layer.bias.copy_(torch.from_numpy(bias_D))


def linear_layer(model: nn.Module, name: str) -> nn.Linear:
    """Return the linear layer with this name.

    Raises:
        TypeError: the layer is not linear.
    """
    layer = model.get_submodule(name)
    if not isinstance(layer, nn.Linear):
        raise TypeError(f"{name} is {type(layer).__name__}, not Linear")
    return layer
