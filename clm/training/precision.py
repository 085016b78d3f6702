"""The precision of matmuls in training: bf16 if the processor supports it, else fp32.

Only matmuls are affected. Weights, optimiser, row sums, the loss, and all predictions that are judged or
served use fp32.
"""

from contextlib import AbstractContextManager

import torch

from clm.errors import TrainingError

PRECISIONS = ("auto", "bf16", "fp32")
_UNITS = ("amx_bf16", "avx512_bf16")
"""CPU features with which bf16 is at least twice as fast as fp32; without them it is emulated and slower."""
_CPU = torch.device("cpu")


def unit_of_bf16() -> str:
    """Return the CPU feature for bf16 matmuls, or "" if there is none."""
    # Ask the processor: torch computes bf16 on any CPU, but emulates it slowly.
    capabilities = torch.cpu.get_capabilities()
    return next((unit for unit in _UNITS if capabilities.get(unit)), "")


def chosen(precision: str, device: torch.device = _CPU) -> str:
    """Return `bf16` or `fp32` for a setting; `auto` is fp32 on a GPU, where calls take longer than matmuls.

    Raises:
        TrainingError: JOB_UNREADABLE, the setting is unknown.
    """
    if precision not in PRECISIONS:
        known = ", ".join(PRECISIONS)
        raise TrainingError("JOB_UNREADABLE", f"precision {precision!r} is not one of {known}")
    if precision != "auto":
        return precision
    return "bf16" if device.type == "cpu" and unit_of_bf16() else "fp32"


def type_of_products(precision: str, device: torch.device = _CPU) -> torch.dtype:
    """Return the type of the operands of matmuls."""
    return torch.bfloat16 if chosen(precision, device) == "bf16" else torch.float32


def products(precision: str, device: torch.device = _CPU) -> AbstractContextManager[object]:
    """Return a context manager in which matmuls use the chosen precision."""
    return torch.autocast(device.type, torch.bfloat16, enabled=chosen(precision, device) == "bf16")


def described(precision: str, device: torch.device = _CPU) -> str:
    """Return in words what was in use, for the proof pack."""
    if chosen(precision, device) == "fp32":
        return "fp32"
    unit = unit_of_bf16() if device.type == "cpu" else device.type
    return f"bf16 products ({unit or 'emulated: this processor has no bf16 unit'}), fp32 weights"
