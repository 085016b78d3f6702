"""Parse retrain requests from the trigger streams; the input is untrusted and bounded.

Three wire formats are in use: the envelope with JSON in `payload`, JSON in `data`, and flat fields. No value
is used as a path, command or hyperparameter. The model is compared with our family; all other values are
kept as text for operators.
"""

import hashlib
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

import orjson
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from clm.domain.task import Trigger
from clm.logs import plain

MAX_FIELDS = 32
MAX_VALUE_BYTES = 1024
MAX_TOTAL_BYTES = 16 * 1024
MAX_NAME_BYTES = 128

CONTAINERS = ("payload", "data")
"""Fields that may contain the request as a JSON object; the first one present is read."""

_MODEL_NAME = re.compile(r"[a-z0-9][a-z0-9_.+-]{0,63}")


@dataclass(frozen=True, slots=True, kw_only=True)
class NotOurs:
    """A well-formed request for a model that another service trains.

    It is acknowledged and not dead-lettered: all models share the streams, and dead letters need an operator.
    """

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejected:
    """An invalid entry; reading it again gives the same result."""

    reason: str


class _Unusable(ValueError):
    """Internal: the reason why an entry is rejected."""


def _absent(value: object) -> object:
    return None if isinstance(value, str) and value.strip() in {"", "None", "null"} else value


# The bound is on the number: on the union, pydantic would also apply it to None.
_Number = Annotated[Annotated[float, Field(allow_inf_nan=False)] | None, BeforeValidator(_absent)]
_Whole = Annotated[int | None, BeforeValidator(_absent)]


class _Request(BaseModel):
    """The known fields of both streams; producers send numbers as text. Other fields are kept as text."""

    model_config = ConfigDict(extra="ignore")

    reason: str = ""
    requested_by: str = ""
    source: str = ""
    priority: str = ""
    timestamp: str = ""
    learning_rate: _Number = None
    dropout_rate: _Number = None
    mutation_strength: _Number = None
    batch_size: _Whole = None
    hidden_units: _Whole = None
    optimizer: str = ""


def read_trigger(stream: str, fields: Mapping[bytes, bytes], family: str) -> Trigger | NotOurs | Rejected:
    """Return the entry's request for a model of `family`, or why it has none; never raises."""
    try:
        texts = _request_texts(fields)
        name = _model_name(texts, family)
        if name != family:
            return NotOurs(reason=f"asks for model {name}, which is trained elsewhere")
        request = _Request.model_validate(texts)
    except ValidationError as exc:
        return Rejected(reason=_first_problem(exc))
    except _Unusable as exc:
        return Rejected(reason=plain(str(exc))[:300])
    return Trigger(
        model=name,
        reason=plain(request.reason) or f"requested on {stream}",
        requested_by=plain(request.requested_by or request.source) or "unknown",
        source=f"redis:{stream}",
        details={plain(key): plain(value) for key, value in texts.items()},
    )


def payload_sha256(fields: Mapping[bytes, bytes]) -> str:
    """Return the SHA-256 of the fields as canonical JSON; different bytes give different hashes."""
    texts = {_lossless(name): _lossless(value) for name, value in fields.items()}
    canonical = json.dumps(texts, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(canonical.encode("ascii")).hexdigest()


def _lossless(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape")


def _request_texts(fields: Mapping[bytes, bytes]) -> dict[str, str]:
    _bound(fields)
    outer = {_text(name, "a field name"): _text(value, "a value") for name, value in fields.items()}
    container = next((name for name in CONTAINERS if name in outer), None)
    if container is None:
        return _bounded_values(outer)
    inner = _json_object(container, outer.pop(container))
    # Envelope fields (trace_id, source) apply where the request does not set them.
    return _bounded_values({**outer, **inner})


def _bound(fields: Mapping[bytes, bytes]) -> None:
    if len(fields) > MAX_FIELDS:
        raise _Unusable(f"{len(fields)} fields, at most {MAX_FIELDS} are allowed")
    size = sum(len(name) + len(value) for name, value in fields.items())
    if size > MAX_TOTAL_BYTES:
        raise _Unusable(f"{size} bytes, at most {MAX_TOTAL_BYTES} are allowed")


def _text(raw: bytes, what: str) -> str:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as exc:
        raise _Unusable(f"{what} is not UTF-8: {raw[:40]!r}") from exc


def _json_object(container: str, text: str) -> dict[str, str]:
    try:
        loaded = orjson.loads(text)
    except orjson.JSONDecodeError as exc:
        raise _Unusable(f"field {container} is not JSON: {exc}") from exc
    if not isinstance(loaded, dict):
        raise _Unusable(f"field {container} is a JSON {type(loaded).__name__}, not an object")
    return {name: _json_text(name, value) for name, value in loaded.items() if value is not None}


def _json_text(name: str, value: object) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, float) and not math.isfinite(value):
        raise _Unusable(f"field {name} is not a finite number")
    try:
        return orjson.dumps(value).decode()
    except orjson.JSONEncodeError as exc:
        raise _Unusable(f"field {name} is nested too deeply") from exc


def _bounded_values(texts: dict[str, str]) -> dict[str, str]:
    if len(texts) > MAX_FIELDS:
        raise _Unusable(f"{len(texts)} fields, at most {MAX_FIELDS} are allowed")
    for name, value in texts.items():
        if len(name.encode()) > MAX_NAME_BYTES:
            raise _Unusable(f"a field name has {len(name.encode())} bytes, at most {MAX_NAME_BYTES} allowed")
        if len(value.encode()) > MAX_VALUE_BYTES:
            raise _Unusable(
                f"field {name} has {len(value.encode())} bytes, at most {MAX_VALUE_BYTES} are allowed"
            )
    return texts


def _model_name(texts: Mapping[str, str], family: str) -> str:
    given = texts.get("model") or texts.get("model_type") or ""
    name = given.strip().lower()
    if not name:
        raise _Unusable(f"has no model; set the field model (or model_type) to {family}")
    if not _MODEL_NAME.fullmatch(name):
        raise _Unusable(f"model {given[:60]!r} is not a valid model name")
    return name


def _first_problem(exc: ValidationError) -> str:
    problem = exc.errors(include_url=False)[0]
    where = ".".join(str(part) for part in problem["loc"])
    return plain(f"field {where}: {problem['msg']}, got {str(problem['input'])[:60]!r}")[:300]
