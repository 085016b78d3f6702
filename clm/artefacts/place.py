"""Where a value stands in a record, the error that names that place, and what a form is."""

from dataclasses import dataclass, field
from typing import Any, Protocol
from urllib.parse import quote

import numpy as np

Json = Any


class RecordError(ValueError):
    """What was read is not the record that was expected; the message names the path of the field."""

    def __init__(self, path: str, why: str) -> None:
        super().__init__(f"{path}: {why}" if path else why)


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a value stands in its record, and the arrays of the record by path."""

    path: str = ""
    arrays: dict[str, np.ndarray] = field(default_factory=dict)

    def at(self, name: str | int) -> "Place":
        """Return the place of a field, an item or an entry."""
        return Place(path=f"{self.path}/{quote(str(name), safe='')}", arrays=self.arrays)

    def wrong(self, value: object, wanted: str) -> RecordError:
        """Return the error for a value that is not what was declared."""
        return RecordError(self.path or "the record", f"{shown(value)} is not {wanted}")


class Form(Protocol):
    """Both directions of one type."""

    def encode(self, value: Any, place: Place) -> Json:
        """Return the JSON value.

        Raises:
            TypeError: the value does not have the declared type, which is a bug of the caller.
        """
        ...

    def decode(self, plain: Json, place: Place) -> Any:
        """Return the value.

        Raises:
            RecordError: the JSON is not a value of the declared type.
        """
        ...


def demand(value: Any, fits: bool, place: Place, wanted: str) -> Any:
    """Return the value; raise TypeError if it does not fit its declared type."""
    if not fits:
        raise TypeError(f"{place.path or 'the record'}: {shown(value)} is not {wanted}")
    return value


def described(array: np.ndarray) -> str:
    """Return dtype and shape of an array, for example float64[3, 2]."""
    return f"{array.dtype}{list(array.shape)}"


def shown(value: object) -> str:
    """Return a value as text of at most 60 characters."""
    text = described(value) if isinstance(value, np.ndarray) else repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
