"""Nested records as one npz file and back, exactly: arrays as arrays, everything else as JSON beside them.

Understands frozen dataclasses, arrays, text, numbers (NaN and infinities too), None and tuples of these.
"""

import io
import json
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from types import UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

import numpy as np

from clm.artefacts.job_files import read_arrays

Record = TypeVar("Record")

_PLAIN = "record.json"


def encode_record(record: object) -> bytes:
    """Return the bytes of an npz file; the same record gives the same bytes."""
    arrays: dict[str, np.ndarray] = {}
    plain = _taken_apart(record, "", arrays)
    arrays[_PLAIN] = np.frombuffer(json.dumps(plain, sort_keys=True).encode(), dtype=np.uint8)
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)  # type: ignore[arg-type]  # arrays by name, no keyword of savez among them
    return buffer.getvalue()


def read_record(kind: type[Record], path: Path) -> Record:
    """Return the record of a file.

    Raises:
        OSError, ValueError, KeyError, TypeError: it cannot be read, is torn or is no such record.
    """
    arrays = read_arrays(path)
    plain = json.loads(arrays.pop(_PLAIN).tobytes())
    record: Record = _put_together(kind, plain, "", arrays)
    return record


def _taken_apart(value: object, path: str, arrays: dict[str, np.ndarray]) -> object:
    if isinstance(value, np.ndarray):
        arrays[path] = value
        return None
    if is_dataclass(value) and not isinstance(value, type):
        return {
            f.name: _taken_apart(getattr(value, f.name), f"{path}/{f.name}", arrays) for f in fields(value)
        }
    if isinstance(value, tuple):
        return [_taken_apart(item, f"{path}/{n}", arrays) for n, item in enumerate(value)]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"{path}: {type(value).__name__} has no form in a record")


def _put_together(kind: Any, plain: Any, path: str, arrays: Mapping[str, np.ndarray]) -> Any:
    if get_origin(kind) in {Union, UnionType}:
        if plain is None and path not in arrays:
            return None
        (kind,) = (option for option in get_args(kind) if option is not type(None))
    if get_origin(kind) is np.ndarray:
        return arrays[path]
    if get_origin(kind) is tuple:
        item, _ = get_args(kind)
        return tuple(_put_together(item, one, f"{path}/{n}", arrays) for n, one in enumerate(plain))
    if is_dataclass(kind):
        hints = get_type_hints(kind)
        names = [f.name for f in fields(kind)]
        if sorted(names) != sorted(plain):
            raise TypeError(f"{path or 'it'} holds {', '.join(sorted(plain))}, wanted {', '.join(names)}")
        make: Any = kind
        return make(**{n: _put_together(hints[n], plain[n], f"{path}/{n}", arrays) for n in names})
    # A whole number is as good a float; it stays what it was, and so does what is computed from it.
    if not isinstance(plain, int | float if kind is float else kind):
        raise TypeError(f"{path} is {type(plain).__name__}, wanted {kind.__name__}")
    return plain
