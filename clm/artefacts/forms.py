"""The JSON form of each type: one Form per kind of type, which encodes and decodes.

bool int float str None   themselves; a float must be finite; a Figure that is not finite is null
Literal Enum Path datetime  their value as text or number; a datetime needs a time zone
tuple Mapping             array and object; the keys of a mapping are strings
NDArray                   "float64[3, 2]"; the array itself is in the archive under its path
dataclass                 an object with exactly its fields
A | None, A | B           null or A; a dataclass includes "type" if several are possible
object                    any JSON value; tuples become lists, NaN becomes null
"""

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, dataclass, fields, is_dataclass
from datetime import datetime
from enum import Enum
from functools import cache
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import numpy as np

from clm.artefacts.place import Form, Json, Place, RecordError, demand, described, shown
from clm.domain.figure import NAN_ALLOWED

_MAPPINGS = ("Mapping", "dict")
_DIMENSIONS = re.compile(r"_([A-Z]+)$")
"""The suffix of a field that names the dimensions of its array: features_NC has two."""


def form_of(kind: Any) -> Form:
    """Return the form of a type.

    Raises:
        TypeError: the type is not supported.
    """
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return _Float(nan_allowed=True) if NAN_ALLOWED in arguments else form_of(arguments[0])
    if origin in {Union, UnionType}:
        return _union(arguments)
    if origin is Literal:
        return _Choice(values=arguments)
    if origin is tuple:
        items = tuple(form_of(one) for one in arguments if one is not ...)
        return _Tuple(items=items, any_length=arguments[-1] is ...)
    if origin is not None and origin.__name__ in _MAPPINGS:
        return _Mapping(key=form_of(arguments[0]), item=form_of(arguments[1]))
    if origin is np.ndarray:
        return _Array(dtype=np.dtype(get_args(arguments[1])[0]))
    return _plain_form(kind)


def _plain_form(kind: Any) -> Form:
    if kind is float:
        return _Float()
    if kind in {bool, int, str, NoneType}:
        return _Exactly(kind=kind)
    if kind is object:
        return _Anything()
    if kind is datetime:
        return _Moment()
    if isinstance(kind, type) and issubclass(kind, Enum):
        return _Member(kind=kind)
    if isinstance(kind, type) and issubclass(kind, Path):
        return _Path()
    if is_dataclass(kind):
        return _Record(kind=kind)
    raise TypeError(f"{kind} has no form in a record")


def _union(options: tuple[Any, ...]) -> Form:
    known = tuple(option for option in options if option is not NoneType)
    if len(known) > 1 and not all(is_dataclass(option) for option in known):
        raise TypeError(f"{' | '.join(map(str, known))} has no form in a record: a union is of records")
    form = form_of(known[0]) if len(known) == 1 else _Tagged(kinds=known)
    if len(known) == len(options):
        return form
    if isinstance(form, _Anything) or (isinstance(form, _Float) and form.nan_allowed):
        raise TypeError("null already has a meaning: a figure or an object cannot be optional too")
    return _Optional(form=form)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Exactly:
    """True is not 1, and 1 is not "1"."""

    kind: type

    def encode(self, value: Any, place: Place) -> Json:
        return demand(value, type(value) is self.kind, place, self.kind.__name__)

    def decode(self, plain: Json, place: Place) -> Any:
        if type(plain) is not self.kind:
            raise place.wrong(plain, self.kind.__name__)
        return plain


@dataclass(frozen=True, slots=True, kw_only=True)
class _Float:
    """A float. An int stays an int, so that results computed from it are exactly equal."""

    nan_allowed: bool = False

    def encode(self, value: Any, place: Place) -> Json:
        if isinstance(value, np.floating):
            value = float(value)
        if self.nan_allowed and type(value) is float and not math.isfinite(value):
            return None
        return demand(value, _is_finite(value), place, "a finite number")

    def decode(self, plain: Json, place: Place) -> Any:
        if plain is None and self.nan_allowed:
            return math.nan
        if not _is_finite(plain):
            raise place.wrong(plain, "a finite number")
        return plain


@dataclass(frozen=True, slots=True, kw_only=True)
class _Choice:
    values: tuple[Any, ...]

    def encode(self, value: Any, place: Place) -> Json:
        return demand(value, self._has(value), place, f"one of {self.values}")

    def decode(self, plain: Json, place: Place) -> Any:
        if not self._has(plain):
            raise place.wrong(plain, f"one of {self.values}")
        return plain

    def _has(self, value: Any) -> bool:
        return any(type(value) is type(one) and value == one for one in self.values)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Member:
    kind: type[Enum]

    def encode(self, value: Any, place: Place) -> Json:
        return demand(value, isinstance(value, self.kind), place, self.kind.__name__).value

    def decode(self, plain: Json, place: Place) -> Any:
        for member in self.kind:
            if type(plain) in {str, int} and plain == member.value:
                return member
        raise place.wrong(plain, self.kind.__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Path:
    def encode(self, value: Any, place: Place) -> Json:
        return str(demand(value, isinstance(value, Path), place, "a path"))

    def decode(self, plain: Json, place: Place) -> Any:
        if type(plain) is not str or "\0" in plain:
            raise place.wrong(plain, "a path")
        return Path(plain)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Moment:
    def encode(self, value: Any, place: Place) -> Json:
        known = isinstance(value, datetime) and value.tzinfo is not None
        return demand(value, known, place, "a time with a zone").isoformat()

    def decode(self, plain: Json, place: Place) -> Any:
        try:
            moment = datetime.fromisoformat(plain)
        except (TypeError, ValueError):
            moment = None
        if moment is None or moment.tzinfo is None:
            raise place.wrong(plain, "a time with a zone")
        return moment


@dataclass(frozen=True, slots=True, kw_only=True)
class _Tuple:
    items: tuple[Form, ...]
    any_length: bool

    def encode(self, value: Any, place: Place) -> Json:
        demand(value, isinstance(value, tuple) and self._fits(value), place, "a tuple of that length")
        return [form.encode(one, place.at(n)) for n, form, one in self._numbered(value)]

    def decode(self, plain: Json, place: Place) -> Any:
        if type(plain) is not list or not self._fits(plain):
            raise place.wrong(plain, f"a list of {'any length' if self.any_length else len(self.items)}")
        return tuple(form.decode(one, place.at(n)) for n, form, one in self._numbered(plain))

    def _fits(self, values: Any) -> bool:
        return self.any_length or len(values) == len(self.items)

    def _numbered(self, values: Any) -> Iterator[tuple[int, Form, Any]]:
        forms = self.items * len(values) if self.any_length else self.items
        return zip(range(len(values)), forms, values, strict=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Mapping:
    key: Form
    item: Form

    def encode(self, value: Any, place: Place) -> Json:
        demand(value, isinstance(value, Mapping), place, "a mapping")
        plain = {}
        for key, one in value.items():
            name = self.key.encode(key, place)
            demand(name, type(name) is str, place, "a key of text")
            plain[name] = self.item.encode(one, place.at(name))
        return plain

    def decode(self, plain: Json, place: Place) -> Any:
        if type(plain) is not dict:
            raise place.wrong(plain, "an object")
        keys = {name: self.key.decode(name, place) for name in plain}
        return {key: self.item.decode(plain[name], place.at(name)) for name, key in keys.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Array:
    dtype: np.dtype[Any]

    def encode(self, value: Any, place: Place) -> Json:
        fits = isinstance(value, np.ndarray) and self._refusal(value, place) is None
        place.arrays[place.path] = demand(value, fits, place, f"an array of {self.dtype}")
        return described(value)

    def decode(self, plain: Json, place: Place) -> Any:
        array = place.arrays.pop(place.path, None)
        if array is None:
            raise RecordError(place.path, "the archive does not hold this array")
        if refusal := self._refusal(array, place):
            raise refusal
        # The first edition wrote null here.
        if plain is not None and plain != described(array):
            raise RecordError(place.path, f"the archive holds {described(array)}, the JSON {shown(plain)}")
        return array

    def _refusal(self, array: np.ndarray, place: Place) -> RecordError | None:
        suffix = _DIMENSIONS.search(place.path.rpartition("/")[2])
        if array.dtype != self.dtype:
            return RecordError(place.path, f"{described(array)} is not {self.dtype}")
        if suffix and array.ndim != len(suffix[1]):
            return RecordError(place.path, f"{described(array)} does not have {len(suffix[1])} dimensions")
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Record:
    kind: Any

    def encode(self, value: Any, place: Place) -> Json:
        demand(value, type(value) is self.kind, place, self.kind.__name__)
        forms = _fields(self.kind)
        return {name: form.encode(getattr(value, name), place.at(name)) for name, form in forms.items()}

    def decode(self, plain: Json, place: Place) -> Any:
        if type(plain) is not dict:
            raise place.wrong(plain, f"an object with the fields of {self.kind.__name__}")
        forms = _fields(self.kind)
        absent = forms.keys() - plain.keys()
        for name in absent - _optional(self.kind) if place.may_be_older else absent:
            raise RecordError(place.at(name).path, f"the field of {self.kind.__name__} is missing")
        for name in plain.keys() - forms.keys():
            raise RecordError(place.at(name).path, f"{self.kind.__name__} has no such field")
        values = {
            name: form.decode(plain[name], place.at(name)) for name, form in forms.items() if name in plain
        }
        try:
            return self.kind(**values)
        except (TypeError, ValueError) as exc:
            raise RecordError(place.path, f"no {self.kind.__name__}: {exc}") from exc


@dataclass(frozen=True, slots=True, kw_only=True)
class _Tagged:
    """One of several records, identified by its name."""

    kinds: tuple[Any, ...]

    def encode(self, value: Any, place: Place) -> Json:
        names = " or ".join(kind.__name__ for kind in self.kinds)
        demand(value, type(value) in self.kinds, place, names)
        return {"type": type(value).__name__, "value": form_of(type(value)).encode(value, place)}

    def decode(self, plain: Json, place: Place) -> Any:
        if type(plain) is dict and plain.keys() == {"type", "value"}:
            for kind in self.kinds:
                if kind.__name__ == plain["type"]:
                    return form_of(kind).decode(plain["value"], place)
        raise place.wrong(plain, " or ".join(kind.__name__ for kind in self.kinds))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Optional:
    form: Form

    def encode(self, value: Any, place: Place) -> Json:
        return None if value is None else self.form.encode(value, place)

    def decode(self, plain: Json, place: Place) -> Any:
        # An array of the first edition is null in the JSON and present in the archive.
        if plain is None and place.path not in place.arrays:
            return None
        return self.form.decode(plain, place)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Anything:
    def encode(self, value: Any, place: Place) -> Json:
        if isinstance(value, float):
            return float(value) if math.isfinite(value) else None
        if isinstance(value, tuple | list):
            return [self.encode(one, place.at(n)) for n, one in enumerate(value)]
        if isinstance(value, Mapping):
            texts = all(isinstance(name, str) for name in value)
            demand(value, texts, place, "a mapping with keys of text")
            return {name: self.encode(one, place.at(name)) for name, one in value.items()}
        return demand(value, value is None or isinstance(value, bool | int | str), place, "a JSON value")

    def decode(self, plain: Json, place: Place) -> Any:
        return plain


@cache
def _fields(kind: Any) -> dict[str, Form]:
    hints = get_type_hints(kind, include_extras=True)
    return {one.name: form_of(hints[one.name]) for one in fields(kind)}


@cache
def _optional(kind: Any) -> frozenset[str]:
    """Return the names of the fields with a default."""
    return frozenset(
        one.name for one in fields(kind) if one.default is not MISSING or one.default_factory is not MISSING
    )


def _is_finite(value: Any) -> bool:
    try:
        return type(value) in {int, float} and math.isfinite(value)
    except OverflowError:  # An int too large for a float.
        return False
