"""An encoder layer for sequences of about a dozen tokens. Training and serving use the same plain matmuls.

Shapes: B batch, T tokens (K as keys, Q as queries), D d_model, H heads, E head size, F feed-forward size.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from clm.models.dropout import ByteDropout


@dataclass(frozen=True, slots=True, kw_only=True)
class EncoderConfig:
    """Sizes of one layer, its activation and the position of its norms."""

    d_model: int
    n_heads: int
    d_feedforward: int
    dropout: float
    activation: Literal["relu", "gelu"]
    pre_norm: bool
    """Normalise the input of each branch instead of the residual sum."""


class EncoderLayer(nn.Module):
    """Self-attention and a feed-forward network, each with a residual connection; (B, T, D) in and out."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        if config.d_model % config.n_heads:
            raise ValueError(f"d_model {config.d_model} is not divisible by {config.n_heads} heads")
        self.config = config
        self.in_proj = nn.Linear(config.d_model, 3 * config.d_model)  # query, key and value in one matmul
        self.out_proj = nn.Linear(config.d_model, config.d_model)
        # Named as in nn.TransformerEncoderLayer; the measurement of dead units finds `linear1` by name.
        self.linear1 = nn.Linear(config.d_model, config.d_feedforward)
        self.linear2 = nn.Linear(config.d_feedforward, config.d_model)
        # LayerNorm works on each token alone, so a window's logit does not depend on the rest of its batch.
        self.norm1 = nn.LayerNorm(config.d_model)
        self.norm2 = nn.LayerNorm(config.d_model)
        self.dropout = ByteDropout(config.dropout)
        # nn.Linear's default init is narrower than the Xavier init of the original transformer.
        for layer in (self.in_proj, self.out_proj, self.linear1, self.linear2):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, h_BTD: Tensor) -> Tensor:
        """Return the tokens (B, T, D) after both branches."""
        # Post-norm is the original transformer (Vaswani et al., 2017); pre-norm trains without warm-up
        # (Xiong et al., "On Layer Normalization in the Transformer Architecture", ICML 2020).
        if self.config.pre_norm:  # the residual stream itself is never normalised here
            h_BTD = h_BTD + self.dropout(self._attend(self.norm1(h_BTD)))
            fed_BTD: Tensor = h_BTD + self.dropout(self._feed_forward(self.norm2(h_BTD)))
            return fed_BTD
        h_BTD = self.norm1(h_BTD + self.dropout(self._attend(h_BTD)))
        normed_BTD: Tensor = self.norm2(h_BTD + self.dropout(self._feed_forward(h_BTD)))
        return normed_BTD

    def _attend(self, h_BTD: Tensor) -> Tensor:
        n_batch, n_tokens, d_model = h_BTD.shape
        qkv = self.in_proj(h_BTD).view(n_batch, n_tokens, 3, self.config.n_heads, -1)  # (B, T, 3, H, E)
        q_BHTE, k_BHTE, v_BHTE = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        scale = q_BHTE.shape[-1] ** -0.5  # keeps the scores at variance 1, whatever the head size
        # Scores are stored as keys x queries: on short axes, a softmax over the last axis takes up to five
        # times as long as one over the axis before it.
        weight_BHKQ = torch.softmax(k_BHTE @ (q_BHTE * scale).transpose(-2, -1), dim=-2)
        mixed_BHTE = self.dropout(weight_BHKQ).transpose(-2, -1) @ v_BHTE  # (B, H, Q, K) @ (B, H, K, E)
        mixed_BTD = mixed_BHTE.transpose(1, 2).reshape(n_batch, n_tokens, d_model)  # concatenate the heads
        attended_BTD: Tensor = self.out_proj(mixed_BTD)
        return attended_BTD

    def _feed_forward(self, h_BTD: Tensor) -> Tensor:
        activate = functional.relu if self.config.activation == "relu" else functional.gelu
        wide_BTF = activate(self.linear1(h_BTD))
        fed_BTD: Tensor = self.linear2(self.dropout(wide_BTF))
        return fed_BTD
