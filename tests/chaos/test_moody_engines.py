"""Every other way in which a real unit may misbehave on a new model; see tests/systemd."""

from collections.abc import Iterator

import pytest

from tests.systemd.boxes import Box
from tests.systemd.servers import ENGINE
from tests.systemd.switching import (
    LOADED,
    PREDICT_URL,
    after_restart,
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


def test_h4_an_engine_that_serves_first_and_crashes_then_is_found_out(box: Box) -> None:
    """It answers for a moment; the window of stability is longer than that moment."""
    assert "was restarted" in rolled_back(box, "late", stable_s=3)


def test_an_engine_that_hangs_is_not_waited_for_without_end(box: Box) -> None:
    """The unit is active and the process has the right file, but it does not respond."""
    assert "health endpoint reports: no answer" in rolled_back(box, "deaf", active_timeout_s=2)


def test_h5_an_engine_that_ignores_the_environment_file_is_found_out(box: Box) -> None:
    """Its unit sets another path after ours; the process environment shows it."""
    override = f"[Service]\nExecStart=\nExecStart=/usr/bin/env PATCHTST_MODEL_PATH={named(box)} "
    start = box.show(ENGINE, "ExecStart").partition("argv[]=")[2].partition(" ;")[0]
    drop_in = f"/run/systemd/system/{ENGINE}.d/ignore.conf"
    box.write(drop_in, f"{override}{start}\n")
    box.run("systemctl", "daemon-reload")
    try:
        assert "runs with" in rolled_back(box, "good")
    finally:
        box.run("rm", drop_in)
        box.run("systemctl", "daemon-reload")


def test_h5_an_engine_that_loads_another_file_than_it_was_told_is_found_out(box: Box) -> None:
    """One engine version loads the newest file and ignores the variable; its journal shows it."""
    assert "the journal has no line" in rolled_back(
        box, "stubborn", journal_pattern=LOADED, active_timeout_s=2
    )


def test_h6_a_dependency_that_was_down_before_is_not_held_against_the_model(box: Box) -> None:
    """503 before, 503 after: not worse than it was."""
    box.run("touch", "/run/dependency-down")
    try:
        version = new_version()
        outcome = promote(box, version, "good")
        assert outcome["state"] == "COMMITTED", outcome["reason"]
    finally:
        box.run("rm", "/run/dependency-down")
    assert served(box) == path_of(version)


def test_h6_trouble_that_the_champion_has_as_well_is_called_inconclusive(box: Box) -> None:
    """Redis went down in the same minute: the champion is back, and the reason does not blame the model."""
    after_restart(box, "touch /run/dependency-down")
    try:
        reason = rolled_back(box, "good unlucky", active_timeout_s=3)
    finally:
        box.run("rm", "-f", "/run/dependency-down")
    assert "inconclusive: the previous model has the same trouble" in reason


def test_h9_an_engine_that_a_person_restarts_meanwhile_is_verified_anew(box: Box) -> None:
    """Another invocation on the same file is as good as ours."""
    version = new_version()
    after_restart(box, f"systemctl restart {ENGINE}")
    outcome = promote(box, version, "good", stable_s=3)
    assert outcome["state"] == "COMMITTED", outcome["reason"]
    assert served(box) == path_of(version)


def test_m7_a_masked_engine_is_left_alone(box: Box) -> None:
    """An operator masked it to prevent a start; this is detected before any change."""
    box.run("mv", f"/etc/systemd/system/{ENGINE}", "/root/unit")
    box.run("systemctl", "mask", "--runtime", ENGINE)
    box.run("systemctl", "daemon-reload")
    try:
        refused(box, "masked")
    finally:
        box.run("systemctl", "unmask", "--runtime", ENGINE)
        box.run("mv", "/root/unit", f"/etc/systemd/system/{ENGINE}")
        box.run("systemctl", "daemon-reload")


def test_h8_without_the_helpers_socket_nothing_is_begun_and_the_text_says_what_to_start(box: Box) -> None:
    """Asked before each promotion, over the socket that the switch will use."""
    assert doctor(box).startswith("OK")
    box.run("systemctl", "stop", "quantum-clm-switch.socket")
    try:
        refused(box, "systemctl start quantum-clm-switch.socket")
        assert doctor(box).startswith("FAIL")
    finally:
        box.run("systemctl", "start", "quantum-clm-switch.socket")


def test_an_engine_that_answers_one_number_is_called_what_it_is(box: Box) -> None:
    """No retraining repairs it, so the reason must not blame the model."""
    reason = rolled_back(box, "constant", probe_url=PREDICT_URL)
    assert "serving input constant: 8 different windows get one score, 0.615028" in reason


def test_h9_an_engine_that_a_person_stops_meanwhile_is_not_started_again(box: Box) -> None:
    """The file names the champion for the next start, and the starting is theirs."""
    champion = named(box)
    after_restart(box, f"systemctl stop {ENGINE}")
    outcome = promote(box, new_version(), "good", stable_s=5)
    assert outcome["state"] == "SUPERSEDED", outcome["reason"]
    assert box.show(ENGINE, "ActiveState") == "inactive"
    assert named(box) == champion
    box.run("systemctl", "start", ENGINE)
    assert served(box) == champion
