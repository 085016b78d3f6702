"""Windows as indices: a window is `context_length` consecutive rows of a matrix, the last one named.

Two sources fill the matrix. `history` takes the samples themselves: the table's order (symbol,
decided_at, sample_id) makes a window a plain slice, and makes it impossible that a row decided later
than the window's last one is in it. `candles` takes indicators of market candles and holds the sample's
own features with them (clm.data.candles.windows).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clm.domain.sample import Floats, Ints, SampleTable


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowSet:
    """N windows of C channels over M steps: window n is the steps `end_N[n] - L + 1 .. end_N[n]`."""

    steps_MC: Floats
    """Raw, not scaled; a held channel is zero here."""
    end_N: Ints
    context_length: int
    names: tuple[str, ...]
    """Of the channels, in order."""
    held_K: Ints
    """The channels that hold one value all over a window: features of the sample itself."""
    held_NK: Floats

    @property
    def stepping_C(self) -> NDArray[np.bool_]:
        """True for the channels that may change from step to step."""
        return np.isin(np.arange(self.steps_MC.shape[1]), self.held_K, invert=True)

    def gather(self, part: Ints) -> Floats:
        """Return these windows as x_NLC, oldest step first."""
        x_NLC = gather(self.steps_MC, self.end_N[part], self.context_length)
        x_NLC[:, :, self.held_K] = self.held_NK[part][:, None, :]
        return x_NLC


def history_windows(table: SampleTable, row_N: Ints, context_length: int) -> WindowSet:
    """Return the windows of a symbol's own samples that end at `row_N`; no channel is held."""
    return WindowSet(
        steps_MC=table.features_RC,
        end_N=row_N,
        context_length=context_length,
        names=table.feature_names,
        held_K=np.empty(0, dtype=np.int64),
        held_NK=np.empty((len(row_N), 0)),
    )


def window_ends(table: SampleTable, wanted_R: NDArray[np.bool_], context_length: int) -> Ints:
    """Return the wanted rows that have `context_length` rows of their symbol up to and including them."""
    row_R = np.arange(len(table), dtype=np.int64)
    begins_R = np.diff(table.symbol_R, prepend=-1) != 0
    first_R = np.maximum.accumulate(np.where(begins_R, row_R, 0))
    return np.flatnonzero(wanted_R & (row_R - first_R + 1 >= context_length)).astype(np.int64)


def gather(features_RC: Floats, row_N: Ints, context_length: int) -> Floats:
    """Return the windows that end at `row_N` as x_NLC, oldest step first."""
    x_NLC: Floats = features_RC[row_N[:, None] + np.arange(1 - context_length, 1)]
    return x_NLC
