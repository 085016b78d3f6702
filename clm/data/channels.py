"""What audits of features look at, whatever the windows are made of."""

from collections.abc import Iterator

import numpy as np

from clm.data.association import spread
from clm.data.dataset import Dataset
from clm.domain.sample import Floats, Ints


def last_steps(dataset: Dataset, part: Ints | None = None, *, limit: int | None = None) -> Floats:
    """Return the features of these windows at their decision as x_NC; all windows without a part.

    With a limit, at most so many, evenly spread over the part.
    """
    windows = dataset.windows
    chosen = np.arange(len(windows.end_N), dtype=np.int64) if part is None else part
    if limit is not None:
        chosen = chosen[spread(len(chosen), limit)]
    features_NC = np.array(windows.steps_MC[windows.end_N[chosen]], dtype=np.float64)
    features_NC[:, windows.held_K] = windows.held_NK[chosen]
    return features_NC


def columns(dataset: Dataset) -> Iterator[tuple[str, Floats]]:
    """Yield each feature with all of its values that some window may show."""
    windows = dataset.windows
    held = {int(channel): place for place, channel in enumerate(windows.held_K)}
    for channel, name in enumerate(windows.names):
        held_at = held.get(channel)
        yield name, windows.steps_MC[:, channel] if held_at is None else windows.held_NK[:, held_at]
