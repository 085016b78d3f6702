"""Domain values as plain JSON values."""

import math
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Plain = bool | int | float | str | None | list["Plain"] | dict[str, "Plain"]


def plain(value: object) -> Plain:
    """Return `value` as a JSON value; NaN and infinities are unknown and become null."""
    match value:
        case None | bool() | int():
            return value
        case str():
            return str(value)
        case np.generic():
            return plain(value.item())
        case float():
            return value if math.isfinite(value) else None
        case Mapping():
            return {str(key): plain(item) for key, item in value.items()}
        case list() | tuple() | np.ndarray():
            return [plain(item) for item in value]
        case Path():
            return str(value)
    if is_dataclass(value) and not isinstance(value, type):
        return plain_record(value)
    raise TypeError(f"{type(value).__name__} has no plain form")


def plain_record(record: "DataclassInstance") -> dict[str, Plain]:
    """Return a dataclass as a JSON object of its fields."""
    return {f.name: plain(getattr(record, f.name)) for f in fields(record)}
