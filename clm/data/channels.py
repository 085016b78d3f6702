"""Feature values for audits, independent of the source of the windows."""

from collections.abc import Iterator

import numpy as np

from clm.data.association import spread
from clm.data.dataset import Dataset
from clm.domain.sample import Floats, Ints


def last_steps(dataset: Dataset, part: Ints | None = None, *, limit: int | None = None) -> Floats:
    """Return the features of these windows at their decision as x_NC; without `part`, of all windows.

    With `limit`, return at most that many, evenly spread over the part.
    """
    windows = dataset.windows
    chosen = np.arange(len(windows.end_N), dtype=np.int64) if part is None else part
    if limit is not None:
        chosen = chosen[spread(len(chosen), limit)]
    features_NC = np.array(windows.steps_MC[windows.end_N[chosen]], dtype=np.float64)
    # Static channels are stored once per window, not in the matrix of steps.
    features_NC[:, windows.held_K] = windows.held_NK[chosen]
    return features_NC


def columns(dataset: Dataset) -> Iterator[tuple[str, Floats]]:
    """Yield each feature with all values that a window may contain."""
    windows = dataset.windows
    held = {int(channel): place for place, channel in enumerate(windows.held_K)}
    for channel, name in enumerate(windows.names):
        held_at = held.get(channel)
        yield name, windows.steps_MC[:, channel] if held_at is None else windows.held_NK[:, held_at]
