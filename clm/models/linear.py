"""Products of many rows with a small matrix: by oneDNN where torch has its operator, else by torch's own.

Torch offers the operator to its compiler, not to the public; so it is tried before it is used, and where it
is missing or answers otherwise everything goes the plain way. It is for fp32, where it is 2 to 3 % of a
training; products of bf16 are oneDNN's in either way, and this one was 12 % behind on a processor with AMX.

Shapes: T rows, I inputs, O outputs.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

_ENOUGH_OPERATIONS = 2**25
"""From where on it is worth its call: 1,024 rows of the smallest product of the engine's network."""
_CLOSE = 1e-4
"""How far its answers to numbers around 1 may be from torch's own."""


def linear(x_TI: Tensor, weight_OI: Tensor, bias_O: Tensor | None = None) -> Tensor:
    """Return x @ weight.T + bias; it is not differentiable."""
    worth_it = 2 * x_TI.shape[0] * weight_OI.numel() >= _ENOUGH_OPERATIONS
    if worth_it and (operator := onednn(x_TI.dtype, x_TI.device.type)):
        # Its ReLU would be free, but makes 0 of what is no number, and the loss would stay finite.
        y_TO: Tensor = operator(x_TI, weight_OI, bias_O, "none", [], "")
        return y_TO
    return functional.linear(x_TI, weight_OI, bias_O)


@cache
def onednn(kind: torch.dtype, device: str = "cpu") -> Callable[..., Any] | None:
    """Return oneDNN's operator for numbers of this type, or None where it is not to be used."""
    operator: Callable[..., Any] | None = getattr(torch.ops.mkldnn, "_linear_pointwise", None)
    has_it = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]  # torch leaves it untyped
    if operator is None or not has_it or (kind, device) != (torch.float32, "cpu"):
        return None
    x_TI = torch.linspace(-1, 1, 24 * 32).sin().view(24, 32)
    weight_OI, bias_O = torch.linspace(-9, 9, 16 * 32).cos().view(16, 32), torch.linspace(-1, 1, 16)
    plain_TO = functional.linear(x_TI, weight_OI, bias_O)
    with torch.no_grad():
        try:
            for weight in (weight_OI, weight_OI.t().contiguous().t()):
                y_TO = operator(x_TI, weight, bias_O, "none", [], "")
                if not torch.allclose(y_TO, plain_TO, rtol=0, atol=_CLOSE):
                    return None
        except (RuntimeError, TypeError, NotImplementedError):
            return None
    return operator
