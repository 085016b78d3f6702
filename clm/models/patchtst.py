"""PatchTST as in the paper: each channel is a separate series, and all series share the weights.

Nie, Nguyen, Sinthong & Kalagnanam, "A Time Series is Worth 64 Words: Long-term Forecasting with
Transformers", ICLR 2023. Sizes are the paper's for small data sets (d_model 16, 4 heads, feed-forward 128);
names follow Hugging Face's implementation.

As in the paper, the newest value is repeated for one stride at the end, so 128 steps give 16 patches. Two
things differ. Layers use LayerNorm instead of BatchNorm: training and serving then compute the same function,
and averaged weights need no new batch statistics. The head classifies: it takes the mean over patches,
concatenates the channels, and applies one linear layer to get a logit.

Shapes: B batch, L context_length, C channels, P patches, S patch_length, D d_model, T = B * C series,
E = C * D numbers of the head.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from clm.models.dropout import ByteDropout
from clm.models.encoder import EncoderConfig, EncoderLayer
from clm.models.scaling import InputScaling

POSITION_STD = 0.5
"""Standard deviation of the positional encoding at initialisation; clm.models.engine gives the reason."""
LEAST_VARIANCE = 1e-5
"""Added to the variance of a series, so that a constant series is normalised to zeros and not to noise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PatchTSTConfig:
    """Sizes of the network."""

    n_channels: int
    context_length: int = 128
    patch_length: int = 16
    patch_stride: int = 8
    d_model: int = 16
    n_heads: int = 4
    n_layers: int = 3
    d_feedforward: int = 128
    dropout: float = 0.0
    instance_norm: bool = False
    """Normalise each series of each window to mean 0 and deviation 1. This erases features that are constant
    within a window."""

    @property
    def n_patches(self) -> int:
        """Return the number of patches of one series, including the repeated values at its end.

        Raises:
            ValueError: the patches do not cover the steps exactly.
        """
        return n_patches(self.context_length + self.patch_stride, self.patch_length, self.patch_stride)


def n_patches(context_length: int, patch_length: int, patch_stride: int) -> int:
    """Return how many patches cover `context_length` steps exactly.

    Raises:
        ValueError: no number of patches does.
    """
    # `unfold` drops a remainder in silence, and the remainder would be the newest steps.
    strides, rest = divmod(context_length - patch_length, patch_stride)
    if strides < 0 or rest:
        raise ValueError(
            f"patches of {patch_length} steps every {patch_stride} do not cover {context_length} steps "
            "exactly: the newest steps would be lost"
        )
    return strides + 1


class InstanceNorm(nn.Module):
    """Normalises each series of each window to mean 0 and deviation 1 over its steps; it has no weights.

    Kim et al., "Reversible Instance Normalization", ICLR 2022. A class needs no scaling back.
    """

    def forward(self, x_BLC: Tensor) -> Tensor:
        """Return the normalised windows (B, L, C)."""
        # Statistics per window and channel, over the steps: shape (B, 1, C).
        centred_BLC = x_BLC - x_BLC.mean(dim=1, keepdim=True)
        # Divide by L, not by L - 1, as in the paper.
        variance_B1C = centred_BLC.square().mean(dim=1, keepdim=True)
        return centred_BLC * torch.rsqrt(variance_B1C + LEAST_VARIANCE)


class PatchTST(nn.Module):
    """Maps raw windows (B, L, C) to logits of P(WIN)."""

    def __init__(self, config: PatchTSTConfig) -> None:
        super().__init__()
        self.config = config
        self.input_scaling = InputScaling(config.n_channels)
        # An identity has no keys, so both variants have the same state dict.
        self.instance_norm = InstanceNorm() if config.instance_norm else nn.Identity()
        self.patch_embedding = nn.Linear(config.patch_length, config.d_model)
        self.pos_encoding = nn.Parameter(POSITION_STD * torch.randn(1, config.n_patches, config.d_model))
        self.dropout = ByteDropout(config.dropout)
        layer = EncoderConfig(
            d_model=config.d_model,
            n_heads=config.n_heads,
            d_feedforward=config.d_feedforward,
            dropout=config.dropout,
            activation="gelu",
            pre_norm=False,
        )
        self.encoder = nn.ModuleList(EncoderLayer(layer) for _ in range(config.n_layers))
        # The paper flattens all patches for a forecast. The mean over patches keeps the head at C * D
        # weights, so a few thousand samples are enough to fit it.
        self.output_proj = nn.Linear(config.n_channels * config.d_model, 1)

    def forward(self, x_BLC: Tensor) -> Tensor:
        """Return one logit per window, shape (B,)."""
        # Scale first: the served file receives raw windows, and silent channels must be zero before the
        # norm.
        x_BLC = self.instance_norm(self.input_scaling(x_BLC))
        # Repeat the newest value for one stride, so the last patch ends exactly at the last step.
        x_BLC = torch.cat([x_BLC, x_BLC[:, -1:].expand(-1, self.config.patch_stride, -1)], dim=1)
        x_BCPS = x_BLC.transpose(1, 2).unfold(2, self.config.patch_length, self.config.patch_stride)
        # From here on every channel is a row of the batch: (B, C, P, S) -> (T, P, S) -> (T, P, D).
        h_TPD = self.patch_embedding(x_BCPS.flatten(0, 1)) + self.pos_encoding
        h_TPD = self.dropout(h_TPD)
        for layer in self.encoder:
            h_TPD = layer(h_TPD)
        with torch.autocast(x_BLC.device.type, enabled=False):  # a bf16 logit has only three digits
            h_BE = h_TPD.mean(dim=1).reshape(len(x_BLC), -1)  # concatenate the channels
            logit_B1: Tensor = self.output_proj(self.dropout(h_BE))
        return logit_B1.squeeze(-1)
