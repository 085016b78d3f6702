"""Networks that can start as a linear function of the last step of the window."""

from typing import Protocol, runtime_checkable

from torch import Tensor

START_SCALE = 0.1
"""Factor on the random weights of branches and of the output layer outside the linear path."""
# Not zero: a branch whose last matrix is zero passes no gradient to the layers before it.


@runtime_checkable
class StartsLinear(Protocol):
    """A network in which a weighted sum of the last step can reach the output layer unchanged."""

    # A logistic regression on the newest step is a strong baseline for short trainings. A network that
    # starts there needs to learn only the rest (clm.training.start fits the weights).
    linear_units: slice
    """Inputs of the output layer that carry the sum, up to scale."""

    def start_linear(self, weight_C: Tensor) -> None:
        """Initialise the path with `weight_C`; all other weights start small and can be learned."""
        ...

    def eval(self) -> object:
        """Leave training mode."""
        ...

    def __call__(self, x_BLC: Tensor) -> Tensor:
        """Return one logit per window."""
        ...
