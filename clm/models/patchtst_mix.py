"""Our architecture: PatchTST with patches over all channels, and direct paths for what patches miss.

A trade's outcome depends most on the newest step and on levels that hardly change within a window. A
transformer over patches needs depth for both. Each path can be switched off; docs/explanation/models.md
lists the gain of each.

Shapes: B batch, L context_length, C channels, P patches, S patch_length, F numbers of a patch, T tokens,
D d_model, E pooled numbers of a window, K inputs of the output layer.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from clm.models.dropout import ByteDropout
from clm.models.encoder import EncoderConfig, EncoderLayer
from clm.models.linear_start import START_SCALE
from clm.models.patchtst import POSITION_STD, n_patches
from clm.models.scaling import InputScaling


@dataclass(frozen=True, slots=True, kw_only=True)
class MixConfig:
    """Sizes and switches of the network; switching one off is an ablation."""

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
    """A patch contains the steps of all channels. If off, each channel is a separate series (PatchTST)."""
    last_step: bool = True
    """Feed the newest step directly to the output layer; a logistic regression has the same input."""
    last_step_hidden: int = 128
    """Units of an additional ReLU layer on the newest step; 0 for no such layer."""
    static_token: bool = True
    """Add a token that contains the mean of each channel over the window."""
    attention_pooling: bool = True
    """Weight the tokens by a learned query. If off, all tokens have the same weight."""
    pre_norm: bool = True
    """Normalise the input of each branch. If off, normalise the residual sum, as in the paper."""

    @property
    def n_patches(self) -> int:
        """Return the number of patches of one window.

        Raises:
            ValueError: the patches do not cover the steps exactly.
        """
        return n_patches(self.context_length, self.patch_length, self.patch_stride)

    @property
    def n_series(self) -> int:
        """Return the number of token sequences of one window."""
        return 1 if self.mix_channels else self.n_channels

    @property
    def n_summaries(self) -> int:
        """Return the number of inputs of the output layer."""
        last_step = self.n_channels if self.last_step else 0
        return self.n_series * self.d_model + last_step + self.last_step_hidden


class PatchTSTMix(nn.Module):
    """Maps raw windows (B, L, C) to logits of P(WIN)."""

    def __init__(self, config: MixConfig) -> None:
        super().__init__()
        self.config = config
        seen = config.n_channels // config.n_series  # channels of one sequence
        self.input_scaling = InputScaling(config.n_channels)
        self.patch_embedding = nn.Linear(config.patch_length * seen, config.d_model)
        self.pos_encoding = nn.Parameter(POSITION_STD * torch.randn(1, config.n_patches, config.d_model))
        # A separate layer: a mean over 128 steps has another scale and meaning than the steps of a patch.
        self.static_embedding = nn.Linear(seen, config.d_model) if config.static_token else None
        # One module for all places, so that they share a pool of random bytes.
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
        # Pre-norm layers leave the residual stream unnormalised, so the pooling needs a norm in front of it.
        self.final_norm = nn.LayerNorm(config.d_model) if config.pre_norm else nn.Identity()
        self.pooling = AttentionPooling(config.d_model) if config.attention_pooling else MeanPooling()
        self.last_step_layer = (
            nn.Linear(config.n_channels, config.last_step_hidden) if config.last_step_hidden else None
        )
        # A single layer combines all paths, so that folding the calibration into it scales all of them.
        self.output_proj = nn.Linear(config.n_summaries, 1)
        if config.last_step:
            # Inputs of the output layer that carry the newest step; a linear start needs them.
            first = config.n_series * config.d_model
            self.linear_units = slice(first, first + config.n_channels)

    def forward(self, x_BLC: Tensor) -> Tensor:
        """Return one logit per window, shape (B,)."""
        x_BLC = self.input_scaling(x_BLC)
        h_TD = self._tokens(x_BLC)  # (B * series, T, D)
        # (B * series, T, D) in and out; with mixed channels there is one series.
        for layer in self.encoder:
            h_TD = layer(h_TD)
        with torch.autocast(x_BLC.device.type, enabled=False):  # a bf16 logit has only three digits
            pooled_BE = self.pooling(self.final_norm(h_TD)).reshape(len(x_BLC), -1)
            summary_BK = torch.cat([self.dropout(pooled_BE), *self._of_last_step(x_BLC[:, -1])], dim=1)
            logit_B1: Tensor = self.output_proj(summary_BK)
        return logit_B1.squeeze(-1)

    def start_linear(self, weight_C: Tensor) -> None:
        """Set the output weights of the last step; all others start small (clm.models.linear_start)."""
        with torch.no_grad():
            self.output_proj.weight.mul_(START_SCALE)
            self.output_proj.weight[0, self.linear_units] = weight_C

    def _tokens(self, x_BLC: Tensor) -> Tensor:
        """Return the tokens: one per patch and one for the channel means, shape (B * series, T, D)."""
        size, stride = self.config.patch_length, self.config.patch_stride
        # Patches overlap by half, so a pattern on the border of one patch is inside the next.
        x_BPCS = x_BLC.unfold(1, size, stride)  # overlapping patches, without a copy
        if self.config.mix_channels:
            patch_BPF, level_BC = x_BPCS.flatten(2), x_BLC.mean(dim=1)
        else:  # one sequence per channel: B is B * C here
            patch_BPF, level_BC = x_BPCS.transpose(1, 2).flatten(0, 1), x_BLC.mean(dim=1).reshape(-1, 1)
        h_BPD = self.patch_embedding(patch_BPF) + self.pos_encoding
        # The token gets no positional encoding: it describes the whole window.
        if self.static_embedding is not None:
            h_BPD = torch.cat([h_BPD, self.static_embedding(level_BC)[:, None]], dim=1)
        tokens: Tensor = self.dropout(h_BPD)
        return tokens

    def _of_last_step(self, last_BC: Tensor) -> list[Tensor]:
        """Return the inputs of the output layer that come from the newest step."""
        # No dropout on the raw step: the linear start relies on this path.
        found = [last_BC] if self.config.last_step else []
        if self.last_step_layer is not None:
            found.append(self.dropout(torch.relu(self.last_step_layer(last_BC))))
        return found


class AttentionPooling(nn.Module):
    """A weighted mean over tokens; a softmax over their products with a learned query gives the weights."""

    def __init__(self, d_model: int) -> None:
        super().__init__()
        # Scaled by 1/sqrt(D), so that the products have variance 1 and the softmax starts nearly flat.
        self.query_D = nn.Parameter(torch.randn(d_model) * d_model**-0.5)

    def forward(self, h_BTD: Tensor) -> Tensor:
        """Return one vector per sequence, shape (B, D)."""
        weight_BT = torch.softmax(h_BTD @ self.query_D, dim=1)
        # (B, 1, T) @ (B, T, D) -> (B, 1, D)
        pooled_BD: Tensor = (weight_BT[:, None] @ h_BTD).squeeze(1)
        return pooled_BD


class MeanPooling(nn.Module):
    """The mean over tokens."""

    def forward(self, h_BTD: Tensor) -> Tensor:
        """Return one vector per sequence, shape (B, D)."""
        return h_BTD.mean(dim=1)
