"""Bounded HTTP requests to the engine: the server may hang, send garbage, trickle or flood."""

import socket
from dataclasses import dataclass
from urllib.parse import urlsplit

from clm.clock import SystemClock
from clm.errors import PromotionError
from clm.ports import Clock


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpBounds:
    """Time and size limits of one request."""

    connect_timeout_s: float = 2.0
    total_timeout_s: float = 5.0
    max_bytes: int = 64 * 1024


class Endpoint:
    """One plain-HTTP address; redirects are not followed."""

    def __init__(self, url: str, *, bounds: HttpBounds | None = None, clock: Clock | None = None) -> None:
        parts = urlsplit(url)
        try:
            port = parts.port
        except ValueError:
            port = -1
        if parts.scheme != "http" or not parts.hostname or port == -1 or parts.username:
            raise PromotionError(
                "HEALTH_URL", f"{url!r} is not an engine address; use http://127.0.0.1:8001/health/live"
            )
        self._address = (parts.hostname, port or 80)
        self._target = parts.path + (f"?{parts.query}" if parts.query else "") or "/"
        self._bounds = bounds or HttpBounds()
        self._clock = clock or SystemClock()

    def ask(self, body: bytes | None = None) -> tuple[int, bytes]:
        """Return status and body of a GET, or of a POST of this JSON.

        Raises:
            OSError: no response; a TimeoutError contains the time waited. ValueError: not HTTP, or too large.
        """
        deadline = self._clock.monotonic() + self._bounds.total_timeout_s
        # Our own socket: the timeouts of http.client restart with every byte received.
        with socket.create_connection(self._address, timeout=self._bounds.connect_timeout_s) as connection:
            connection.sendall(self._request(body))
            raw = b""
            while not _is_complete(raw):
                left = deadline - self._clock.monotonic()
                if left <= 0:
                    raise self._too_late()
                connection.settimeout(left)
                try:
                    chunk = connection.recv(8192)
                except TimeoutError as exc:
                    raise self._too_late() from exc
                # End of the stream; without Content-Length this is the only end that HTTP/1.0 has.
                if not chunk:
                    break
                raw += chunk
                if len(raw) > self._bounds.max_bytes:
                    raise ValueError(f"more than {self._bounds.max_bytes} bytes")
        return _split_answer(raw)

    def _request(self, body: bytes | None) -> bytes:
        # HTTP/1.0: no chunked encoding, and the server closes the connection after the reply.
        lines = [f"{'GET' if body is None else 'POST'} {self._target} HTTP/1.0", f"Host: {self._address[0]}"]
        if body is not None:
            lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
        lines += ["Accept: application/json", "", ""]
        return "\r\n".join(lines).encode("ascii") + (body or b"")

    def _too_late(self) -> TimeoutError:
        return TimeoutError(f"no complete response within {self._bounds.total_timeout_s:g} s")


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
