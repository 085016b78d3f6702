"""The one codec for frozen records: JSON, with the arrays in an npz file.

    write_record, read_record      NAME.json, and NAME.npz where the record has arrays
    encode_record, decode_record   one npz file that contains the JSON
    encode_line, decode_line       one line of JSON, without arrays

The declared field types determine the form (clm/artefacts/forms.py). A record read back equals the one
written, bit for bit. Anything else raises a RecordError: a missing or unknown field, a wrong type,
a duplicate key, a NaN literal, an array of the wrong dtype, or a file above the size limit.

Evidence is kept for years, so `decode_record` reads records of earlier versions: a field with a default may
be missing there.
"""

import io
import json
import os
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, TypeVar

import numpy as np

from clm.artefacts.files import replace_durably
from clm.artefacts.forms import form_of
from clm.artefacts.place import Place, RecordError

__all__ = [
    "RecordError",
    "decode_line",
    "decode_record",
    "encode_line",
    "encode_record",
    "read_arrays",
    "read_record",
    "write_record",
]

R = TypeVar("R")

MAX_BYTES = 1 << 32
"""Default limit for a file; the windows of a million samples take 300 MB."""
_JSON_NAME = "record.json"


def write_record(path: Path, record: object) -> None:
    """Write a record durably: arrays first, then JSON, so that a JSON file implies a complete record.

    Raises:
        TypeError: a value does not have its declared type.
        ArtefactError: DISK_FULL, READ_ONLY_FS, PERMISSION, IO_ERROR.
    """
    arrays: dict[str, np.ndarray] = {}
    plain = form_of(type(record)).encode(record, Place(arrays=arrays))
    if arrays:
        replace_durably(path.with_suffix(".npz"), _archive(arrays))
    else:
        path.with_suffix(".npz").unlink(missing_ok=True)
    replace_durably(path, json.dumps(plain, allow_nan=False, indent=2).encode() + b"\n")


def read_record(kind: type[R], path: Path, *, max_bytes: int = MAX_BYTES) -> R:
    """Return the record of a JSON file and the npz file next to it, each of at most `max_bytes`.

    Raises:
        RecordError: a file is missing, too large or corrupt, or is not a record of this type.
    """
    with _opened(path, max_bytes) as file:
        text = file.read()
    arrays_path = path.with_suffix(".npz")
    if not arrays_path.exists():
        return _decoded(kind, text, {})
    with _opened(arrays_path, max_bytes) as file:
        return _decoded(kind, text, _arrays(file, max_bytes))


def encode_record(record: object) -> bytes:
    """Return a record as the bytes of one npz file; the same record gives the same bytes.

    Raises:
        TypeError: a value does not have its declared type.
    """
    arrays: dict[str, np.ndarray] = {}
    plain = form_of(type(record)).encode(record, Place(arrays=arrays))
    text = json.dumps(plain, allow_nan=False).encode()
    return _archive({**arrays, _JSON_NAME: np.frombuffer(text, dtype=np.uint8)})


def decode_record(kind: type[R], data: bytes) -> R:
    """Return the record that `encode_record` wrote.

    Raises:
        RecordError: the bytes are corrupt, or are not a record of this type.
    """
    arrays = _arrays(io.BytesIO(data), MAX_BYTES)
    try:
        text = arrays.pop(_JSON_NAME).tobytes()
    except KeyError as exc:
        raise RecordError("", f"the archive has no {_JSON_NAME}") from exc
    # The first edition wrote an unknown figure as a NaN literal.
    return _decoded(kind, text, arrays, constants={"NaN": None}, may_be_older=True)


def encode_line(record: object) -> bytes:
    """Return a record without arrays as one line of JSON.

    Raises:
        TypeError: a value does not have its declared type, or is an array.
    """
    arrays: dict[str, np.ndarray] = {}
    plain = form_of(type(record)).encode(record, Place(arrays=arrays))
    if arrays:
        raise TypeError(f"{type(record).__name__} has arrays, which have no place in a line")
    return json.dumps(plain, allow_nan=False).encode() + b"\n"


def decode_line(kind: type[R], line: bytes) -> R:
    """Return the record that `encode_line` wrote.

    Raises:
        RecordError: the line is not a record of this type.
    """
    return _decoded(kind, line, {})


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """Return the arrays of an npz file by name; pickled objects are refused.

    Raises:
        FileNotFoundError, RecordError: the file cannot be read, or is corrupt.
    """
    with path.open("rb") as file:
        return _arrays(file, MAX_BYTES)


@contextmanager
def _opened(path: Path, max_bytes: int) -> Iterator[BinaryIO]:
    try:
        file = path.open("rb")
    except OSError as exc:
        raise RecordError("", f"{path} cannot be read: {exc.strerror}") from exc
    with file:
        if os.fstat(file.fileno()).st_size > max_bytes:
            raise RecordError("", f"{path} is larger than {max_bytes:,} bytes")
        yield file


def _archive(arrays: Mapping[str, np.ndarray]) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)  # type: ignore[arg-type]  # arrays by name; none is a keyword of savez
    return buffer.getvalue()


def _arrays(file: BinaryIO, max_bytes: int) -> dict[str, np.ndarray]:
    try:
        # numpy does not close a file that is not an archive: the caller owns the file and closes it.
        with zipfile.ZipFile(file) as archive:
            size = sum(member.file_size for member in archive.infolist())
        if size > max_bytes:
            raise RecordError("", f"the arrays take {size:,} bytes, more than {max_bytes:,}")
        file.seek(0)
        with np.load(file, allow_pickle=False) as stored:
            return {name: stored[name] for name in stored.files}
    # numpy reads with zipfile, which raises any of these for a corrupt archive.
    except (OSError, ValueError, EOFError, KeyError, RuntimeError, zipfile.BadZipFile, zlib.error) as exc:
        raise exc if isinstance(exc, RecordError) else RecordError("", f"no whole archive: {exc}") from exc


def _decoded(
    kind: type[R],
    text: bytes,
    arrays: dict[str, np.ndarray],
    constants: Mapping[str, None] | None = None,
    *,
    may_be_older: bool = False,
) -> R:
    def constant(literal: str) -> None:
        if literal not in (constants or {}):
            raise RecordError("", f"{literal} is not JSON")

    try:
        plain = json.loads(text, object_pairs_hook=_unique, parse_constant=constant)
    except (ValueError, RecursionError) as exc:
        raise exc if isinstance(exc, RecordError) else RecordError("", f"no JSON: {exc}") from exc
    unread = dict(arrays)
    record: R = form_of(kind).decode(plain, Place(arrays=unread, may_be_older=may_be_older))
    if unread:
        raise RecordError(min(unread), "the archive holds an array that the record does not have")
    return record


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    plain = dict(pairs)
    if len(plain) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise RecordError(twice, "the key occurs twice")
    return plain
