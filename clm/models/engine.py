"""The architecture the engine serves: a transformer over patches of one window.

Shapes: B batch, L context_length, C features, P patches, S patch_length, D d_model.
"""

import math
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from clm.models.dropout import ByteDropout
from clm.models.layers import learn
from clm.models.straight import QUIET

POSITION_STD = 0.5
"""Spread of the position code at the start.

The mean over patches forgets their order; with the customary 0.02 a short training does not learn to tell
the newest patch, which says most, from the oldest.
"""

OWN, LAST, MARK = 0, 1, 2
"""Units of the straight start: a patch's own sum, that of the last patch, and which patch is the last."""
SHARP = 6.0
"""Difference of the attention scores by which every patch looks at the last one: e^6, 98 % of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineConfig:
    """Sizes of the network; the defaults are the engine's and give 612,481 parameters."""

    context_length: int = 128
    n_features: int = 8
    patch_length: int = 16
    d_model: int = 128
    n_heads: int = 4
    n_layers: int = 3
    d_feedforward: int = 512
    dropout: float = 0.0
    """Only in training; the served network is in eval mode."""

    @property
    def n_patches(self) -> int:
        """Patches of one window; they do not overlap."""
        return self.context_length // self.patch_length


class EngineNetwork(nn.Module):
    """P(WIN) as a logit from a window (B, L, C); names and shapes of its tensors are the engine's."""

    straight_units = slice(LAST, LAST + 1)

    def __init__(self, config: EngineConfig) -> None:
        super().__init__()
        if config.context_length % config.patch_length:
            raise ValueError(
                f"a window of {config.context_length} steps has no whole number of patches of "
                f"{config.patch_length}: choose a context length that is a multiple of it"
            )
        self.config = config
        self.patch_embedding = nn.Linear(config.patch_length * config.n_features, config.d_model)
        self.pos_encoding = nn.Parameter(POSITION_STD * torch.randn(1, config.n_patches, config.d_model))
        self.dropout = ByteDropout(config.dropout)
        layer = nn.TransformerEncoderLayer(
            d_model=config.d_model,
            nhead=config.n_heads,
            dim_feedforward=config.d_feedforward,
            dropout=0.0,  # `learn` drops by itself
            activation="relu",
            norm_first=False,
            batch_first=True,
        )
        self.transformer = nn.TransformerEncoder(layer, config.n_layers, enable_nested_tensor=False)
        for block in self.transformer.layers:
            # TransformerEncoder clones one layer: without this all would start with the same weights.
            _draw(block)
        self.output_proj = nn.Linear(config.d_model, 1)

    def forward(self, x_BLC: Tensor) -> Tensor:
        """Return one logit a window, shape (B,)."""
        x_BPF = x_BLC.reshape(x_BLC.shape[0], self.config.n_patches, -1)  # F = S * C, step by step
        h_BPD = self.dropout(self.patch_embedding(x_BPF) + self.pos_encoding)
        if self.training or torch.is_autocast_enabled(h_BPD.device.type):
            for block in self.transformer.layers:
                h_BPD = learn(cast(nn.TransformerEncoderLayer, block), h_BPD, self.dropout)
        else:
            h_BPD = self.transformer(h_BPD)
        with torch.autocast(h_BPD.device.type, enabled=False):  # a logit of bf16 has three digits
            logit_B1: Tensor = self.output_proj(h_BPD.mean(dim=1))
        return logit_B1.squeeze(-1)

    def begin_straight(self, weight_C: Tensor) -> None:
        """Lay a path for a weighted sum of the last step: embedded, carried to every patch, averaged.

        The sum of each patch's last step goes into one unit; a head of the first layer copies that of the
        last patch into another, and nothing else writes there. Branches that begin near zero keep the path
        straight through the norms (Zhang, Dauphin & Ma, "Fixup initialization", ICLR 2019).
        """
        config, head = self.config, self.config.d_model // self.config.n_heads
        with torch.no_grad():
            embed_DF = self.patch_embedding.weight.mul_(0.5)
            self.patch_embedding.bias.zero_()
            embed_DF[[OWN, LAST, MARK]] = 0.0
            embed_DF[OWN, -config.n_features :] = weight_C / weight_C.norm().clamp(min=1e-6)
            code_PD = self.pos_encoding[0]
            code_PD[:, [OWN, LAST]] = 0.0
            code_PD[:, MARK], code_PD[-1, MARK] = -1.0, 2.0
            for block in self.transformer.layers:
                for branch in (block.self_attn.out_proj, block.linear2):
                    branch.weight.mul_(QUIET)
                    branch.bias.zero_()
                    branch.weight[[OWN, LAST, MARK]] = 0.0
            attention = self.transformer.layers[0].self_attn
            query, key, value = attention.in_proj_weight.split(config.d_model)
            for matrix in (query, key, value):
                matrix[:head] = 0.0
            attention.in_proj_bias[0] = SHARP
            key[0, MARK] = math.sqrt(head) / 3.0  # the marks differ by 3
            value[0, OWN] = 1.0
            attention.out_proj.weight[:, :head] = 0.0
            attention.out_proj.weight[LAST, 0] = 1.0
            self.output_proj.weight.mul_(QUIET)
            self.output_proj.weight[0, [OWN, LAST, MARK]] = torch.tensor([0.0, 1.0, 0.0])


def _draw(block: nn.Module) -> None:
    """Draw the matrices of one encoder layer anew; norms keep their starting values."""
    for name, parameter in block.named_parameters():
        if parameter.dim() == 2:
            nn.init.xavier_uniform_(parameter)
        elif not name.startswith("norm"):
            nn.init.zeros_(parameter)
