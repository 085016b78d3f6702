"""A server in a box whose engine behaves as its model says, for promotions without a training."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

from clm.store.create import create_store
from tests.systemd.boxes import SOURCE, Box, booted, require_service_python
from tests.systemd.conftest import install_service
from tests.systemd.servers import ENGINE, ENGINE_ENV_FILE, FIRST_MODEL, PYTHON, SETTINGS, STORE

HEALTH_URL = "http://127.0.0.1:8001/health"
_seconds = count(1)

UNIT = f"""\
[Unit]
StartLimitIntervalSec=60
StartLimitBurst=3

[Service]
User=qt
EnvironmentFile={ENGINE_ENV_FILE}
ExecStart=/usr/bin/python3 -I {SOURCE}/tests/systemd/moody_engine.py
Restart=on-failure
RestartSec=0.2
"""


@contextmanager
def switching_server(directory: Path, *install_options: str, settings: str = "") -> Iterator[Box]:
    """Boot a server on which quantum-clm is installed and a moody engine serves a good first model."""
    require_service_python()
    store = directory / "store.db"
    create_store(store)
    with booted(f"--ro={store}:/usr/src/store.db") as box:
        install_service(box, *install_options)
        box.run("install", "-m", "0640", "-o", "qt", "-g", "qt", "/usr/src/store.db", STORE)
        box.run("sh", "-c", f"echo 'CLM_ENGINE_HEALTH_URL={HEALTH_URL}\n{settings}' >>{SETTINGS}")
        box.write(f"/etc/systemd/system/{ENGINE}", UNIT)
        box.write(FIRST_MODEL, "good champion", mode="0640", owner="qt:qt")
        box.run("sh", "-c", f"echo PATCHTST_MODEL_PATH={FIRST_MODEL} >>{ENGINE_ENV_FILE}")
        box.run("systemctl", "daemon-reload")
        box.run("systemctl", "start", ENGINE)
        yield box


def new_version() -> str:
    """Return the name of a version that nobody has."""
    return f"patchtst_v20260301_{next(_seconds):06d}"


def promote(box: Box, version: str, words: str, **policy: float) -> dict[str, object]:
    """Promote as user qt and return the outcome; policy numbers are of clm.promotion.policy."""
    changes = [f"{name}={value}" for name, value in policy.items()]
    done = box.as_user("qt", PYTHON, f"{SOURCE}/tests/systemd/promote_as_qt.py", version, words, *changes)
    return json.loads(done.stdout)


def served(box: Box) -> str | None:
    """Return the path in the environment of the engine's process, None where it does not run."""
    if box.show(ENGINE, "ActiveState") != "active":
        return None
    return box.environment_of(box.show(ENGINE, "MainPID")).get("PATCHTST_MODEL_PATH")
