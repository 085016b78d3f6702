"""How much memory the daemon holds while it waits, before its first cycle and between cycles.

The process is a real `clm serve` with a real Redis, a real engine process and real training children.
"""

import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import redis

from clm.settings import load_settings
from clm.verbs.demo import ENGINE
from clm.wiring_engine import engine_of
from tests.bus.conftest import RedisServer
from tests.systemd.servers import make_store

BEFORE_FIRST_CYCLE_MB = 85
BETWEEN_CYCLES_MB = 100
SAMPLES = 20_000
"""Enough that a data set which is not given back shows: without `give_back` the second bound breaks."""
SETTLE_S = 4.0

pytestmark = [pytest.mark.needs_redis, pytest.mark.slow]


@dataclass(frozen=True, slots=True, kw_only=True)
class Idle:
    """Resident memory of one daemon in MB, and the events that it logged."""

    before_mb: float
    between_mb: tuple[float, ...]
    """After the first cycle, after the second."""
    log: str


@pytest.fixture(scope="module")
def root() -> Iterator[Path]:
    """A server of its own: a store that no program has migrated, and the engine's directories."""
    root = Path(tempfile.mkdtemp(prefix="clm-idle-"))
    for name in ("opt/quantum/data", "opt/quantum/ai_engine/models", "etc/quantum"):
        (root / name).mkdir(parents=True)
    make_store(root / "opt/quantum/data/quantum_trader.db", SAMPLES)
    (root / "etc/quantum/ai-engine.env").write_text("PATCHTST_SHADOW_ONLY=true\n")
    yield root
    shutil.rmtree(root)


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    server = RedisServer(Path(tempfile.mkdtemp(prefix="clm-redis-")))
    server.start()
    yield server
    server.stop()
    shutil.rmtree(server.directory, ignore_errors=True)


@pytest.fixture(scope="module")
def idle(root: Path, server: RedisServer) -> Idle:
    """Start the daemon for the first time, let two cycles pass, and measure it while it waits."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    settings = {
        "CLM_ROOT": str(root),
        "CLM_REDIS_URL": server.url,
        "CLM_SCHEDULE": "off",
        "CLM_CYCLES__MIN_INTERVAL_MIN": "0",
        "CLM_TRAINING__EPOCHS": "1",
        "CLM_TUNING__TRIALS": "0",
        "CLM_EVALUATION__REPLICATES": "200",
        "CLM_ENGINE__STABLE_S": "1",
        "CLM_ENGINE__CONTROL": "process",
        "CLM_ENGINE__COMMAND": shlex.join([sys.executable, str(ENGINE), "--port", str(port)]),
        "CLM_ENGINE_HEALTH_URL": f"http://127.0.0.1:{port}/health/live",
    }
    log = root / "log"
    with log.open("wb") as output:
        daemon = subprocess.Popen(
            [sys.executable, "-m", "clm", "serve"],
            env={"PATH": os.environ["PATH"], **settings},
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        return _watch(daemon, log, server)
    finally:
        daemon.terminate()
        daemon.wait(60)
        engine_of(load_settings(settings)).stop()


def _watch(daemon: subprocess.Popen[bytes], log: Path, server: RedisServer) -> Idle:
    def wait_for(condition: Callable[[], bool], within_s: float) -> None:
        deadline = time.monotonic() + within_s
        while not condition():
            assert daemon.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.1)

    wait_for(lambda: "daemon.started" in log.read_text(), 30)
    time.sleep(SETTLE_S)
    before_mb, between_mb = _resident_mb(daemon.pid), []
    for cycle in (1, 2):
        with redis.Redis(unix_socket_path=str(server.socket)) as client:
            client.xadd("quantum:stream:manual.retrain_request", {"model": "patchtst", "source": "test"})
        wait_for(lambda: log.read_text().count("cycle.completed") == cycle, 120)  # noqa: B023
        time.sleep(SETTLE_S)
        between_mb.append(_resident_mb(daemon.pid))
    return Idle(before_mb=before_mb, between_mb=tuple(between_mb), log=log.read_text())


def _resident_mb(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    found = re.search(r"^VmRSS:\s+(\d+) kB$", status, flags=re.MULTILINE)
    assert found
    return round(int(found[1]) / 1024, 1)


def test_the_daemon_is_small_before_its_first_cycle(
    idle: Idle, capsys: pytest.CaptureFixture[str], record_property: Callable[[str, object], None]
) -> None:
    """It shares its server with the engine, also after a start that had to migrate the store."""
    record_property("idle_before_first_cycle_mb", idle.before_mb)
    with capsys.disabled():
        sys.stdout.write(f"\nidle daemon before its first cycle: {idle.before_mb:.1f} MB resident\n")
    assert idle.before_mb <= BEFORE_FIRST_CYCLE_MB


def test_the_daemon_gives_back_what_a_cycle_took(
    idle: Idle, capsys: pytest.CaptureFixture[str], record_property: Callable[[str, object], None]
) -> None:
    """A daemon that grows with every cycle meets the limit of its unit after some weeks."""
    record_property("idle_between_cycles_mb", idle.between_mb)
    with capsys.disabled():
        sys.stdout.write(f"\nidle daemon after cycles 1 and 2: {idle.between_mb} MB resident\n")
    assert idle.log.count("decision=PROMOTE") >= 1, "a whole cycle, promotion included"
    assert max(idle.between_mb) <= BETWEEN_CYCLES_MB
    assert idle.between_mb[1] - idle.between_mb[0] <= 2
