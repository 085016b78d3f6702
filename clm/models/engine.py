"""The architecture that the engine serves: a transformer over the patches of one window.

Shapes: B batch, L context_length, C features, P patches, S patch_length, F = S * C numbers of a patch,
D d_model.
"""

import math
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from clm.models.dropout import ByteDropout
from clm.models.layers import learn
from clm.models.linear_start import START_SCALE

POSITION_STD = 0.5
"""Standard deviation of the positional encoding at initialisation.

The mean over patches discards their order. With the customary 0.02, a short training does not learn to
distinguish the newest patch, which is the most informative one, from the oldest.
"""

OWN, LAST, MARK = 0, 1, 2
"""Units of the linear start: the patch's own sum, the last patch's sum, and a marker of the last patch."""
SHARP = 6.0
"""Score difference in favour of the last patch; a ratio of e^6 gives it 98 % of the attention."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineConfig:
    """Sizes of the network. The defaults are the engine's and give 612,481 parameters."""

    context_length: int = 128
    n_features: int = 8
    patch_length: int = 16
    d_model: int = 128
    n_heads: int = 4
    n_layers: int = 3
    d_feedforward: int = 512
    dropout: float = 0.0
    """Applies only in training; the served network is in evaluation mode."""

    @property
    def n_patches(self) -> int:
        """Return the number of patches of one window; patches do not overlap."""
        return self.context_length // self.patch_length


class EngineNetwork(nn.Module):
    """Maps windows (B, L, C) to logits of P(WIN). Names and shapes of its tensors are the engine's."""

    linear_units = slice(LAST, LAST + 1)

    def __init__(self, config: EngineConfig) -> None:
        super().__init__()
        if config.context_length % config.patch_length:
            raise ValueError(
                f"a window of {config.context_length} steps cannot be divided into patches of "
                f"{config.patch_length} steps: choose a context length that is a multiple of the patch length"
            )
        self.config = config
        # The engine's names and shapes: its file loader matches keys exactly. Parameters come in the order
        # in which the random generator draws them, so moving a line changes every training.
        self.patch_embedding = nn.Linear(config.patch_length * config.n_features, config.d_model)
        self.pos_encoding = nn.Parameter(POSITION_STD * torch.randn(1, config.n_patches, config.d_model))
        self.dropout = ByteDropout(config.dropout)
        layer = nn.TransformerEncoderLayer(
            d_model=config.d_model,
            nhead=config.n_heads,
            dim_feedforward=config.d_feedforward,
            dropout=0.0,  # `learn` applies dropout itself
            activation="relu",
            norm_first=False,
            batch_first=True,
        )
        # Nested tensors speed up padded batches only, and windows are never padded.
        self.transformer = nn.TransformerEncoder(layer, config.n_layers, enable_nested_tensor=False)
        for block in self.transformer.layers:
            # TransformerEncoder clones one layer, so all layers would start with the same weights.
            _draw(block)
        self.output_proj = nn.Linear(config.d_model, 1)

    def forward(self, x_BLC: Tensor) -> Tensor:
        """Return one logit per window, shape (B,)."""
        x_BPF = x_BLC.reshape(x_BLC.shape[0], self.config.n_patches, -1)  # F = S * C, channels innermost
        h_BPD = self.dropout(self.patch_embedding(x_BPF) + self.pos_encoding)
        # `learn` computes the same function, but its backward pass and its bf16 path are faster.
        if self.training or torch.is_autocast_enabled(h_BPD.device.type):
            for block in self.transformer.layers:
                h_BPD = learn(cast(nn.TransformerEncoderLayer, block), h_BPD, self.dropout)
        else:
            h_BPD = self.transformer(h_BPD)
        with torch.autocast(h_BPD.device.type, enabled=False):  # a bf16 logit has only three digits
            logit_B1: Tensor = self.output_proj(h_BPD.mean(dim=1))  # mean over patches: (B, D) -> (B, 1)
        return logit_B1.squeeze(-1)

    def start_linear(self, weight_C: Tensor) -> None:
        """Initialise the network so that its logit is an affine function of a weighted sum of the last step.

        The embedding writes the weighted sum of each patch's last step to unit OWN. One head of the first
        layer copies the last patch's sum to unit LAST of every patch, and no other layer writes to LAST.
        Branches start near zero, so the sum passes the norms almost unchanged (Zhang, Dauphin & Ma, "Fixup
        initialization", ICLR 2019).
        """
        config, head = self.config, self.config.d_model // self.config.n_heads
        with torch.no_grad():
            # Embedding: OWN = weight @ last step of the patch; the other rows keep half their random values.
            embed_DF = self.patch_embedding.weight.mul_(0.5)
            self.patch_embedding.bias.zero_()
            embed_DF[[OWN, LAST, MARK]] = 0.0
            embed_DF[OWN, -config.n_features :] = weight_C / weight_C.norm().clamp(min=1e-6)
            # Positional encoding: MARK is 2 in the last patch and -1 in all others.
            code_PD = self.pos_encoding[0]
            code_PD[:, [OWN, LAST]] = 0.0
            code_PD[:, MARK], code_PD[-1, MARK] = -1.0, 2.0
            # All branches start small and leave the three reserved units alone.
            for block in self.transformer.layers:
                for branch in (block.self_attn.out_proj, block.linear2):
                    branch.weight.mul_(START_SCALE)
                    branch.bias.zero_()
                    branch.weight[[OWN, LAST, MARK]] = 0.0
            # Head 0 of the first layer has a constant query, so its key MARK alone decides the scores: every
            # patch attends to the last one. Its value is OWN, which the output projection writes to LAST.
            attention = self.transformer.layers[0].self_attn
            query, key, value = attention.in_proj_weight.split(config.d_model)
            for matrix in (query, key, value):
                matrix[:head] = 0.0
            attention.in_proj_bias[0] = SHARP
            key[0, MARK] = math.sqrt(head) / 3.0  # scores are divided by sqrt(head); the marks differ by 3
            value[0, OWN] = 1.0
            attention.out_proj.weight[:, :head] = 0.0
            attention.out_proj.weight[LAST, 0] = 1.0
            # The output layer reads LAST at full weight and everything else at a tenth.
            self.output_proj.weight.mul_(START_SCALE)
            self.output_proj.weight[0, [OWN, LAST, MARK]] = torch.tensor([0.0, 1.0, 0.0])


def _draw(block: nn.Module) -> None:
    """Initialise the matrices of one encoder layer randomly and its biases to zero; norms are unchanged."""
    for name, parameter in block.named_parameters():
        if parameter.dim() == 2:
            nn.init.xavier_uniform_(parameter)
        elif not name.startswith("norm"):
            nn.init.zeros_(parameter)
