"""An encoder layer as it learns: by plain products, and dropping numbers by random bytes.

Torch's own attention and dropout are made for long sequences and graphics cards; a window is eight patches.
`benchmarks/training.py` says what each is worth.

Shapes: B batch, P patches, D d_model, H heads, E numbers of a head.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional


class ByteDropout(nn.Module):
    """Sets a share of the numbers to zero in training, a multiple of 1/256, and scales up the rest."""

    def __init__(self, probability: float) -> None:
        super().__init__()
        self.dropped_bytes = round(256 * probability)
        if not 0 <= self.dropped_bytes < 256:
            raise ValueError(f"a dropout probability is at least 0 and below 1, this one is {probability}")

    def forward(self, x: Tensor) -> Tensor:
        """Return `x`, in training with its share of zeros."""
        dropped = self.dropped_bytes
        if not self.training or not dropped:
            return x
        # Of the whole range: random_() leaves the sign out, and with it half the values of every eighth byte.
        words = torch.randint(-(2**63), 2**63 - 1, ((x.numel() + 7) // 8,), device=x.device)
        byte = words.view(torch.uint8)[: x.numel()].view(x.shape)
        # By arithmetic, 0 below the threshold and 1 from it on: comparing costs several times as much.
        kept = byte.to(x.dtype).clamp_(dropped - 1, dropped).sub_(dropped - 1)
        return x * kept.mul_(256 / (256 - dropped))


def learn(block: nn.TransformerEncoderLayer, h_BPD: Tensor, dropout: nn.Module) -> Tensor:
    """Return what a post-norm ReLU encoder layer returns; `dropout` acts wherever the layer's own would."""
    attention = block.self_attn
    n_batch, n_patches, d_model = h_BPD.shape
    qkv = functional.linear(h_BPD, attention.in_proj_weight, attention.in_proj_bias)
    qkv_3BHPE = qkv.view(n_batch, n_patches, 3, attention.num_heads, -1).permute(2, 0, 3, 1, 4)
    q_BHPE, k_BHPE, v_BHPE = qkv_3BHPE.unbind(0)
    scale = attention.head_dim**-0.5
    weight_BHPP = torch.softmax((q_BHPE * scale) @ k_BHPE.transpose(-2, -1), dim=-1)
    mixed_BPD = (dropout(weight_BHPP) @ v_BHPE).transpose(1, 2).reshape(n_batch, n_patches, d_model)
    h_BPD = block.norm1(h_BPD + dropout(attention.out_proj(mixed_BPD)))
    wide_BPF = dropout(functional.relu(block.linear1(h_BPD)))
    learnt_BPD: Tensor = block.norm2(h_BPD + dropout(block.linear2(wide_BPF)))
    return learnt_BPD
