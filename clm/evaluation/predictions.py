"""Test rows, their predictions, and the actions that follow."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from clm.domain.sample import Bytes8, Floats, Ints


@dataclass(frozen=True, slots=True, kw_only=True)
class Thresholds:
    """Thresholds of P(WIN) for an action; both are exclusive."""

    buy_above: float
    sell_below: float


ENGINE = Thresholds(buy_above=0.6, sell_below=0.4)
"""The engine's thresholds; this service cannot tune them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TestRows:
    """The rows on which every predictor is scored, ordered by decided_at."""

    __test__ = False  # pytest would take the name for a test class

    sample_id_N: Ints
    symbol_N: Ints
    symbols: tuple[str, ...]
    decided_at_N: Ints
    resolved_at_N: Ints
    label_N: Bytes8
    """1 or 0."""
    market_return_N: Floats
    """exit_price / entry_price - 1 of the recorded trade; NaN if unknown."""

    def __len__(self) -> int:
        return len(self.label_N)

    def part(self, chosen_N: NDArray[np.bool_]) -> "TestRows":
        """Return the chosen rows in the same order."""
        return replace(
            self,
            sample_id_N=self.sample_id_N[chosen_N],
            symbol_N=self.symbol_N[chosen_N],
            decided_at_N=self.decided_at_N[chosen_N],
            resolved_at_N=self.resolved_at_N[chosen_N],
            label_N=self.label_N[chosen_N],
            market_return_N=self.market_return_N[chosen_N],
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """P(WIN) of candidate, champion and baselines for the same rows."""

    p_candidate_N: Floats
    p_champion_N: Floats | None
    """None if no champion can be scored."""
    champion_absent_because: str
    """Empty with a champion."""
    p_logistic_N: Floats
    base_rate: float
    """Share of WIN in the training part; one baseline predicts it for every row."""
    p_trees_N: Floats | None = None
    """None in evidence that is older than the trees."""
    validation_by_plain: Mapping[str, Floats] = field(default_factory=dict)
    """P(WIN) of the validation rows by plain model, `logistic` and `trees`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoredRows:
    """The candidate's predictions for the rows of another part."""

    rows: TestRows
    p_N: Floats


def actions(p_win_N: Floats, thresholds: Thresholds = ENGINE) -> NDArray[np.int8]:
    """Return +1 BUY, -1 SELL, 0 HOLD as the engine reads them from P(WIN)."""
    buys_N, sells_N = p_win_N > thresholds.buy_above, p_win_N < thresholds.sell_below
    return buys_N.astype(np.int8) - sells_N.astype(np.int8)
