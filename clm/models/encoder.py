"""An encoder layer for sequences of a dozen tokens: attention by plain products, in training as in serving.

Shapes: B batch, T tokens, as keys K and as queries Q, D d_model, H heads, E numbers of a head, F numbers of
the feed-forward layer.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional


@dataclass(frozen=True, slots=True, kw_only=True)
class EncoderConfig:
    """Sizes of one layer, and the choices in which transformers differ."""

    d_model: int
    n_heads: int
    d_feedforward: int
    dropout: float
    activation: Literal["relu", "gelu"]
    pre_norm: bool
    """Normalise what goes into a branch instead of what comes out of the sum."""


class EncoderLayer(nn.Module):
    """Self-attention and a feed-forward layer, each around a residual; tokens (B, T, D) in and out."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        if config.d_model % config.n_heads:
            raise ValueError(f"{config.n_heads} heads do not share {config.d_model} numbers evenly")
        self.config = config
        self.in_proj = nn.Linear(config.d_model, 3 * config.d_model)
        self.out_proj = nn.Linear(config.d_model, config.d_model)
        self.linear1 = nn.Linear(config.d_model, config.d_feedforward)
        self.linear2 = nn.Linear(config.d_feedforward, config.d_model)
        self.norm1 = nn.LayerNorm(config.d_model)
        self.norm2 = nn.LayerNorm(config.d_model)
        self.dropout = nn.Dropout(config.dropout)
        for layer in (self.in_proj, self.out_proj, self.linear1, self.linear2):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, h_BTD: Tensor) -> Tensor:
        """Return the tokens after both branches."""
        if self.config.pre_norm:
            h_BTD = h_BTD + self.dropout(self._attend(self.norm1(h_BTD)))
            fed_BTD: Tensor = h_BTD + self.dropout(self._feed_forward(self.norm2(h_BTD)))
            return fed_BTD
        h_BTD = self.norm1(h_BTD + self.dropout(self._attend(h_BTD)))
        normed_BTD: Tensor = self.norm2(h_BTD + self.dropout(self._feed_forward(h_BTD)))
        return normed_BTD

    def _attend(self, h_BTD: Tensor) -> Tensor:
        n_batch, n_tokens, d_model = h_BTD.shape
        qkv = self.in_proj(h_BTD).view(n_batch, n_tokens, 3, self.config.n_heads, -1)
        q_BHTE, k_BHTE, v_BHTE = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        scale = q_BHTE.shape[-1] ** -0.5
        # Keys down, queries across: over the last of two short axes a softmax takes up to five times as long.
        weight_BHKQ = torch.softmax(k_BHTE @ (q_BHTE * scale).transpose(-2, -1), dim=-2)
        mixed_BHTE = self.dropout(weight_BHKQ).transpose(-2, -1) @ v_BHTE
        mixed_BTD = mixed_BHTE.transpose(1, 2).reshape(n_batch, n_tokens, d_model)
        attended_BTD: Tensor = self.out_proj(mixed_BTD)
        return attended_BTD

    def _feed_forward(self, h_BTD: Tensor) -> Tensor:
        activate = functional.relu if self.config.activation == "relu" else functional.gelu
        wide_BTF = activate(self.linear1(h_BTD))
        fed_BTD: Tensor = self.linear2(self.dropout(wide_BTF))
        return fed_BTD
