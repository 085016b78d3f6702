"""The place of a value in a record, the error that names it, and the interface of a form."""

from dataclasses import dataclass, field, replace
from typing import Any, Protocol
from urllib.parse import quote

import numpy as np

Json = Any


class RecordError(ValueError):
    """The data read is not a valid record of the expected type; the message names the path of the field."""

    def __init__(self, path: str, why: str) -> None:
        super().__init__(f"{path}: {why}" if path else why)


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """The path of a value in its record, the record's arrays by path, and how strictly it is read."""

    path: str = ""
    arrays: dict[str, np.ndarray] = field(default_factory=dict)
    may_be_older: bool = False
    """Whether a field with a default may be missing, because an earlier version did not have it."""

    def at(self, name: str | int) -> "Place":
        """Return the place of a field, an item or an entry."""
        return replace(self, path=f"{self.path}/{quote(str(name), safe='')}")

    def wrong(self, value: object, wanted: str) -> RecordError:
        """Return the error for a value that does not match its declaration."""
        return RecordError(self.path or "the record", f"{shown(value)} is not {wanted}")


class Form(Protocol):
    """Encoder and decoder of one type."""

    def encode(self, value: Any, place: Place) -> Json:
        """Return the JSON value.

        Raises:
            TypeError: the value does not have the declared type, a bug in the caller.
        """
        ...

    def decode(self, plain: Json, place: Place) -> Any:
        """Return the value.

        Raises:
            RecordError: the JSON is not a value of the declared type.
        """
        ...


def demand(value: Any, fits: bool, place: Place, wanted: str) -> Any:
    """Return the value, or raise TypeError if it does not match its declared type."""
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
