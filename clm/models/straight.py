"""Networks that can start as a linear function of the last step of the window."""

from typing import Protocol, runtime_checkable

from torch import Tensor

QUIET = 0.1
"""Factor on the random weights of branches and of the output layer outside the linear path."""


@runtime_checkable
class BeginsStraight(Protocol):
    """A network in which a weighted sum of the last step can reach the output layer unchanged."""

    straight_units: slice
    """Inputs of the output layer that carry the sum, up to scale."""

    def begin_straight(self, weight_C: Tensor) -> None:
        """Initialise the path with `weight_C`; all other weights start small and can be learned."""
        ...

    def eval(self) -> object:
        """Leave training mode."""
        ...

    def __call__(self, x_BLC: Tensor) -> Tensor:
        """Return one logit per window."""
        ...
