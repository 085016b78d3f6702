"""Matmul of many rows with a small matrix, by oneDNN if torch has its operator, else by torch.

Torch has the operator for its compiler, not as a public API. It is therefore tested before use; if it is
missing or its results differ, torch's own matmul is used. It serves fp32 only and saves 2 to 3 % of a
training there. Torch already uses oneDNN for bf16; this operator was 12 % slower on a processor with AMX.

Shapes: T rows, I inputs, O outputs.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

_ENOUGH_OPERATIONS = 2**25
"""Operations from which on the call pays off: 1,024 rows of the smallest matmul of the engine's network."""
_CLOSE = 1e-4
"""Maximum difference from torch's results for values around 1."""


def linear(x_TI: Tensor, weight_OI: Tensor, bias_O: Tensor | None = None) -> Tensor:
    """Return x @ weight.T + bias, shape (T, O); not differentiable."""
    # A multiplication and an addition for each of T * I * O terms.
    worth_it = 2 * x_TI.shape[0] * weight_OI.numel() >= _ENOUGH_OPERATIONS
    if worth_it and (operator := onednn(x_TI.dtype, x_TI.device.type)):
        # The operator's fused ReLU would be free, but it turns NaN into 0, and the loss would stay finite.
        y_TO: Tensor = operator(x_TI, weight_OI, bias_O, "none", [], "")
        return y_TO
    return functional.linear(x_TI, weight_OI, bias_O)


# The test runs once per type and device: an operator does not change within a process.
@cache
def onednn(kind: torch.dtype, device: str = "cpu") -> Callable[..., Any] | None:
    """Return oneDNN's operator for this type and device, or None if it must not be used."""
    operator: Callable[..., Any] | None = getattr(torch.ops.mkldnn, "_linear_pointwise", None)
    has_it = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]  # torch leaves it untyped
    if operator is None or not has_it or (kind, device) != (torch.float32, "cpu"):
        return None
    # Test it on fixed inputs, with the two memory layouts of the weights that `layers.py` uses.
    x_TI = torch.linspace(-1, 1, 24 * 32).sin().view(24, 32)
    weight_OI, bias_O = torch.linspace(-9, 9, 16 * 32).cos().view(16, 32), torch.linspace(-1, 1, 16)
    plain_TO = functional.linear(x_TI, weight_OI, bias_O)
    with torch.no_grad():
        try:
            for weight in (weight_OI, weight_OI.t().contiguous().t()):
                y_TO = operator(x_TI, weight, bias_O, "none", [], "")
                # Bit equality would be too strict: the two add the products in different orders.
                if not torch.allclose(y_TO, plain_TO, rtol=0, atol=_CLOSE):
                    return None
        # A private operator may change its signature in any release of torch.
        except (RuntimeError, TypeError, NotImplementedError):
            return None
    return operator
