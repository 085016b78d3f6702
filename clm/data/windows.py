"""Windows as row indices: a window is `context_length` consecutive rows of one symbol.

The table's order (symbol, decided_at, sample_id) makes a window a plain slice, and makes it impossible
that a row decided later than the window's last one is in it.
"""

import numpy as np
from numpy.typing import NDArray

from clm.domain.sample import Floats, Ints, SampleTable


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
