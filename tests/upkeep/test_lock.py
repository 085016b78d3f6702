"""One instance a state directory."""

import subprocess
import sys

import pytest

from clm.errors import AlreadyRunning
from clm.upkeep.lock import holder, single_instance

HOLD = """
import sys, time, pathlib
from clm.upkeep.lock import single_instance
with single_instance(pathlib.Path(sys.argv[1]), "a test"):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def other(tmp_path):
    """Another process that holds the lock."""
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path / "lock")], stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"held\n"
    yield process
    process.kill()
    process.communicate()


def test_m1_a_second_instance_is_refused_and_told_who_the_first_is(tmp_path, other):
    """Two daemons would train twice and promote over each other."""
    lock = single_instance(tmp_path / "lock", "a test")
    with pytest.raises(AlreadyRunning, match=rf"pid {other.pid} since 2") as raised, lock:
        pass
    assert raised.value.exit_code == 75
    assert holder(tmp_path / "lock").startswith(f"pid {other.pid} ")


def test_l14_a_lock_file_of_any_bytes_is_shown(tmp_path, other):
    """Another program wrote into it; `clm status` must still say that somebody holds it."""
    (tmp_path / "lock").write_bytes(b"\xff\xfe")
    assert holder(tmp_path / "lock") == "\ufffd\ufffd"


def test_m1_a_killed_holder_leaves_no_lock(tmp_path, other):
    """After kill -9 the daemon must come up again by itself."""
    other.kill()
    other.wait()
    assert holder(tmp_path / "lock") is None
    with single_instance(tmp_path / "lock", "a test"):
        pass


def test_somebody_who_looks_does_not_keep_a_daemon_from_starting(tmp_path):
    """`clm status` in a loop is how people watch a start."""
    path = tmp_path / "lock"
    path.touch()
    looking = (
        "import sys, pathlib; from clm.upkeep.lock import holder\nprint('looking', flush=True)\n"
        "while True: holder(pathlib.Path(sys.argv[1]))"
    )
    command = [sys.executable, "-c", looking, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as watcher:
        try:
            assert watcher.stdout.readline() == b"looking\n"
            for _ in range(300):
                with single_instance(path, "a test"):
                    pass
        finally:
            watcher.kill()
