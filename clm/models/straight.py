"""Networks that can begin as a straight line through the last step of their window."""

from typing import Protocol, runtime_checkable

from torch import Tensor


@runtime_checkable
class BeginsStraight(Protocol):
    """A network with a path on which a weighted sum of the last step reaches the output layer."""

    straight_units: slice
    """The inputs of the output layer in which the sum arrives, up to scale."""

    def begin_straight(self, weight_C: Tensor) -> None:
        """Lay the path; what else there is begins small, and can be learnt."""
        ...

    def eval(self) -> object:
        """Leave training mode."""
        ...

    def __call__(self, x_BLC: Tensor) -> Tensor:
        """Return one logit a window."""
        ...
