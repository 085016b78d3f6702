"""Convert feature texts to numbers; a bad text gets a reason, never a value.

A text is a JSON array, named by the row's `feature_names`, or a JSON object of name to number.
"""

import json
from collections.abc import Sequence
from functools import lru_cache
from itertools import chain
from math import inf, nan

import numpy as np
import orjson
from numpy.typing import NDArray

from clm.data.columns import Layout
from clm.domain.sample import Floats

MAX_TEXT_BYTES = 65_536
MAX_MAGNITUDE = 1e12
"""Larger numbers are errors: no price, volume or ratio of a market is that large."""

NOT_NUMBERS = "features_not_numbers"
HUGE = "features_huge"

_NUMBERS = {int, float}  # bool is a type of its own and stays out
_NO_NUMBERS = (b"t", b"f", b"n", b'"')  # of true, false, null, and of texts


def read_document(text: object, names_text: object) -> tuple[Layout, list[object]] | str:
    """Return names and values in the row's order, or the reason why it is unusable."""
    encoded = _encoded(text)
    if encoded is None:
        return "features_wrong_form"
    if not encoded.strip():
        return "features_missing"
    if len(encoded) > MAX_TEXT_BYTES:
        return "features_too_long"
    try:
        document = orjson.loads(encoded)
    except orjson.JSONDecodeError:
        return _why_not_json(encoded)
    if not document and document in (None, [], {}):
        return "features_missing"
    if isinstance(document, dict):
        if encoded.count(b":") != len(document) and _repeats_a_name(encoded):
            return "features_repeated_name"
        # Databases that store JSON as such reorder keys; feature_names, where it fits, is the firmer order.
        named = _names(_encoded(names_text), len(document))
        names = named if named and set(named) == set(document) else tuple(document)
        return names, [document[name] for name in names]
    if isinstance(document, list):
        named = _names(_encoded(names_text), len(document))
        return (named, document) if named else "feature_names_unusable"
    return "features_wrong_form"


def as_numbers(values: Sequence[object]) -> list[float]:
    """Return usable values unchanged, infinity for huge ones, and NaN for values that are not numbers."""
    return [
        nan if type(value) not in _NUMBERS else float(value) if abs(value) <= MAX_MAGNITUDE else inf  # type: ignore[arg-type]
        for value in values
    ]


def why_unusable(values_RC: Floats) -> dict[str, NDArray[np.bool_]]:
    """Return the bad rows by reason, for values from as_numbers."""
    not_numbers_R = np.asarray(np.isnan(values_RC).any(axis=1))
    huge_R = np.asarray(np.isinf(values_RC).any(axis=1)) & ~not_numbers_R
    return {NOT_NUMBERS: not_numbers_R, HUGE: huge_R}


def read_joined(joined: bytes, count: int, names_text: object) -> tuple[Layout, Floats] | None:
    """Return the common layout and the values of `count` well-formed texts, joined by commas.

    Return None if rows must be read one by one. The caller has checked that every text starts with the
    character that `joined` starts with, and has at most MAX_TEXT_BYTES.

    Joining texts could let two broken rows make up a whole one. Each text therefore has to begin as a
    document does, hold numbers only, and as an object have no name with a brace in it: then no bracket is
    nested or quoted, each text begins a document, and with as many documents as texts each holds one.
    """
    try:
        documents = orjson.loads(b"[" + joined + b"]")
    except orjson.JSONDecodeError:
        return None
    is_array = joined.startswith(b"[")
    if len(documents) != count or set(map(type, documents)) != {list if is_array else dict}:
        return None
    read = _arrays if is_array else _objects
    found = read(documents, joined, _encoded(names_text))
    if found is None:
        return None
    names, values = found
    # numpy would take true for 1, and "1" for 1 too. In arrays of numbers no sign of anything else occurs.
    if any(sign in joined for sign in _NO_NUMBERS) and not set(map(type, values)) <= _NUMBERS:
        return None
    try:
        values_RC = np.fromiter(values, np.float64, count=len(values)).reshape(count, len(names))
    except (TypeError, ValueError):  # an array in an array
        return None
    # Written so that NaN does not pass.
    return (names, values_RC) if bool((np.abs(values_RC) <= MAX_MAGNITUDE).all()) else None


def _arrays(
    documents: list[list[object]], joined: bytes, names_text: bytes | None
) -> tuple[Layout, list[object]] | None:
    width = len(documents[0])
    if set(map(len, documents)) != {width} or not width:
        return None
    names = _names(names_text, width)
    return (names, list(chain.from_iterable(documents))) if names else None


def _objects(
    documents: list[dict[str, object]], joined: bytes, names_text: bytes | None
) -> tuple[Layout, list[object]] | None:
    keys = documents[0].keys()
    if not keys or any("{" in name or "}" in name for name in keys):
        return None
    # As many colons as names, all in all: no name occurs twice in a document.
    if joined.count(b":") != len(documents) * len(keys):
        return None
    names = tuple(keys)
    named = _names(names_text, len(names))
    if named and set(named) == set(keys):
        if not all(document.keys() == keys for document in documents):
            return None
        names = named
        return names, [document[name] for document in documents for name in names]
    if any(tuple(document) != names for document in documents):
        return None
    return names, list(chain.from_iterable(map(dict.values, documents)))


@lru_cache(maxsize=256)
def _names(encoded: bytes | None, length: int) -> Layout | None:
    """Return the names of an array of this length, f0.. where the row gives none; None if they do not fit."""
    if encoded is None or len(encoded) > MAX_TEXT_BYTES:
        return None
    if encoded.strip() in (b"", b"null"):
        return tuple(f"f{index}" for index in range(length))
    try:
        names = orjson.loads(encoded)
    except orjson.JSONDecodeError:
        return None
    if not isinstance(names, list) or not all(isinstance(name, str) and name for name in names):
        return None
    return tuple(names) if len(set(names)) == length == len(names) else None


def _encoded(value: object) -> bytes | None:
    """Return text as bytes, NULL as none of them, and None for what is not text.

    Lone surrogates become bytes that no reader of UTF-8 accepts.
    """
    if isinstance(value, bytes):
        return value
    if isinstance(value, str):
        return value.encode("utf-8", "surrogatepass")
    return b"" if value is None else None


def _why_not_json(encoded: bytes) -> str:
    try:
        text = encoded.decode()
    except UnicodeDecodeError:
        return "features_not_utf8"
    try:
        json.loads(text)  # Python's reader accepts NaN, Infinity and 1e999; the standard and we do not
    except (ValueError, RecursionError):
        return "features_not_json"
    return "features_not_finite"


def _repeats_a_name(encoded: bytes) -> bool:
    """Return whether an object that orjson accepted repeats a name, at any depth."""
    repeated = False

    def look(pairs: list[tuple[str, object]]) -> None:
        nonlocal repeated
        repeated = repeated or len({name for name, _ in pairs}) != len(pairs)

    json.loads(encoded, object_pairs_hook=look)
    return repeated
