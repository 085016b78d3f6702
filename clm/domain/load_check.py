"""The result of loading a served file in a fresh process.

Suffixes: G golden rows, L context_length, C channels.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clm.domain.figure import Figure
from clm.domain.sample import Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class GoldenRows:
    """Raw windows with their stored answers; the running engine can be checked against them."""

    window_GLC: NDArray[np.float32]
    """Raw, unscaled, oldest step first; C features in the order of the manifest."""
    p_G: Floats
    """P(WIN), as judged by the gates."""

    def __len__(self) -> int:
        return len(self.p_G)


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One way of loading the file, and its answers to the golden rows."""

    name: str
    p_G: Floats | None
    failed_because: str = ""
    """Why there are no answers; empty if there are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadCheck:
    """A served file, loaded and evaluated in a separate process."""

    sha256: str
    """Hash of the loaded bytes."""
    size_bytes: int
    weights_finite: bool
    golden: GoldenRows
    routes: tuple[Route, ...]
    predictions: int
    """Number of timed predictions, one window at a time on one thread."""
    p50_ms: Figure
    p99_ms: Figure
    """Processor time, so other load on the machine does not count against the model."""
    p99_wall_ms: Figure

    def difference(self, route: Route) -> float:
        """Return the largest difference between the route's and the stored answers; NaN without answers."""
        if route.p_G is None or route.p_G.shape != self.golden.p_G.shape or not len(self.golden):
            return float("nan")
        return float(np.abs(route.p_G - self.golden.p_G).max())
