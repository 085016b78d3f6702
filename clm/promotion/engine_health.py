"""The engine's health endpoint, asked within bounds: it may hang, lie, drip or flood."""

import json
import socket
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import urlsplit

from clm.clock import SystemClock
from clm.errors import PromotionError
from clm.ports import Clock

_BAD_WORDS = {"error", "unhealthy", "down", "fail", "failed", "failing", "critical", "not_ready", "starting"}


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthReading:
    """One answer."""

    healthy: bool
    detail: str


class Health(Protocol):
    """Asks the engine how it is."""

    def __call__(self) -> HealthReading: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthBounds:
    """How long and how much one question may take."""

    connect_timeout_s: float = 2.0
    total_timeout_s: float = 5.0
    max_bytes: int = 64 * 1024


class HttpHealth:
    """Healthy means: 200 with a JSON object that names no trouble and, if it counts models, at least one."""

    def __init__(self, url: str, *, bounds: HealthBounds | None = None, clock: Clock | None = None) -> None:
        parts = urlsplit(url)
        try:
            port = parts.port
        except ValueError:
            port = -1
        if parts.scheme != "http" or not parts.hostname or port == -1 or parts.username:
            raise PromotionError(
                "HEALTH_URL", f"{url!r} is no health address; write http://127.0.0.1:8001/health/live"
            )
        self._address = (parts.hostname, port or 80)
        self._target = parts.path + (f"?{parts.query}" if parts.query else "") or "/"
        self._bounds = bounds or HealthBounds()
        self._clock = clock or SystemClock()

    def __call__(self) -> HealthReading:
        """Ask once; every trouble is a reading that says it, never an exception."""
        try:
            status, body = self._get()
        except TimeoutError:
            return _bad(f"no full answer within {self._bounds.total_timeout_s:g} s")
        except (OSError, ValueError) as exc:
            return _bad(f"no answer: {exc or type(exc).__name__}")
        return judge_answer(status, body)

    def _get(self) -> tuple[int, bytes]:
        # A socket of our own: the timeouts of http.client start anew with every byte that drips in.
        deadline = self._clock.monotonic() + self._bounds.total_timeout_s
        with socket.create_connection(self._address, timeout=self._bounds.connect_timeout_s) as connection:
            host = self._address[0]
            request = f"GET {self._target} HTTP/1.0\r\nHost: {host}\r\nAccept: application/json\r\n\r\n"
            connection.sendall(request.encode("ascii"))
            raw = b""
            while not _is_complete(raw):
                left = deadline - self._clock.monotonic()
                if left <= 0:
                    raise TimeoutError
                connection.settimeout(left)
                chunk = connection.recv(8192)
                if not chunk:
                    break
                raw += chunk
                if len(raw) > self._bounds.max_bytes:
                    raise ValueError(f"more than {self._bounds.max_bytes} bytes")
        return _split_answer(raw)


def judge_answer(status: int, body: bytes) -> HealthReading:
    """Return whether this answer is a healthy one; redirects are not followed."""
    if status != 200:
        return _bad(f"HTTP {status}")
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        return _bad("200, but no JSON")
    if not isinstance(answer, dict):
        return _bad("200, but no JSON object")
    word = str(answer.get("status", "")).lower()
    models = answer.get("models_loaded", 1)
    if word in _BAD_WORDS:
        return _bad(f"200, status {word}")
    if isinstance(models, bool) or not isinstance(models, int) or not models > 0:
        return _bad(f"200, models_loaded {str(models)[:40]}")
    return HealthReading(healthy=True, detail="200")


def _split_answer(raw: bytes) -> tuple[int, bytes]:
    head, blank, body = raw.partition(b"\r\n\r\n")
    version, _, rest = head.partition(b" ")
    if not blank or not version.startswith(b"HTTP/1.") or not rest[:3].isdigit():
        raise ValueError("not HTTP")
    return int(rest[:3]), body


def _is_complete(raw: bytes) -> bool:
    head, blank, body = raw.partition(b"\r\n\r\n")
    if not blank:
        return False
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.strip().lower() == b"content-length" and value.strip().isdigit():
            return len(body) >= int(value)
    return False


def _bad(detail: str) -> HealthReading:
    return HealthReading(healthy=False, detail=detail)
