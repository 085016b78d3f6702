"""The test rows and what was predicted for them."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clm.domain.sample import Bytes8, Floats, Ints

BUY_ABOVE = 0.6
SELL_BELOW = 0.4
"""The engine's own thresholds on P(WIN); not ours to tune."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TestRows:
    """The rows every predictor is scored on, ordered by decided_at."""

    __test__ = False  # pytest would take the name for a test class

    sample_id_N: Ints
    symbol_N: Ints
    symbols: tuple[str, ...]
    decided_at_N: Ints
    resolved_at_N: Ints
    label_N: Bytes8
    """1 or 0."""
    market_return_N: Floats
    """exit_price / entry_price - 1 of the recorded trade; NaN unknown."""

    def __len__(self) -> int:
        return len(self.label_N)


def actions(p_win_N: Floats) -> NDArray[np.int8]:
    """Return +1 BUY, -1 SELL, 0 HOLD as the engine reads them from P(WIN)."""
    return (p_win_N > BUY_ABOVE).astype(np.int8) - (p_win_N < SELL_BELOW).astype(np.int8)
