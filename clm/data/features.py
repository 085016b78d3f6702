"""Feature texts to one matrix with one order of names; a bad row gets a reason, never a value.

A text is a JSON array, named by the row's `feature_names`, or a JSON object of name to number. The set of
names is the row's contract. The newest usable row decides which contract is trained on.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain

import numpy as np
import orjson

from clm.domain.sample import Floats

MAX_TEXT_BYTES = 65_536
MAX_MAGNITUDE = 1e12
"""Beyond it a number is an accident: no price, volume or ratio of a market is that large."""

_CHUNK = 256
_NUMBERS = {int, float}  # bool is a type of its own and stays out


@dataclass(frozen=True, slots=True, kw_only=True)
class Contract:
    """Which features are used, in which order."""

    names: tuple[str, ...]
    available: tuple[str, ...]
    """What the newest sample carries; empty when no sample is readable."""
    missing: tuple[str, ...]
    """What was asked for by name and is not available."""
    by_request: bool
    """True where the names were asked for: rows may then carry others beside them."""

    def admits(self, names: Sequence[str]) -> bool:
        """Whether a row with these names can be used."""
        return set(self.names) <= set(names) if self.by_request else set(self.names) == set(names)


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureColumns:
    """The matrix and why rows have no values in it."""

    contract: Contract
    values_RC: Floats
    """NaN in rows with a reason."""
    reasons: tuple[str, ...]
    """One a row; empty where the row is good."""


def parse_features(
    texts: Sequence[object],
    names_texts: Sequence[object],
    newest_first: Sequence[int],
    requested: tuple[str, ...],
) -> FeatureColumns:
    """Read every text against the contract of the newest usable row."""
    contract = _newest_contract(texts, names_texts, newest_first, tuple(dict.fromkeys(requested)))
    values_RC = np.full((len(texts), len(contract.names)), np.nan)
    reasons = [""] * len(texts)
    for start in range(0, len(texts), _CHUNK):
        rows = range(start, min(start + _CHUNK, len(texts)))
        chunk = slice(rows.start, rows.stop)
        alike = _read_alike(texts[chunk], names_texts[chunk], contract)
        if alike is not None:
            values_RC[chunk] = alike
            continue
        for row in rows:
            read = _read_row(texts[row], names_texts[row], contract)
            if isinstance(read, str):
                reasons[row] = read
            else:
                values_RC[row] = read
    return FeatureColumns(contract=contract, values_RC=values_RC, reasons=tuple(reasons))


def _newest_contract(
    texts: Sequence[object],
    names_texts: Sequence[object],
    newest_first: Sequence[int],
    requested: tuple[str, ...],
) -> Contract:
    for row in newest_first:
        document = _read_document(texts[row], names_texts[row])
        if isinstance(document, str):
            continue
        available, values = document
        if requested:
            return Contract(
                names=tuple(name for name in requested if name in available),
                available=available,
                missing=tuple(name for name in requested if name not in available),
                by_request=True,
            )
        if not _unusable(values):
            return Contract(names=available, available=available, missing=(), by_request=False)
    return Contract(names=requested, available=(), missing=(), by_request=bool(requested))


def _read_row(text: object, names_text: object, contract: Contract) -> list[float] | str:
    """Return the row's values in the contract's order, or the reason why it has none."""
    document = _read_document(text, names_text)
    if isinstance(document, str):
        return document
    names, values = document
    if not contract.by_request and (reason := _unusable(values)):
        return reason
    if not contract.admits(names):
        return "other_features"
    by_name = dict(zip(names, values, strict=True))
    picked = [by_name[name] for name in contract.names]
    return _unusable(picked) or picked  # type: ignore[return-value]  # usable values are numbers


def _read_document(text: object, names_text: object) -> tuple[tuple[str, ...], list[object]] | str:
    """Return names and values as the row orders them, or the reason why there are none."""
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


def _read_alike(texts: Sequence[object], names_texts: Sequence[object], contract: Contract) -> Floats | None:
    """Return the values of rows that are all well-formed and alike, read at once; None asks each row.

    Joining texts could let two broken rows make up a whole one. Each text therefore has to begin as a
    document does, hold numbers only, and as an object have no name with a brace in it: then no bracket is
    nested or quoted, each text begins a document, and with as many documents as texts each holds one.
    """
    encoded = [text if type(text) is bytes else _encoded(text) or b"" for text in texts]
    is_array = encoded[0].startswith(b"[")
    opening = b"[" if is_array else b"{"
    if not all(text.startswith(opening) and len(text) <= MAX_TEXT_BYTES for text in encoded):
        return None
    joined = b",".join(encoded)
    try:
        documents = orjson.loads(b"[" + joined + b"]")
    except orjson.JSONDecodeError:
        return None
    if len(documents) != len(texts):
        return None
    if is_array:
        rows = _array_rows(documents, names_texts, contract)
    else:
        rows = _object_rows(documents, joined, contract)
    if rows is None:
        return None
    values_RC = np.array(rows, dtype=np.float64)
    return values_RC if bool((np.abs(values_RC) <= MAX_MAGNITUDE).all()) else None


def _array_rows(
    documents: list[list[float]], names_texts: Sequence[object], contract: Contract
) -> list[list[float]] | None:
    length = len(documents[0])
    if len(set(map(_encoded, names_texts))) != 1 or set(map(len, documents)) != {length}:
        return None
    names = _names(_encoded(names_texts[0]), length)
    if not names or not contract.admits(names):
        return None
    if not set(map(type, chain.from_iterable(documents))) <= _NUMBERS:
        return None
    if names == contract.names:
        return documents
    positions = [names.index(name) for name in contract.names]
    return [[document[position] for position in positions] for document in documents]


def _object_rows(
    documents: list[dict[str, float]], joined: bytes, contract: Contract
) -> list[list[float]] | None:
    names = documents[0].keys()
    if not contract.admits(tuple(names)) or any("{" in name or "}" in name for name in names):
        return None
    # As many colons as names, all in all: no name occurs twice in a document.
    if joined.count(b":") != len(documents) * len(names):
        return None
    if not all(document.keys() == names for document in documents):
        return None
    if not set(map(type, chain.from_iterable(map(dict.values, documents)))) <= _NUMBERS:
        return None
    return [[document[name] for name in contract.names] for document in documents]


def _unusable(values: Sequence[object]) -> str:
    """Return why these are not all finite numbers of a sane size; empty when they are."""
    if not set(map(type, values)) <= _NUMBERS:
        return "features_not_numbers"
    # Written so that NaN does not pass.
    if not all(-MAX_MAGNITUDE <= value <= MAX_MAGNITUDE for value in values):  # type: ignore[operator]
        return "features_huge"
    return ""


@lru_cache(maxsize=256)
def _names(encoded: bytes | None, length: int) -> tuple[str, ...] | None:
    """Return the names of an array of this length, f0.. where the row gives none; None if they do not fit."""
    if encoded is None:
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
    """Whether an object that orjson accepted holds a name twice, at any depth."""
    repeated = False

    def look(pairs: list[tuple[str, object]]) -> None:
        nonlocal repeated
        repeated = repeated or len({name for name, _ in pairs}) != len(pairs)

    json.loads(encoded, object_pairs_hook=look)
    return repeated
