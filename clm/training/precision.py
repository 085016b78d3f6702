"""Of which numbers the matrix products of a training are: bf16 where the processor has it, else fp32.

Only products are affected. Weights, optimiser, sums over a row, the loss, and every answer that is judged or
served stay in fp32.
"""

from contextlib import AbstractContextManager

import torch

from clm.errors import TrainingError

PRECISIONS = ("auto", "bf16", "fp32")
_UNITS = ("amx_bf16", "avx512_bf16")
"""What multiplies bf16 twice as fast as fp32 or faster; elsewhere it is emulated, and slower."""
_CPU = torch.device("cpu")


def unit_of_bf16() -> str:
    """Return the processor's unit for bf16, or "" where it has none."""
    has = torch.cpu.get_capabilities()
    return next((unit for unit in _UNITS if has.get(unit)), "")


def chosen(precision: str, device: torch.device = _CPU) -> str:
    """Return `bf16` or `fp32` for a setting; `auto` is fp32 on a GPU, where calls take longer than products.

    Raises:
        TrainingError: JOB_UNREADABLE, there is no such setting.
    """
    if precision not in PRECISIONS:
        raise TrainingError("JOB_UNREADABLE", f"precision {precision!r} is none of {', '.join(PRECISIONS)}")
    if precision != "auto":
        return precision
    return "bf16" if device.type == "cpu" and unit_of_bf16() else "fp32"


def type_of_products(precision: str, device: torch.device = _CPU) -> torch.dtype:
    """Return the type of what is multiplied."""
    return torch.bfloat16 if chosen(precision, device) == "bf16" else torch.float32


def products(precision: str, device: torch.device = _CPU) -> AbstractContextManager[object]:
    """Return a context in which products are of the chosen numbers."""
    return torch.autocast(device.type, torch.bfloat16, enabled=chosen(precision, device) == "bf16")


def described(precision: str, device: torch.device = _CPU) -> str:
    """Return in words what was in use, for the proof pack."""
    if chosen(precision, device) == "fp32":
        return "fp32"
    unit = unit_of_bf16() if device.type == "cpu" else device.type
    return f"bf16 products ({unit or 'emulated: this processor has no unit for them'}), fp32 weights"
