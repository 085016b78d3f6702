"""The engine's health endpoint and the grade of its response."""

import json
from dataclasses import dataclass
from enum import IntEnum
from typing import Protocol

from clm.engine.http import Endpoint, HttpBounds
from clm.logs import plain
from clm.ports import Clock

_BAD_WORDS = {"error", "unhealthy", "down", "fail", "failed", "failing", "critical"}
_NOT_YET_WORDS = {"not_ready", "starting"}


class Grade(IntEnum):
    """Health grade; verification requires a grade no worse than before the switch."""

    SILENT = 0
    """No valid response, or one that reports no loaded model."""
    TROUBLED = 1
    """It serves and reports a problem, probably of a dependency."""
    HEALTHY = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthReading:
    """One health reading."""

    grade: Grade
    detail: str

    @property
    def healthy(self) -> bool:
        """Return whether the grade is HEALTHY."""
        return self.grade is Grade.HEALTHY


class Health(Protocol):
    """Reads the engine's health."""

    def __call__(self) -> HealthReading: ...


class HttpHealth:
    """Healthy means: 200 with a JSON object without problems and, if it counts models, at least one."""

    def __init__(self, url: str, *, bounds: HttpBounds | None = None, clock: Clock | None = None) -> None:
        self._endpoint = Endpoint(url, bounds=bounds, clock=clock)

    def __call__(self) -> HealthReading:
        """Send one request; every problem is returned as a reading, never raised."""
        try:
            status, body = self._endpoint.ask()
        except (OSError, ValueError) as exc:
            return _silent(f"no answer: {exc or type(exc).__name__}")
        return judge_answer(status, body)


def judge_answer(status: int, body: bytes) -> HealthReading:
    """Return the grade of this response; a redirect is SILENT."""
    # 503 with a JSON body is how the engine reports trouble while it serves.
    if status not in {200, 503}:
        return _silent(f"HTTP {status}")
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        return _silent(f"HTTP {status}, but not JSON")
    if not isinstance(answer, dict):
        return _silent(f"HTTP {status}, but not a JSON object")
    word = _shown(answer.get("status", "")).lower()
    # An engine that does not count its models is not penalised.
    models = answer.get("models_loaded", 1)
    if isinstance(models, bool) or not isinstance(models, int) or not models > 0:
        return _silent(f"HTTP {status}, models_loaded {_shown(models)}")
    if word in _NOT_YET_WORDS:
        return _silent(f"HTTP {status}, status {word}")
    if status != 200 or word in _BAD_WORDS:
        return HealthReading(grade=Grade.TROUBLED, detail=f"HTTP {status}, status {word or 'not reported'}")
    return HealthReading(grade=Grade.HEALTHY, detail="200")


def _shown(value: object) -> str:
    """Return up to 40 printable characters; a lone surrogate cannot be stored."""
    if isinstance(value, list | dict):
        return f"a JSON {type(value).__name__}"
    return plain(str(value)[:40])[:40]


def _silent(detail: str) -> HealthReading:
    return HealthReading(grade=Grade.SILENT, detail=detail)
