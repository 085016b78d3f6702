"""PatchTST as in the paper: every channel is a series of its own, read by shared weights.

Nie, Nguyen, Sinthong & Kalagnanam, "A Time Series is Worth 64 Words: Long-term Forecasting with
Transformers", ICLR 2023. The sizes are those it gives for small data sets (d_model 16, 4 heads, feed-forward
128); names are those of Hugging Face's implementation.

As there, the newest value is repeated for one stride at the end, so that 128 steps make 16 patches. Two
things differ. Layers normalise a token by itself (LayerNorm) and not over the batch: what is trained is what
is served, and no statistics have to be made again where weights are averaged. And the head classifies: the
mean over patches, the channels side by side, one linear layer to a logit.

Shapes: B batch, L context_length, C channels, P patches, S patch_length, D d_model.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from clm.models.encoder import EncoderConfig, EncoderLayer
from clm.models.scaling import InputScaling

POSITION_STD = 0.5
"""Spread of the position code at the start; clm.models.engine says why it is not small."""
LEAST_VARIANCE = 1e-5
"""Of a window's series: one that stands still is normalised to zeros, not to noise."""


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
    """Take mean and deviation out of each series of each window; erases what stands still over a window."""

    @property
    def n_patches(self) -> int:
        """Patches of one series, the repeated values at its end included.

        Raises:
            ValueError: they leave steps over.
        """
        return n_patches(self.context_length + self.patch_stride, self.patch_length, self.patch_stride)


def n_patches(context_length: int, patch_length: int, patch_stride: int) -> int:
    """Return how many patches cover so many steps exactly.

    Raises:
        ValueError: none do.
    """
    strides, rest = divmod(context_length - patch_length, patch_stride)
    if strides < 0 or rest:
        raise ValueError(
            f"patches of {patch_length} steps every {patch_stride} do not cover {context_length} steps "
            "exactly: the newest would be lost"
        )
    return strides + 1


class InstanceNorm(nn.Module):
    """Each series of each window to mean 0 and deviation 1 over its steps, without weights.

    Kim et al., "Reversible Instance Normalization", ICLR 2022; a class is not scaled back.
    """

    def forward(self, x_BLC: Tensor) -> Tensor:
        """Return the normalised windows."""
        centred_BLC = x_BLC - x_BLC.mean(dim=1, keepdim=True)
        variance_B1C = centred_BLC.square().mean(dim=1, keepdim=True)
        return centred_BLC * torch.rsqrt(variance_B1C + LEAST_VARIANCE)


class PatchTST(nn.Module):
    """P(WIN) as a logit from a raw window (B, L, C)."""

    def __init__(self, config: PatchTSTConfig) -> None:
        super().__init__()
        self.config = config
        self.input_scaling = InputScaling(config.n_channels)
        self.instance_norm = InstanceNorm() if config.instance_norm else nn.Identity()
        self.patch_embedding = nn.Linear(config.patch_length, config.d_model)
        self.pos_encoding = nn.Parameter(POSITION_STD * torch.randn(1, config.n_patches, config.d_model))
        self.dropout = nn.Dropout(config.dropout)
        layer = EncoderConfig(
            d_model=config.d_model,
            n_heads=config.n_heads,
            d_feedforward=config.d_feedforward,
            dropout=config.dropout,
            activation="gelu",
            pre_norm=False,
        )
        self.encoder = nn.ModuleList(EncoderLayer(layer) for _ in range(config.n_layers))
        self.output_proj = nn.Linear(config.n_channels * config.d_model, 1)

    def forward(self, x_BLC: Tensor) -> Tensor:
        """Return one logit a window, shape (B,)."""
        x_BLC = self.instance_norm(self.input_scaling(x_BLC))
        x_BLC = torch.cat([x_BLC, x_BLC[:, -1:].expand(-1, self.config.patch_stride, -1)], dim=1)
        x_BCPS = x_BLC.transpose(1, 2).unfold(2, self.config.patch_length, self.config.patch_stride)
        h_TPD = self.patch_embedding(x_BCPS.flatten(0, 1)) + self.pos_encoding  # T = B * C series
        h_TPD = self.dropout(h_TPD)
        for layer in self.encoder:
            h_TPD = layer(h_TPD)
        h_BE = h_TPD.mean(dim=1).reshape(len(x_BLC), -1)  # E = C * D
        logit_B1: Tensor = self.output_proj(self.dropout(h_BE))
        return logit_B1.squeeze(-1)
