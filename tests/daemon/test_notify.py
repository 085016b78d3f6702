"""sd_notify, against a real datagram socket."""

import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from clm.daemon.notify import MAX_STATUS, Notifier


@pytest.fixture
def systemd(monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """The socket that a service manager listens on; a short path, because it has at most 107 bytes."""
    with tempfile.TemporaryDirectory(prefix="clm-notify-") as directory:
        path = Path(directory) / "notify"
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
            receiver.bind(str(path))
            receiver.settimeout(5)
            monkeypatch.setenv("NOTIFY_SOCKET", str(path))
            yield receiver


def close(notifier: Notifier) -> None:
    if notifier._systemd.socket:
        notifier._systemd.socket.close()


def test_each_call_is_one_datagram_that_systemd_understands(systemd):
    """The words are those of sd_notify(3)."""
    notifier = Notifier()
    notifier.ready()
    notifier.watchdog()
    notifier.status("idle; redis up")
    notifier.extend_timeout(1.5)
    notifier.stopping()
    received = [systemd.recv(4096).decode() for _ in range(5)]
    assert received == [
        "READY=1",
        "WATCHDOG=1",
        "STATUS=idle; redis up",
        "EXTEND_TIMEOUT_USEC=1500000",
        "STOPPING=1",
    ]
    close(notifier)


def test_l10_a_status_is_one_line_and_no_second_message(systemd):
    """A newline in a reason would be read as another assignment: STOPPING=1 from a stranger."""
    notifier = Notifier()
    notifier.status("frozen: x\nSTOPPING=1\x1b[2J" + "y" * 1000)
    [line] = systemd.recv(4096).decode().split("\n")
    assert line.startswith("STATUS=frozen: x\\nSTOPPING=1")
    assert line.isprintable()
    assert len(line) == len("STATUS=") + MAX_STATUS
    close(notifier)


def test_without_a_service_manager_nothing_is_said_and_nothing_fails(monkeypatch):
    """`clm serve` in a terminal has no NOTIFY_SOCKET."""
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    notifier = Notifier()
    notifier.ready()
    notifier.status("x")


def test_a_service_manager_that_went_away_is_no_error(systemd):
    """systemd may re-execute itself."""
    notifier = Notifier()
    systemd.close()
    notifier.watchdog()
    close(notifier)
