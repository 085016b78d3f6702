"""A health endpoint may refuse, hang, lie, drip, flood or redirect; each is a reading in bounded time."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager

import pytest

from clm.engine.health import Grade, HttpHealth
from clm.engine.http import HttpBounds
from clm.errors import PromotionError
from tests.promotion.server import free_port

BOUNDS = HttpBounds(connect_timeout_s=0.5, total_timeout_s=0.6, max_bytes=4096)


@contextmanager
def answering(answer: Callable[[socket.socket], None]) -> Iterator[str]:
    """A server that does to each connection what the test says."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with closing(connection):
                    connection.recv(4096)
                    try:
                        answer(connection)
                    except OSError:
                        return

        threading.Thread(target=serve, daemon=True).start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/health"
        listener.shutdown(socket.SHUT_RDWR)


def reply(status: str, body: bytes, headers: str = "") -> Callable[[socket.socket], None]:
    head = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n{headers}\r\n".encode()
    return lambda connection: connection.sendall(head + body)


def drip(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\n")
    for _ in range(100):
        connection.sendall(b"X")
        time.sleep(0.1)


def flood(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 10000000\r\n\r\n" + b" " * 10_000_000)


@pytest.mark.parametrize("body", [b'{"status": "ok", "models_loaded": 1}', b"{}", b'{"status": "alive"}'])
def test_h7_an_object_without_trouble_is_healthy(body: bytes) -> None:
    """The engines' answers differ; none of them counts zero models."""
    with answering(reply("200 OK", body)) as url:
        assert HttpHealth(url, bounds=BOUNDS)().healthy


@pytest.mark.parametrize(
    ("answer", "detail"),
    [
        (reply("503 Service Unavailable", b'{"status": "ok"}'), "HTTP 503"),
        (reply("302 Found", b"", "Location: http://127.0.0.1/\r\n"), "HTTP 302"),
        (reply("200 OK", b"<html>ok</html>"), "not JSON"),
        (reply("200 OK", b'["ok"]'), "not a JSON object"),
        (reply("200 OK", b"[" * 4000), "not JSON"),
        (reply("200 OK", b'{"status": "UNHEALTHY"}'), "status unhealthy"),
        (reply("200 OK", b'{"status": "ok", "models_loaded": 0}'), "models_loaded 0"),
        (reply("200 OK", b'{"models_loaded": true}'), "models_loaded True"),
        (reply("200 OK", b'{"models_loaded": NaN}'), "models_loaded nan"),
        (reply("200 OK", b'{"models_loaded": "\\ud800\\u001b[2J"}'), "models_loaded \\ud800\\x1b[2J"),
        (
            reply("200 OK", b'{"models_loaded": ' + b"[" * 900 + b"]" * 900 + b"}"),
            "models_loaded a JSON list",
        ),
        (reply("200 OK", b'{"models_loaded": -' + b"9" * 3000 + b"}"), "models_loaded -99999"),
        (reply("503 Unavailable", b'{"status": "\\ud800"}'), "status \\ud800"),
        (reply("200 OK", b'{"status": "\xff\xfe"}'), "not JSON"),
        (reply("200 OK", b"\xff\xfe{\x00}"), "not JSON"),
        (lambda connection: connection.sendall(b"HTTP/1.1 200 OK\r\n\xff\xfe: \xff\r\n\r\n\xff"), "not JSON"),
        (lambda connection: connection.sendall(b"SSH-2.0-nonsense\r\n\r\n"), "not HTTP"),
        (lambda connection: None, "not HTTP"),
        (flood, "more than 4096 bytes"),
        (drip, "no complete response within 0.6 s"),
        (lambda connection: time.sleep(3), "no complete response within 0.6 s"),
    ],
)
def test_h7_everything_else_is_unhealthy_in_time(
    answer: Callable[[socket.socket], None], detail: str
) -> None:
    """A verification must never hang on what it verifies."""
    with answering(answer) as url:
        began = time.monotonic()
        reading = HttpHealth(url, bounds=BOUNDS)()
        assert time.monotonic() - began < 2
    assert not reading.healthy
    assert detail in reading.detail
    assert reading.detail.isprintable(), "it becomes the reason of a promotion in the store"


@pytest.mark.parametrize(
    ("answer", "grade"),
    [
        (reply("503 Service Unavailable", b'{"status": "degraded", "models_loaded": 1}'), Grade.TROUBLED),
        (reply("200 OK", b'{"status": "error", "dependencies": {"redis": "down"}}'), Grade.TROUBLED),
        (reply("503 Service Unavailable", b'{"status": "error", "models_loaded": 0}'), Grade.SILENT),
        (reply("503 Service Unavailable", b'{"status": "starting"}'), Grade.SILENT),
        (reply("503 Service Unavailable", b"<html>"), Grade.SILENT),
        (reply("500 Internal Server Error", b'{"status": "ok"}'), Grade.SILENT),
    ],
)
def test_h6_an_engine_that_serves_and_complains_is_told_from_one_that_does_not_serve(
    answer: Callable[[socket.socket], None], grade: Grade
) -> None:
    """Only the first may be a dependency's fault."""
    with answering(answer) as url:
        assert HttpHealth(url, bounds=BOUNDS)().grade is grade


def test_h7_a_refused_connection_is_unhealthy() -> None:
    """No process listens."""
    assert not HttpHealth(f"http://127.0.0.1:{free_port()}/health", bounds=BOUNDS)().healthy


@pytest.mark.parametrize(
    "url",
    ["https://127.0.0.1/", "127.0.0.1:8001", "http://", "http://u:p@h/", "http://h:x/", "file:///etc/passwd"],
)
def test_an_address_that_is_no_plain_http_address_is_refused(url: str) -> None:
    """Better at the start than in the middle of a promotion."""
    with pytest.raises(PromotionError, match="HEALTH_URL"):
        HttpHealth(url)
