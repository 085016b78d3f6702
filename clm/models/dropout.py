"""Dropout that draws one random byte a number instead of one random float."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

VALUES = 256
"""Of a byte."""


class ByteDropout(nn.Module):
    """Sets a share of the numbers to zero in training, a multiple of 1/256, and scales up the rest."""

    def __init__(self, probability: float) -> None:
        super().__init__()
        self.dropped_values = round(VALUES * probability)
        if not 0 <= self.dropped_values < VALUES:
            raise ValueError(f"a dropout probability is at least 0 and below 1, this one is {probability}")

    @property
    def dropped_now(self) -> int:
        """Of the values of a byte, how many drop a number; 0 outside of training."""
        return self.dropped_values if self.training else 0

    def forward(self, x: Tensor) -> Tensor:
        """Return `x`, in training with its share of zeros."""
        dropped = self.dropped_now
        if not dropped:
            return x
        (kept,) = draw(dropped, x.device, x.shape)
        return x * kept.to(x.dtype).mul_(scale_of_kept(dropped))


def draw(dropped: int, device: torch.device, *shapes: Sequence[int]) -> tuple[Tensor, ...]:
    """Return tensors of 0 and 1 (uint8): 0 by a chance of dropped / 256, of which torch's seed decides."""
    sizes = [int(np.prod(shape)) for shape in shapes]
    if device.type == "cpu":
        # This generator is faster than torch's, and numpy compares bytes twenty times as fast as torch.
        words = np.random.SFC64(int(torch.randint(2**63 - 1, ()))).random_raw((sum(sizes) + 7) // 8)
        kept_N = torch.from_numpy((words.view(np.uint8)[: sum(sizes)] >= dropped).view(np.uint8))
    else:
        byte_N = torch.randint(VALUES, (sum(sizes),), dtype=torch.uint8, device=device)
        kept_N = (byte_N >= dropped).view(torch.uint8)
    return tuple(
        kept.view(tuple(shape)) for kept, shape in zip(torch.split(kept_N, sizes), shapes, strict=True)
    )


def scale_of_kept(dropped: int) -> float:
    """Return what the kept numbers are multiplied by, so that the mean stays."""
    return VALUES / (VALUES - dropped)
