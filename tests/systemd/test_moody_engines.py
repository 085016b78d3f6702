"""Units that misbehave on a new model, under a real systemd and by the helper: the champion serves again.

The other moods are in tests/chaos.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.systemd.boxes import Box
from tests.systemd.servers import CLM_PROGRAM, ENGINE, ENGINE_ENV_FILE, SETTINGS
from tests.systemd.switching import (
    LOADED,
    PREDICT_URL,
    doctor,
    named,
    new_version,
    path_of,
    promote,
    refused,
    rolled_back,
    served,
    switching_server,
)

pytestmark = pytest.mark.needs_systemd_ns


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Box]:
    """Yield one server for all cases; each leaves it on a champion that serves."""
    with switching_server(tmp_path_factory.mktemp("store")) as box:
        yield box


@pytest.fixture
def box(machine: Box) -> Box:
    """Return the server on a champion that serves."""
    machine.wait_for(lambda: served(machine) == named(machine), "the champion to serve")
    return machine


def test_a_good_model_is_committed_with_every_proof(box: Box) -> None:
    """Process environment, health, the journal's line and golden rows, all asked of a real unit."""
    version = new_version()
    outcome = promote(box, version, "good", probe_url=PREDICT_URL, journal_pattern=LOADED)
    assert outcome["state"] == "COMMITTED", outcome["reason"]
    assert served(box) == named(box) == path_of(version)
    assert box.stat(ENGINE_ENV_FILE) == "root:qt 640"
    assert box.stat(path_of(version)) == "root:root 444"


def test_h1_h2_an_engine_that_crashes_at_once_is_back_on_the_champion_beyond_its_start_limit(
    box: Box,
) -> None:
    """After one start in a minute systemd starts it no more; the way back clears that first."""
    drop_in = f"/run/systemd/system/{ENGINE}.d/once.conf"
    box.write(drop_in, "[Unit]\nStartLimitBurst=1\n")
    box.run("systemctl", "daemon-reload")
    try:
        assert "the engine" in rolled_back(box, "crash")
    finally:
        box.run("rm", drop_in)
        box.run("systemctl", "daemon-reload")
    assert any("too quickly" in line for line in box.journal(ENGINE))


def test_l1_an_engine_that_runs_as_root_gets_no_model(box: Box) -> None:
    """Root's helper would make root load a file that the daemon's user wrote."""
    drop_in = f"/run/systemd/system/{ENGINE}.d/root.conf"
    box.write(drop_in, "[Service]\nUser=root\n")
    box.run("systemctl", "daemon-reload")
    box.run("systemctl", "restart", ENGINE)
    try:
        refused(box, "ENGINE_RUNS_AS_ROOT")
        assert doctor(box).startswith("FAIL")
    finally:
        box.run("rm", drop_in)
        box.run("systemctl", "daemon-reload")
        box.run("systemctl", "restart", ENGINE)


def test_only_root_lets_the_engine_trade(box: Box) -> None:
    """`clm activate` works as qt; a process of root's passes its one request to the helper on."""
    box.run("sh", "-c", f"echo CLM_ENGINE__STABLE_S=1 >>{SETTINGS}")
    activate = (CLM_PROGRAM, "activate", Path(named(box)).stem, "--override", "a small account")
    denied = box.as_user("qt", *activate, check=False)
    assert (denied.returncode, "only root" in denied.stdout + denied.stderr) == (74, True), denied
    assert "PATCHTST_SHADOW_ONLY=true" in box.read(ENGINE_ENV_FILE)
    before = box.read(ENGINE_ENV_FILE)
    done = box.run(*activate)
    assert "trades on" in done.stdout, done.stdout + done.stderr
    assert "working as qt" in done.stderr
    assert box.environment_of(box.show(ENGINE, "MainPID"))["PATCHTST_SHADOW_ONLY"] == "false"
    assert box.stat(ENGINE_ENV_FILE) == "root:qt 640"
    box.write(ENGINE_ENV_FILE, before, mode="0640", owner="root:qt")
    box.run("systemctl", "restart", ENGINE)
