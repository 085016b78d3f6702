"""Dropout from a pool of random bytes that is drawn once an epoch, a byte a number."""

import math
from collections.abc import Sequence
from typing import Self

import numpy as np
import torch
from torch import Tensor, nn

VALUES = 256
"""Of a byte."""
LARGEST = 2**20
"""Numbers of a mask that comes from a pool, at most; a larger pool takes more memory than it is worth."""
POOL = 2**20
"""Bytes of a pool at least, and four times its largest mask: another mask is another piece of it.

To draw every mask anew is 3 to 5 % of a training. In an epoch of two thousand windows the largest masks of
the engine's network take each byte seven times, the others seventeen times, shifted against each other.
"""


class ByteDropout(nn.Module):
    """Sets a share of the numbers to zero in training, a multiple of 1/256, and scales up the rest."""

    def __init__(self, probability: float) -> None:
        super().__init__()
        self.dropped_values = round(VALUES * probability)
        if not 0 <= self.dropped_values < VALUES:
            raise ValueError(f"dropout is 0/256 to 255/256, {probability} is beyond it")
        self._pools: dict[tuple[torch.dtype, torch.device], Tensor] = {}

    @property
    def active(self) -> bool:
        """Whether anything is dropped now."""
        return self.training and self.dropped_values > 0

    @property
    def scale(self) -> float:
        """What kept numbers are multiplied by, so that the mean stays; 1 where nothing is dropped."""
        return VALUES / (VALUES - self.dropped_values) if self.active else 1.0

    def train(self, mode: bool = True) -> Self:
        """Begin an epoch, or end it: the next mask is of a new pool."""
        self._pools = {}
        return super().train(mode)

    def forward(self, x: Tensor) -> Tensor:
        """Return `x`, in training with its share of zeros."""
        return x * self.mask(x.shape, x.dtype, x.device) if self.active else x

    def mask(self, shape: Sequence[int], kind: torch.dtype, device: torch.device) -> Tensor:
        """Return 0 for what is dropped and, for what is kept, 1 in an integer type, else `scale`.

        It may be a piece of a pool, to be read only. Torch's seed decides of the pool and the piece.
        """
        size = math.prod(shape)
        if size > LARGEST:
            return self._drawn(size, kind, device).view(tuple(shape))
        pool_N = self._pools.get((kind, device))
        if pool_N is None or 4 * size > len(pool_N):
            pool_N = self._pools[kind, device] = self._drawn(max(POOL, 4 * size), kind, device)
        first = int(torch.randint(len(pool_N) - size + 1, ()))
        return pool_N[first : first + size].view(tuple(shape))

    def _drawn(self, size: int, kind: torch.dtype, device: torch.device) -> Tensor:
        # This generator is faster than torch's, and numpy compares bytes twenty times as fast as torch.
        words = np.random.SFC64(int(torch.randint(2**63 - 1, ()))).random_raw((size + 7) // 8)
        kept_N = torch.from_numpy((words.view(np.uint8)[:size] >= self.dropped_values).view(np.uint8))
        mask_N = kept_N.to(device).to(kind)
        return mask_N.mul_(self.scale) if kind.is_floating_point else mask_N
