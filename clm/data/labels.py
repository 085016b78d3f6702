"""Labels of samples, for two targets; each label is 0 or 1."""

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
    """Rows with a known outcome for which the target is undefined."""
    left_out: int
    """Rows without a label because their outcome contradicts their profit."""
    relabelled: int
    """Rows labelled by their profit because their outcome contradicts it."""


def label(table: SampleTable, target: str, contradictions: str = "keep") -> Labels:
    """Label the rows whose outcome was known at the cutoff.

    `contradictions` is the treatment of outcomes that contradict the recorded profit: `keep` trusts the
    outcome, `relabel` trusts the profit, `drop` trusts neither.
    """
    wrong_R = contradicting(table)
    outcome_R = table.outcome_R
    if contradictions == "relabel":
        outcome_R = np.where(wrong_R, np.sign(np.nan_to_num(table.pnl_R)), outcome_R).astype(np.int8)
    label_R, defined_R = TARGETS[target](outcome_R, table.side_R)
    dropped_R = wrong_R & (contradictions == "drop")
    # Unlabelled rows stay in the table: windows need them as history.
    known_R = table.labelled_R & defined_R & ~dropped_R
    return Labels(
        label_R=np.where(known_R, label_R, 0).astype(np.int8),
        known_R=known_R,
        undefined=int((table.labelled_R & ~defined_R & ~dropped_R).sum()),
        left_out=int(dropped_R.sum()),
        relabelled=int(wrong_R.sum()) if contradictions == "relabel" else 0,
    )


def contradicting(table: SampleTable) -> NDArray[np.bool_]:
    """Return the rows with a WIN without profit or a LOSS without loss; unknown profits never contradict."""
    # NaN fails both comparisons, so an unknown profit contradicts nothing.
    won_R, lost_R = table.outcome_R == 1, table.outcome_R == -1
    return np.asarray((won_R & (table.pnl_R <= 0)) | (lost_R & (table.pnl_R >= 0)))


def _win(outcome_R: Bytes8, side_R: Bytes8) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """1: the trade was won. 0: it was not won; LOSS and NEUTRAL alike."""
    return outcome_R == 1, np.ones(len(outcome_R), dtype=np.bool_)


def _direction(outcome_R: Bytes8, side_R: Bytes8) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """1: the market went up, a BUY won or a SELL lost. 0: it went down, a SELL won or a BUY lost.

    A NEUTRAL outcome and a trade of unknown side have no direction.
    """
    direction_R = side_R * outcome_R
    return direction_R == 1, direction_R != 0


TARGETS: Mapping[str, Callable[[Bytes8, Bytes8], tuple[NDArray[np.bool_], NDArray[np.bool_]]]] = {
    "win": _win,
    "direction": _direction,
}
