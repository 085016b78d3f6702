"""Dropout with masks cut from a pool of random bytes. The pool is drawn once per epoch, one byte per element.

Shapes: N elements of a pool or a flattened mask.
"""

import math
from collections.abc import Sequence
from typing import Self

import numpy as np
import torch
from torch import Tensor, nn

VALUES = 256
"""Number of values of a byte."""
MAX_POOLED = 2**20
"""Elements of the largest mask that is cut from a pool; a pool for larger masks needs too much memory."""
MIN_POOL = 2**20
"""Minimum size of a pool in bytes. A pool is also at least four times as large as any mask cut from it.

Each mask is a random slice of the pool. Drawing a new mask every time takes 3 to 5 % of the training time.
In an epoch of two thousand windows of the engine's network, the largest masks use each byte seven times and
the other masks use it seventeen times, each time at a different offset.
"""


class ByteDropout(nn.Module):
    """Zeroes a share of the elements in training and scales up the rest; the share is a multiple of 1/256."""

    def __init__(self, probability: float) -> None:
        super().__init__()
        # Srivastava et al., "Dropout", JMLR 2014. A byte has 256 values, so the share is rounded to a
        # multiple of 1/256: 0.1 becomes 26/256.
        self.dropped_values = round(VALUES * probability)
        if not 0 <= self.dropped_values < VALUES:
            raise ValueError(f"dropout must lie between 0/256 and 255/256, not {probability}")
        # A plain attribute, not a buffer: a pool must not appear in the state dict, which becomes the served
        # file.
        self._pools: dict[tuple[torch.dtype, torch.device], Tensor] = {}

    @property
    def active(self) -> bool:
        """Return whether the layer drops anything now."""
        return self.training and self.dropped_values > 0

    @property
    def scale(self) -> float:
        """Return the factor for kept elements that preserves the mean; 1 if nothing is dropped."""
        return VALUES / (VALUES - self.dropped_values) if self.active else 1.0

    def train(self, mode: bool = True) -> Self:
        """Set training or evaluation mode and discard the pools."""
        # The loop calls train() once per epoch, so each epoch draws new pools from its own random state.
        self._pools = {}
        return super().train(mode)

    def forward(self, x: Tensor) -> Tensor:
        """Return `x`; in training, a share of its elements is zero."""
        return x * self.mask(x.shape, x.dtype, x.device) if self.active else x

    def mask(self, shape: Sequence[int], kind: torch.dtype, device: torch.device) -> Tensor:
        """Return a mask: 0 for dropped elements; for kept ones 1 in an integer type and `scale` otherwise.

        The mask may be a view of a pool, so callers must not write to it. Torch's seed determines the pool
        and the slice.
        """
        size = math.prod(shape)
        if size > MAX_POOLED:
            return self._drawn(size, kind, device).view(tuple(shape))
        pool_N = self._pools.get((kind, device))
        # A pool as small as the mask would leave one possible offset, so every step would drop the same
        # elements.
        if pool_N is None or 4 * size > len(pool_N):
            pool_N = self._pools[kind, device] = self._drawn(max(MIN_POOL, 4 * size), kind, device)
        # A random offset gives every layer and every step another mask without new random bytes.
        first = int(torch.randint(len(pool_N) - size + 1, ()))
        return pool_N[first : first + size].view(tuple(shape))

    def _drawn(self, size: int, kind: torch.dtype, device: torch.device) -> Tensor:
        # SFC64 is faster than torch's generator, and numpy compares bytes twenty times as fast as torch.
        # One 64-bit word gives eight bytes; a byte below the threshold drops its element.
        words = np.random.SFC64(int(torch.randint(2**63 - 1, ()))).random_raw((size + 7) // 8)
        kept_N = torch.from_numpy((words.view(np.uint8)[:size] >= self.dropped_values).view(np.uint8))
        mask_N = kept_N.to(device).to(kind)
        return mask_N.mul_(self.scale) if kind.is_floating_point else mask_N
