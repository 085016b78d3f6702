"""A server in a box whose engine behaves as its model says, for promotions without a training."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

from clm.store.create import create_store
from tests.systemd.boxes import SOURCE, Box, booted, require_service_python
from tests.systemd.conftest import install_service
from tests.systemd.servers import (
    CLM_PROGRAM,
    ENGINE,
    ENGINE_ENV_FILE,
    FIRST_MODEL,
    MODELS,
    PYTHON,
    SETTINGS,
    STORE,
)

PREDICT_URL = "http://127.0.0.1:8001/predict"
LOADED = "PatchTST loaded: {file}"
BACK_WITHIN_S = 60
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
        box.run("systemctl", "start", ENGINE, "quantum-clm-switch.socket")
        yield box


def new_version() -> str:
    """Return the name of a version that does not exist."""
    return f"patchtst_v20260301_{next(_seconds):06d}"


def promote(box: Box, version: str, words: str, **policy: object) -> dict[str, str]:
    """Promote as user qt, who may read the journal, and return the outcome.

    `words` are the model file's, the first is the engine's mood; `policy` is clm.promotion.policy's.
    """
    changes = [f"{name}={value}" for name, value in policy.items()]
    done = box.run(
        *("setpriv", "--reuid", "qt", "--regid", "qt", "--groups", "systemd-journal", "--"),
        *(PYTHON, f"{SOURCE}/tests/systemd/promote_as_qt.py", version, words, *changes),
    )
    return json.loads(done.stdout)


def path_of(version: str) -> str:
    """Return where a version lies once it is promoted."""
    return f"{MODELS}/{version}.pth"


def named(box: Box) -> str:
    """Return the path that the environment file names."""
    line = next(part for part in box.read(ENGINE_ENV_FILE).splitlines() if part.startswith("PATCHTST_MODEL"))
    return line.partition("=")[2]


def served(box: Box) -> str | None:
    """Return the path in the environment of the engine's process, None where it does not run."""
    if box.show(ENGINE, "ActiveState") != "active":
        return None
    return box.environment_of(box.show(ENGINE, "MainPID")).get("PATCHTST_MODEL_PATH")


def after_restart(box: Box, command: str) -> None:
    """Let somebody else do this half a second after the engine's next start."""
    before = box.show(ENGINE, "InvocationID")
    wait = f'until [ "$(systemctl show -P InvocationID {ENGINE})" != {before} ]; do sleep 0.05; done'
    box.run("systemd-run", "--quiet", "--no-block", "sh", "-c", f"{wait}; sleep 0.5; {command}")


def rolled_back(box: Box, words: str, **policy: object) -> str:
    """Promote a model that cannot end well, hold that the champion is back in time, and return the reason."""
    champion, before, began = named(box), box.read(ENGINE_ENV_FILE), time.monotonic()
    outcome = promote(box, new_version(), words, **policy)
    assert outcome["state"] == "ROLLED_BACK", outcome["reason"]
    assert time.monotonic() - began < BACK_WITHIN_S
    assert served(box) == champion
    assert box.read(ENGINE_ENV_FILE) == before
    return outcome["reason"]


def refused(box: Box, code: str) -> None:
    """Hold that no promotion begins, that nothing is touched, and that `clm doctor` says the same."""
    before = box.show(ENGINE, "InvocationID"), box.read(ENGINE_ENV_FILE)
    outcome = promote(box, new_version(), "good")
    assert outcome["state"] == "ABORTED", outcome["reason"]
    assert code in outcome["reason"]
    assert (box.show(ENGINE, "InvocationID"), box.read(ENGINE_ENV_FILE)) == before


def doctor(box: Box) -> str:
    """Return what `clm doctor` says of the switch to user qt."""
    said = box.as_user("qt", CLM_PROGRAM, "doctor", check=False).stdout.splitlines()
    return " ".join(line for line in said if line.split()[1:2] == ["switch"])
