"""The parent of the signal floor's child: it never hangs on it, never breaks on it, never leaves it."""

import threading
import time
from pathlib import Path

import pytest

from clm.daemon.signal import SubprocessSignal
from clm.data.signal import SignalPolicy
from clm.errors import Interrupted
from tests.data.rows import dataset_of, simulated_rows

DAILY = SignalPolicy(block_h=24.0, embargo_h=1.0)


@pytest.fixture(scope="module")
def dataset():
    return dataset_of(simulated_rows())


def script(path: Path, text: str) -> Path:
    """A stand-in for Python that the parent starts."""
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def children(python: Path) -> list[str]:
    """The living processes started through this path."""
    found = []
    for directory in Path("/proc").glob("[0-9]*"):
        try:
            command = (directory / "cmdline").read_bytes()
            state = (directory / "stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            continue
        if str(python).encode() in command and state != "Z":
            found.append(directory.name)
    return found


def test_a_market_with_signal_has_a_floor(dataset):
    """The whole way: files, child, answer."""
    floor = SubprocessSignal(DAILY).measure(dataset, threading.Event())

    assert floor.absent_because == ""
    assert floor.p_value <= 0.05


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("echo 'it broke' >&2; exit 3", "code 3: it broke"),
        ("kill -9 $$", "code -9"),
        ("exit 0", "could not be written or read"),
        ("exec sleep 60", "longer than 0.5 s"),
    ],
)
def test_a_child_that_fails_is_a_reason_not_an_exception(tmp_path, dataset, text, words):
    """A training must not end because a question about it could not be answered."""
    python = script(tmp_path / "python", text)
    floor = SubprocessSignal(DAILY, python=python, budget_s=0.5).measure(dataset, threading.Event())

    assert words in floor.absent_because
    assert not children(python)


def test_a_python_that_is_not_there_is_a_reason(tmp_path, dataset):
    """CLM_PYTHON may be mistyped; the training will say so loudly."""
    floor = SubprocessSignal(DAILY, python=tmp_path / "none").measure(dataset, threading.Event())

    assert "cannot be started" in floor.absent_because


def test_a_stop_ends_the_child_at_once(tmp_path, dataset):
    """The service manager waits for nobody."""
    python = script(tmp_path / "python", "sleep 60")
    stop = threading.Event()
    threading.Timer(0.3, stop.set).start()
    began = time.monotonic()

    with pytest.raises(Interrupted):
        SubprocessSignal(DAILY, python=python).measure(dataset, stop)
    assert time.monotonic() - began < 5
    assert not children(python)


def test_a_child_that_is_never_asked_is_not_left_behind(tmp_path):
    """Data may turn out to be refused while the child gets ready."""
    python = script(tmp_path / "python", "sleep 60")
    with SubprocessSignal(DAILY, python=python).waiting():
        pass

    assert not children(python)
