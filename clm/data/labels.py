"""What a sample's label is; two targets, both 0 or 1."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clm.domain.sample import Bytes8, SampleTable


@dataclass(frozen=True, slots=True, kw_only=True)
class Labels:
    """One label a row; a row outside `known_R` has none."""

    label_R: Bytes8
    known_R: NDArray[np.bool_]
    undefined: int
    """Rows with a known outcome for which the target says nothing."""


def label(table: SampleTable, target: str) -> Labels:
    """Label the rows whose outcome was known at the cutoff."""
    label_R, defined_R = TARGETS[target](table)
    known_R = table.labelled_R & defined_R
    return Labels(
        label_R=np.where(known_R, label_R, 0).astype(np.int8),
        known_R=known_R,
        undefined=int((table.labelled_R & ~defined_R).sum()),
    )


def _win(table: SampleTable) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """1: the trade was won. 0: it was not won; LOSS and NEUTRAL alike."""
    return table.outcome_R == 1, np.ones(len(table), dtype=np.bool_)


def _direction(table: SampleTable) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """1: the market went up, a BUY won or a SELL lost. 0: it went down, a SELL won or a BUY lost.

    A NEUTRAL outcome and a trade of unknown side have no direction.
    """
    direction_R = table.side_R * table.outcome_R
    return direction_R == 1, direction_R != 0


TARGETS: Mapping[str, Callable[[SampleTable], tuple[NDArray[np.bool_], NDArray[np.bool_]]]] = {
    "win": _win,
    "direction": _direction,
}
