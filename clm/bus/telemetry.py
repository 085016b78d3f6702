"""Read the engine's shadow telemetry from the streams `trade.intent` and `trade.closed`.

The input is untrusted: every field is checked, and unusable entries are counted by reason. One page of a
stream is in memory at a time.
"""

import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from itertools import islice
from typing import TypeVar, cast

import orjson
import redis

from clm.bus.bounded import PageSize, discarded, judgeable
from clm.bus.client import talking_to
from clm.bus.streams import event_stream
from clm.clock import SECOND, to_micros
from clm.domain.line import Line
from clm.domain.measurement import LivePredictions
from clm.errors import BusUnavailable
from clm.evaluation.shadow import Intent, Outcome

INTENT_STREAM = event_stream("trade.intent")
CLOSED_STREAM = event_stream("trade.closed")

LATEST = 200
"""Maximum number of live predictions to read."""
_LATEST_LOOKED_AT = 2000

T = TypeVar("T")
Fields = Mapping[bytes, bytes]
_ACTIONS = {"BUY": 1, "LONG": 1, "SELL": -1, "SHORT": -1, "HOLD": 0}
_MAX_BYTES = 64 * 1024
_PAGE = 1000
_FIRST_POSSIBLE_ID = b"0-1"
_LAST_POSSIBLE_ID = b"18446744073709551615-18446744073709551615"
_SYMBOL = re.compile(r"[A-Z0-9]{2,30}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Telemetry:
    """Telemetry of one model version."""

    intents: tuple[Intent, ...]
    outcomes: tuple[Outcome, ...]
    left_out: Mapping[str, int]
    """Unusable entries, counted by reason."""


class _Unusable(ValueError):
    """Internal: the reason why an entry is unusable."""


def read_telemetry(client: redis.Redis, version: str, *, line: Line, serving_since: int | None) -> Telemetry:
    """Return this version's telemetry; the streams keep about 10,000 entries.

    Events without a version count as this version's from `serving_since` on (microseconds).

    Raises:
        BusUnavailable: Redis is unavailable or denies access.
    """
    with talking_to(client):  # the entries are read while they are used, a page at a time
        intents, closed = _entries(client, INTENT_STREAM), _entries(client, CLOSED_STREAM)
        return telemetry_of(intents, closed, version, line=line, serving_since=serving_since)


class RedisTelemetry:
    """Implements ports.Telemetry from the engine's latest events, of any version."""

    def __init__(self, client: redis.Redis, line: Line) -> None:
        self._client = client
        self._family = line.family

    def live_predictions(self) -> LivePredictions:
        """Return the latest BUY and SELL confidences, or why there are none."""
        try:
            with talking_to(self._client):
                answers = list(self._latest())
        except BusUnavailable as error:
            return LivePredictions(answers=(), absent_because=error.message)
        if not answers:
            why = f"{INTENT_STREAM} has no prediction of {self._family}"
            return LivePredictions(answers=(), absent_because=why)
        return LivePredictions(answers=tuple(answers))

    def _latest(self) -> Iterator[float]:
        """Yield the newest usable confidences, at most LATEST of the newest _LATEST_LOOKED_AT entries."""
        looked_at = islice(_pages(self._client, INTENT_STREAM, newest_first=True), _LATEST_LOOKED_AT)
        answers = (_live(fields, self._family) for _, fields in looked_at)
        yield from islice((answer for answer in answers if answer is not None), LATEST)


def _live(fields: Fields, family: str) -> float | None:
    answer = _read_or_reason(lambda: _answer(fields, family))
    return answer if isinstance(answer, float) else None


def _answer(fields: Fields, family: str) -> float | None:
    ours = _ours(_content(fields), family)
    return _confidence(ours.get("confidence")) if _action(ours.get("action")) else None


def telemetry_of(
    intents: Iterable[tuple[int, Fields]],
    closed: Iterable[tuple[int, Fields]],
    version: str,
    *,
    line: Line,
    serving_since: int | None,
) -> Telemetry:
    """Return a version's telemetry from the entries of both streams, each with the time it was added."""
    left_out: Counter[str] = Counter()
    usable, outcomes = [], []
    for added_at, fields in intents:
        intent = _read_or_reason(partial(_intent, added_at, fields, version, line, serving_since))
        if isinstance(intent, Intent):
            usable.append(intent)
        else:
            left_out[f"trade.intent: {intent}"] += 1
    for added_at, fields in closed:
        outcome = _read_or_reason(partial(_outcome, added_at, fields))
        if isinstance(outcome, Outcome):
            outcomes.append(outcome)
        else:
            left_out[f"trade.closed: {outcome}"] += 1
    return Telemetry(intents=tuple(usable), outcomes=tuple(outcomes), left_out=dict(left_out))


def _read_or_reason(read: Callable[[], T]) -> T | str:
    """Return the result of `read`, or why the entry is unusable."""
    try:
        return read()
    except _Unusable as why:
        return str(why)
    except Exception as exc:  # noqa: BLE001  # untrusted input: one entry must not stop the reader
        return f"cannot be read ({type(exc).__name__})"


def _entries(client: redis.Redis, stream: str) -> Iterator[tuple[int, Fields]]:
    for entry_id, fields in _pages(client, stream):
        yield int(entry_id.partition(b"-")[0]) * 1000, fields


def _pages(client: redis.Redis, stream: str, *, newest_first: bool = False) -> Iterator[tuple[bytes, Fields]]:
    """Yield the entries of a stream; one page of them is in memory at a time."""
    size, bound = PageSize(_PAGE), "+" if newest_first else "-"
    end = _FIRST_POSSIBLE_ID if newest_first else _LAST_POSSIBLE_ID
    while True:
        page = (
            client.xrevrange(stream, max=bound, count=size.count)
            if newest_first
            else client.xrange(stream, min=bound, count=size.count)
        )
        entries = judgeable(cast("list[tuple[bytes, Fields]]", page))
        if not entries:
            return
        size.note(cast("list[tuple[bytes, Fields]]", page))
        yield from entries
        if entries[-1][0] == end:
            return
        bound = f"({entries[-1][0].decode()}"


def _content(fields: Fields) -> dict[str, object]:
    """Return the event of any of the three wire formats; envelope fields fill the gaps."""
    if discarded(fields):
        raise _Unusable("too large")
    if sum(len(name) + len(value) for name, value in fields.items()) > _MAX_BYTES:
        raise _Unusable("too large")
    try:
        outer: dict[str, object] = {name.decode(): value.decode() for name, value in fields.items()}
        for container in ("payload", "data"):
            if isinstance(text := outer.pop(container, None), str):
                inner = orjson.loads(text)
                if not isinstance(inner, dict):
                    raise _Unusable("no JSON object")
                return {**outer, **inner}
    except UnicodeDecodeError as exc:
        raise _Unusable("not UTF-8") from exc
    except orjson.JSONDecodeError as exc:
        raise _Unusable("not JSON") from exc
    return outer


def _intent(added_at: int, fields: Fields, version: str, line: Line, serving_since: int | None) -> Intent:
    event = _content(fields)
    ours = _ours(event, line.family)
    at = _moment(event, ("timestamp",), added_at)
    named = line.version_pattern.search(f"{_string(ours.get('model'))} {_string(ours.get('version'))}")
    if named is None and (serving_since is None or at < serving_since):
        raise _Unusable("names no version")
    if named is not None and named.group() != version:
        raise _Unusable("of another version")
    return Intent(
        at=at,
        symbol=_symbol(event),
        ensemble=_action(event.get("side") or event.get("action")),
        action=_action(ours.get("action")),
        confidence=_confidence(ours.get("confidence")),
    )


def _ours(event: Mapping[str, object], family: str) -> Mapping[str, object]:
    breakdown = event.get("model_breakdown")
    if isinstance(breakdown, str):
        try:
            breakdown = orjson.loads(breakdown)
        except orjson.JSONDecodeError as exc:
            raise _Unusable("not JSON") from exc
    if not isinstance(breakdown, dict):
        raise _Unusable("no model_breakdown")
    for name, answer in breakdown.items():
        if family in name.lower() and isinstance(answer, dict):
            return answer
    raise _Unusable(f"no answer of {family}")


def _outcome(added_at: int, fields: Fields) -> Outcome:
    event = _content(fields)
    entry, left = _number(event.get("entry_price")), _number(event.get("exit_price"))
    if entry > 0.0 and left > 0.0:
        moved = left / entry - 1.0
    else:
        moved = _number(event.get("pnl_percent")) / 100.0 * _action(event.get("side"))
    if not math.isfinite(moved):
        raise _Unusable("no prices")
    opened_at = next((event[name] for name in ("entry_time", "opened_at") if event.get(name)), None)
    return Outcome(
        symbol=_symbol(event),
        opened_at=None if opened_at is None else _micros(opened_at),
        closed_at=_moment(event, ("exit_time", "closed_at", "timestamp"), added_at),
        market_return=moved,
    )


def _symbol(event: Mapping[str, object]) -> str:
    symbol = _string(event.get("symbol")).strip().upper()
    if not _SYMBOL.fullmatch(symbol):
        raise _Unusable("no symbol")
    return symbol


def _string(value: object) -> str:
    """Return text, or "" for any other type: a nested value may be too deep to convert."""
    return value if isinstance(value, str) else ""


def _action(text: object) -> int:
    try:
        return _ACTIONS[_string(text).strip().upper()]
    except KeyError as exc:
        raise _Unusable("no action") from exc


def _confidence(value: object) -> float:
    number = _number(value)
    if not 0.0 <= number <= 1.0:
        raise _Unusable("no confidence between 0 and 1")
    return number


def _number(value: object) -> float:
    """Return a finite number, or NaN for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return math.nan
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return math.nan
    return number if math.isfinite(number) else math.nan


def _moment(event: Mapping[str, object], names: Iterable[str], added_at: int) -> int:
    """Return the first time present in the event, else the time at which Redis added it."""
    return _plausible(next((_micros(event[name]) for name in names if event.get(name)), added_at))


def _micros(value: object) -> int:
    """Return microseconds from RFC 3339 text, or from (milli)seconds since 1970; naive text is UTC."""
    number = _number(value)
    try:
        if math.isfinite(number):
            return _plausible(round(number * (1000 if number > 1e11 else SECOND)))
        moment = datetime.fromisoformat(_string(value).strip().replace("Z", "+00:00"))
        return _plausible(to_micros(moment if moment.tzinfo else moment.replace(tzinfo=UTC)))
    except (ValueError, OverflowError) as exc:
        raise _Unusable(_NO_MOMENT) from exc


def _plausible(micros: int) -> int:
    """Return the time if it is between the years 2000 and 9999."""
    if not _EARLIEST <= micros <= _LATEST_MOMENT:
        raise _Unusable(_NO_MOMENT)
    return micros


_NO_MOMENT = "no moment that can be read"
_EARLIEST = to_micros(datetime(2000, 1, 1, tzinfo=UTC))
_LATEST_MOMENT = to_micros(datetime(9999, 12, 31, tzinfo=UTC))
