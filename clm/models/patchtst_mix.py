"""Ours: patches as in PatchTST that see all channels at once, and ways for what a patch is bad at.

A trade's outcome depends most on the newest step and on levels that hardly move within a window; a
transformer over patches has to spend depth on both. Each way can be switched off;
docs/explanation/models.md has what each is worth.

Shapes: B batch, L context_length, C channels, P patches, S patch_length, T tokens, D d_model, K numbers that
make the logit.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from clm.models.dropout import ByteDropout
from clm.models.encoder import EncoderConfig, EncoderLayer
from clm.models.patchtst import POSITION_STD, n_patches
from clm.models.scaling import InputScaling
from clm.models.straight import QUIET


@dataclass(frozen=True, slots=True, kw_only=True)
class MixConfig:
    """Sizes of the network and its switches; each of them off is an ablation."""

    n_channels: int
    context_length: int = 128
    patch_length: int = 16
    patch_stride: int = 8
    d_model: int = 64
    n_heads: int = 4
    n_layers: int = 2
    d_feedforward: int = 128
    dropout: float = 0.0
    mix_channels: bool = True
    """A patch holds the steps of all channels; off, each channel is a series of its own (PatchTST)."""
    last_step: bool = True
    """The newest step goes to the logit directly: what a logistic regression sees."""
    last_step_hidden: int = 128
    """Units of a ReLU layer on the newest step beside it; 0 for none."""
    static_token: bool = True
    """One more token holds the mean of each channel over the window."""
    attention_pooling: bool = True
    """Tokens are weighed by a learnt query; off, all count the same."""
    pre_norm: bool = True
    """Layers normalise what goes in; off, what comes out (the paper)."""

    @property
    def n_patches(self) -> int:
        """Patches of one window.

        Raises:
            ValueError: they leave steps over.
        """
        return n_patches(self.context_length, self.patch_length, self.patch_stride)

    @property
    def n_series(self) -> int:
        """Sequences of tokens of one window."""
        return 1 if self.mix_channels else self.n_channels

    @property
    def n_summaries(self) -> int:
        """Numbers that make the logit."""
        last_step = self.n_channels if self.last_step else 0
        return self.n_series * self.d_model + last_step + self.last_step_hidden


class PatchTSTMix(nn.Module):
    """P(WIN) as a logit from a raw window (B, L, C)."""

    def __init__(self, config: MixConfig) -> None:
        super().__init__()
        self.config = config
        seen = config.n_channels // config.n_series
        self.input_scaling = InputScaling(config.n_channels)
        self.patch_embedding = nn.Linear(config.patch_length * seen, config.d_model)
        self.pos_encoding = nn.Parameter(POSITION_STD * torch.randn(1, config.n_patches, config.d_model))
        self.static_embedding = nn.Linear(seen, config.d_model) if config.static_token else None
        self.dropout = ByteDropout(config.dropout)
        layer = EncoderConfig(
            d_model=config.d_model,
            n_heads=config.n_heads,
            d_feedforward=config.d_feedforward,
            dropout=config.dropout,
            activation="relu",
            pre_norm=config.pre_norm,
        )
        self.encoder = nn.ModuleList(EncoderLayer(layer) for _ in range(config.n_layers))
        self.final_norm = nn.LayerNorm(config.d_model) if config.pre_norm else nn.Identity()
        self.pooling = AttentionPooling(config.d_model) if config.attention_pooling else MeanPooling()
        self.last_step_layer = (
            nn.Linear(config.n_channels, config.last_step_hidden) if config.last_step_hidden else None
        )
        # One layer makes the logit of all there is, so that a calibration scales all of it.
        self.output_proj = nn.Linear(config.n_summaries, 1)
        if config.last_step:
            # Where the newest step comes in; without that path there is none that could begin straight.
            first = config.n_series * config.d_model
            self.straight_units = slice(first, first + config.n_channels)

    def forward(self, x_BLC: Tensor) -> Tensor:
        """Return one logit a window, shape (B,)."""
        x_BLC = self.input_scaling(x_BLC)
        h_TD = self._tokens(x_BLC)
        for layer in self.encoder:
            h_TD = layer(h_TD)
        with torch.autocast(x_BLC.device.type, enabled=False):  # a logit of bf16 has three digits
            pooled_BE = self.pooling(self.final_norm(h_TD)).reshape(len(x_BLC), -1)
            summary_BK = torch.cat([self.dropout(pooled_BE), *self._of_last_step(x_BLC[:, -1])], dim=1)
            logit_B1: Tensor = self.output_proj(summary_BK)
        return logit_B1.squeeze(-1)

    def begin_straight(self, weight_C: Tensor) -> None:
        """Take the weights of a sum of the last step; all else begins small (clm.models.straight)."""
        with torch.no_grad():
            self.output_proj.weight.mul_(QUIET)
            self.output_proj.weight[0, self.straight_units] = weight_C

    def _tokens(self, x_BLC: Tensor) -> Tensor:
        """Return the patches as tokens, and the token of the levels, shape (B * series, T, D)."""
        size, stride = self.config.patch_length, self.config.patch_stride
        x_BPCS = x_BLC.unfold(1, size, stride)
        if self.config.mix_channels:
            patch_BPF, level_BC = x_BPCS.flatten(2), x_BLC.mean(dim=1)
        else:
            patch_BPF, level_BC = x_BPCS.transpose(1, 2).flatten(0, 1), x_BLC.mean(dim=1).reshape(-1, 1)
        h_BPD = self.patch_embedding(patch_BPF) + self.pos_encoding
        if self.static_embedding is not None:
            h_BPD = torch.cat([h_BPD, self.static_embedding(level_BC)[:, None]], dim=1)
        tokens: Tensor = self.dropout(h_BPD)
        return tokens

    def _of_last_step(self, last_BC: Tensor) -> list[Tensor]:
        """Return what the newest step gives to the logit."""
        found = [last_BC] if self.config.last_step else []
        if self.last_step_layer is not None:
            found.append(self.dropout(torch.relu(self.last_step_layer(last_BC))))
        return found


class AttentionPooling(nn.Module):
    """The mean over tokens, weighed by how well each answers a learnt query."""

    def __init__(self, d_model: int) -> None:
        super().__init__()
        self.query_D = nn.Parameter(torch.randn(d_model) * d_model**-0.5)

    def forward(self, h_BTD: Tensor) -> Tensor:
        """Return one token of each sequence, shape (B, D)."""
        weight_BT = torch.softmax(h_BTD @ self.query_D, dim=1)
        pooled_BD: Tensor = (weight_BT[:, None] @ h_BTD).squeeze(1)
        return pooled_BD


class MeanPooling(nn.Module):
    """The mean over tokens."""

    def forward(self, h_BTD: Tensor) -> Tensor:
        """Return one token of each sequence, shape (B, D)."""
        return h_BTD.mean(dim=1)
