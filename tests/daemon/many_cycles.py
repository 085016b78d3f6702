"""Run a real daemon for many cycles and read its memory, descriptors and child processes after each."""

import os
import re
import shlex
import shutil
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import redis

from clm.settings import load_settings
from clm.verbs.demo import ENGINE
from clm.wiring_engine import engine_of
from tests.bus.conftest import RedisServer
from tests.systemd.servers import make_store

SETTLE_S = 1.0
_CYCLE_S = 120


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """The daemon between two cycles."""

    resident_mb: float
    descriptors: int
    zombies: int
    threads: int


def look_at(pid: int) -> Look:
    """Read a process as the kernel shows it."""
    status = Path(f"/proc/{pid}/status").read_text()
    children = [
        Path(f"/proc/{child}/stat")
        for task in Path(f"/proc/{pid}/task").iterdir()
        for child in (task / "children").read_text().split()
    ]
    return Look(
        resident_mb=round(_number(status, "VmRSS") / 1024, 1),
        descriptors=len(list(Path(f"/proc/{pid}/fd").iterdir())),
        zombies=sum(") Z" in stat.read_text() for stat in children if stat.exists()),
        threads=_number(status, "Threads"),
    )


def _number(status: str, name: str) -> int:
    found = re.search(rf"^{name}:\s+(\d+)", status, flags=re.MULTILINE)
    assert found
    return int(found[1])


def run_cycles(cycles: int, samples: int, after: Callable[[int, int], None] | None = None) -> list[Look]:
    """Start `clm serve` on a new store and let it run cycles, with a new row before each.

    `after` is called with the daemon's pid and the number of the cycle.
    """
    root = Path(tempfile.mkdtemp(prefix="clm-many-"))
    server = RedisServer(Path(tempfile.mkdtemp(prefix="clm-redis-")))
    for name in ("opt/quantum/data", "opt/quantum/ai_engine/models", "etc/quantum"):
        (root / name).mkdir(parents=True)
    store = make_store(root / "opt/quantum/data/quantum_trader.db", samples)
    (root / "etc/quantum/ai-engine.env").write_text("PATCHTST_SHADOW_ONLY=true\n")
    settings = _settings(root, server)
    server.start()
    with (root / "log").open("wb") as output:
        command = [sys.executable, "-m", "clm", "serve"]
        environment = {"PATH": os.environ["PATH"], **settings}
        daemon = subprocess.Popen(command, env=environment, stdout=output, stderr=subprocess.STDOUT)
    try:
        looks = []
        for cycle in range(1, cycles + 1):
            _add_row(store)
            _cycle(daemon, root / "log", server, cycle)
            looks.append(look_at(daemon.pid))
            if after:
                after(daemon.pid, cycle)
        return looks
    finally:
        daemon.terminate()
        daemon.wait(60)
        engine_of(load_settings(settings)).stop()
        server.stop()
        shutil.rmtree(server.directory, ignore_errors=True)
        shutil.rmtree(root, ignore_errors=True)


def _settings(root: Path, server: RedisServer) -> dict[str, str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    return {
        "CLM_ROOT": str(root),
        "CLM_REDIS_URL": server.url,
        "CLM_SCHEDULE": "off",
        "CLM_CYCLES__MIN_INTERVAL_MIN": "0",
        "CLM_CYCLES__MAX_A_DAY": "1440",
        "CLM_TRAINING__EPOCHS": "1",
        "CLM_TUNING__TRIALS": "0",
        "CLM_EVALUATION__REPLICATES": "200",
        "CLM_ENGINE__STABLE_S": "1",
        "CLM_ENGINE__CONTROL": "process",
        "CLM_ENGINE__COMMAND": shlex.join([sys.executable, str(ENGINE), "--port", str(port)]),
        "CLM_ENGINE_HEALTH_URL": f"http://127.0.0.1:{port}/health/live",
    }


def _add_row(store: Path) -> None:
    """Repeat the newest row a minute later, so that the data are new."""
    with closing(sqlite3.connect(store, timeout=30)) as connection:
        table = connection.execute("PRAGMA table_info(ai_training_samples)").fetchall()
        names = [name for _, name, *_ in table if name not in ("id", "run_id")]
        values = [f"datetime({name}, '+1 second')" if name == "timestamp" else name for name in names]
        connection.execute(
            f"INSERT INTO ai_training_samples ({', '.join(names)}) SELECT {', '.join(values)} "
            "FROM ai_training_samples ORDER BY id DESC LIMIT 1"
        )
        connection.commit()


def _cycle(daemon: subprocess.Popen[bytes], log: Path, server: RedisServer, cycle: int) -> None:
    def wait_for(condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + _CYCLE_S
        while not condition():
            assert daemon.poll() is None, log.read_text()[-5000:]
            assert time.monotonic() < deadline, log.read_text()[-5000:]
            time.sleep(0.1)

    with redis.Redis(unix_socket_path=str(server.socket)) as client:
        client.xadd("quantum:stream:manual.retrain_request", {"model": "patchtst", "source": "test"})
    wait_for(lambda: log.read_text().count("cycle.completed") == cycle)
    time.sleep(SETTLE_S)
