"""Machines for the tests: bare, or with quantum-clm installed next to a store, an engine and Redis."""

from collections.abc import Iterator

import pytest

from tests.systemd.boxes import PROJECT, SOURCE, VENV, Box, booted, require_service_python

ENGINE_ENV = """\
# Environment of the engine
REDIS_HOST=localhost
SYMBOLS=["BTCUSDT","ETHUSDT"]
PATCHTST_SHADOW_ONLY=true
"""


@pytest.fixture
def box() -> Iterator[Box]:
    """Yield a bare machine."""
    require_service_python()
    with booted() as machine:
        yield machine


@pytest.fixture
def installed(box: Box) -> Box:
    """Return a machine on which `deploy/install.sh` has been run next to a stand-in engine."""
    install_service(box)
    return box


def give_service_venv(box: Box) -> None:
    """Make the box's view of the virtual environment what `venv.sh service` makes: the package by copy."""
    site = box.out("sh", "-c", f"echo {VENV}/lib/python3*/site-packages")
    box.run("sh", "-c", f"rm -f {site}/__editable__*quantum_clm* && cp -r {SOURCE}/clm {site}/")
    box.run("sed", "-i", f"1c#!{VENV}/bin/python", f"{VENV}/bin/clm")
    box.run(f"{VENV}/bin/python", "-m", "compileall", "-q", f"{site}/clm")


def install_service(box: Box, *options: str) -> None:
    """Install as an operator would, with the virtual environment that is there already."""
    give_service_venv(box)
    box.run("systemd-sysusers", f"{SOURCE}/deploy/systemd/quantum-clm.sysusers.conf")
    for directory in ("/opt/quantum/data", "/opt/quantum/ai_engine/models"):
        box.run("install", "-d", "-m", "0750", "-o", "qt", "-g", "qt", directory)
    box.write("/etc/quantum/ai-engine.env", ENGINE_ENV, mode="0640", owner="root:qt")
    engine = (PROJECT / "tests/systemd/quantum-ai-engine.service").read_text()
    box.write("/etc/systemd/system/quantum-ai-engine.service", engine)
    box.run("systemctl", "daemon-reload")
    box.run(f"{SOURCE}/deploy/install.sh", *options, "--venv", VENV)
