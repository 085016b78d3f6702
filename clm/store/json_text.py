"""Facts as JSON text in a column."""

from collections.abc import Mapping
from pathlib import PurePath

import orjson


def to_text(value: object) -> str:
    """Return strict JSON; NaN and infinities become null, which means unknown.

    Raises:
        TypeError: a value has no JSON form.
    """
    return orjson.dumps(value, default=_plain, option=orjson.OPT_SERIALIZE_NUMPY).decode()


def from_text(text: str | bytes) -> dict[str, object]:
    """Return the object that `to_text` wrote."""
    value = orjson.loads(text)
    return value if isinstance(value, dict) else {"value": value}


def _plain(value: object) -> object:
    if isinstance(value, PurePath):
        return str(value)
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} has no meaning in JSON")
