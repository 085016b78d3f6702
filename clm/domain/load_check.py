"""What a fresh process said of a served file.

Suffixes: G golden rows, L context_length, C channels.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clm.domain.figure import Figure
from clm.domain.sample import Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class GoldenRows:
    """Raw windows with the answers that belong to them: the engine can be asked for them."""

    window_GLC: NDArray[np.float32]
    """Raw, not scaled, oldest step first; C features in the order of the manifest."""
    p_G: Floats
    """P(WIN) as the gates judged it."""

    def __len__(self) -> int:
        return len(self.p_G)


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One way of loading the file, and its answers to the golden rows."""

    name: str
    p_G: Floats | None
    failed_because: str = ""
    """Why there are no answers; empty where there are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadCheck:
    """A served file, loaded and asked in a process of its own."""

    sha256: str
    """Of the bytes that were loaded."""
    size_bytes: int
    weights_finite: bool
    golden: GoldenRows
    routes: tuple[Route, ...]
    predictions: int
    """How many single predictions were timed, one window at a time on one thread."""
    p50_ms: Figure
    p99_ms: Figure
    """Of the processor's time, so that what else the machine does is not held against the model."""
    p99_wall_ms: Figure

    def difference(self, route: Route) -> float:
        """Return how far the route's answers are from the stored ones at most; NaN where it has none."""
        if route.p_G is None or route.p_G.shape != self.golden.p_G.shape or not len(self.golden):
            return float("nan")
        return float(np.abs(route.p_G - self.golden.p_G).max())
