"""The engine as a unit: what systemctl prints, and what its refusals mean. (Real units are tested apart.)"""

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from clm.domain.line import DEFAULT_LINE
from clm.engine.systemctl import Finished, run_program
from clm.engine.systemd import SystemdEngine
from clm.errors import PromotionError
from clm.ports import EngineStatus
from clm.switch.unit import SystemdUnit

KEY = DEFAULT_LINE.model_key


class Systemctl:
    """Answers as systemd 252 did, and remembers the questions."""

    def __init__(self, *answers: Finished) -> None:
        self._answers = list(answers)
        self.asked: list[list[str]] = []

    def __call__(self, command: Sequence[str], timeout_s: float) -> Finished:
        self.asked.append([*command])
        return self._answers.pop(0)


def show(**facts: str) -> Finished:
    values = {
        "MainPID": "0",
        "NRestarts": "0",
        "LoadState": "loaded",
        "ActiveState": "inactive",
        "SubState": "dead",
        "InvocationID": "",
        **facts,
    }
    return Finished(returncode=0, stdout="".join(f"{k}={v}\n" for k, v in values.items()), stderr="")


def refused(words: str) -> Finished:
    return Finished(returncode=1, stdout="", stderr=words + "\n")


def test_an_active_unit_is_observed_with_its_process_environment() -> None:
    """Identity comes from /proc, not from what was asked for."""
    systemctl = Systemctl(
        show(
            ActiveState="active",
            SubState="running",
            MainPID=str(os.getpid()),
            InvocationID="abc",
            NRestarts="2",
        )
    )
    seen = SystemdEngine("ai.service", key="PATH", run=systemctl).observe()
    assert (seen.status, seen.main_pid, seen.invocation_id, seen.restarts) == (
        EngineStatus.ACTIVE,
        os.getpid(),
        "abc",
        2,
    )
    started_with = Path("/proc/self/environ").read_bytes().split(b"\0")
    assert seen.model_path == next(e[5:].decode() for e in started_with if e.startswith(b"PATH="))
    assert systemctl.asked[0][:3] == ["systemctl", "--no-ask-password", "--no-pager"]


@pytest.mark.parametrize(
    ("state", "status"),
    [
        ("inactive", EngineStatus.INACTIVE),
        ("failed", EngineStatus.FAILED),
        ("activating", EngineStatus.ACTIVATING),
        ("deactivating", EngineStatus.ACTIVATING),
        ("reloading", EngineStatus.ACTIVE),
        ("a word of the future", EngineStatus.ACTIVATING),
    ],
)
def test_every_state_has_a_meaning(state: str, status: EngineStatus) -> None:
    """An unknown word is never taken for success."""
    assert (
        SystemdEngine("ai.service", key=KEY, run=Systemctl(show(ActiveState=state))).observe().status
        is status
    )


@pytest.mark.parametrize(
    ("user", "dynamic", "root"),
    [("", "no", True), ("root", "no", True), ("0", "no", True), ("qt", "no", False), ("", "yes", False)],
)
def test_l1_a_unit_of_roots_is_known_for_one(user: str, dynamic: str, root: bool) -> None:
    """No User= means root, except where systemd makes one up."""
    systemctl = Systemctl(show(User=user, DynamicUser=dynamic))
    assert SystemdEngine("ai.service", key=KEY, run=systemctl).observe().runs_as_root is root


@pytest.mark.parametrize(("load", "advice"), [("not-found", "CLM_ENGINE_UNIT"), ("masked", "unmask")])
def test_m7_a_unit_that_cannot_be_started_is_unreachable(load: str, advice: str) -> None:
    """Found in the preflight, said with what to do."""
    with pytest.raises(PromotionError, match=f"ENGINE_UNREACHABLE: ai.service is {load} .*{advice}"):
        SystemdEngine("ai.service", key=KEY, run=Systemctl(show(LoadState=load))).observe()


def test_h2_a_start_limit_is_cleared_before_the_restart() -> None:
    """A plain restart of a unit at its limit fails; and it is never done without waiting for the job."""
    done = Finished(returncode=0, stdout="", stderr="")
    systemctl = Systemctl(done, done)
    SystemdUnit("ai.service", run=systemctl).restart()
    assert [command[3:] for command in systemctl.asked] == [
        ["reset-failed", "ai.service"],
        ["restart", "ai.service"],
    ]


def test_a_stopped_unit_that_systemd_forgot_is_started() -> None:
    """It has no start limit to clear; `reset-failed` says so with a failure."""
    systemctl = Systemctl(
        refused("Failed to reset failed state of unit ai.service: Unit ai.service not loaded."),
        Finished(returncode=0, stdout="", stderr=""),
    )
    SystemdUnit("ai.service", run=systemctl).restart()
    assert systemctl.asked[1][3:] == ["restart", "ai.service"]


@pytest.mark.parametrize(
    ("words", "advice"),
    [
        ("Failed to reset failed state of unit ai.service: Interactive authentication required.", "helper"),
        ("Failed to restart ai.service: Access denied", "helper"),
        ("Failed to restart ai.service: Unit ai.service is masked.", "unmask"),
        ("Failed to restart ai.service: Unit ai.service not found.", "CLM_ENGINE_UNIT"),
        ("Job for ai.service failed because the control process exited with error code.", "journalctl"),
    ],
)
def test_h8_a_refusal_says_what_to_do(words: str, advice: str) -> None:
    """systemd's own words stay in the text."""
    with pytest.raises(PromotionError, match="ENGINE_RESTART_FAILED") as caught:
        SystemdUnit("ai.service", run=Systemctl(refused(words))).restart()
    assert advice in caught.value.message
    assert words in caught.value.message


def test_a_restart_that_does_not_end_is_a_failure() -> None:
    """A start job may hang on a dependency."""

    def hang(command: Sequence[str], timeout_s: float) -> Finished:
        raise subprocess.TimeoutExpired(list(command), timeout_s)

    with pytest.raises(PromotionError, match=r"ENGINE_RESTART_FAILED: .* after 20 s"):
        SystemdUnit("ai.service", run=hang).restart()


def test_without_systemctl_the_engine_is_unreachable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A container without systemd says so in a line."""
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(PromotionError, match="ENGINE_UNREACHABLE: systemctl cannot be started"):
        SystemdEngine("ai.service", key=KEY).observe()


@pytest.mark.skipif(
    shutil.which("systemctl") is None or Path("/run/systemd/system").exists(),
    reason="asks systemctl on a machine that does not run systemd",
)
def test_on_a_machine_without_systemd_the_text_says_so() -> None:
    """The real systemctl's answer."""
    with pytest.raises(PromotionError, match="show failed: this system does not run systemd"):
        SystemdEngine("ai.service", key=KEY).observe()


@pytest.mark.parametrize(
    ("facts", "root"),
    [
        ({"User": "qt"}, False),
        ({"User": ""}, True),
        ({"User": "root"}, True),
        ({"User": "00"}, True),
        ({"User": "", "DynamicUser": "yes"}, False),
        ({"User": "qt", "AmbientCapabilities": "cap_net_bind_service"}, False),
        ({"User": "qt", "AmbientCapabilities": "cap_net_bind_service cap_dac_override"}, True),
        ({"User": "qt", "ExecStartEx": "{ path=/e ; argv[]=/e ; flags= ; start_time=[n/a] }"}, False),
        ({"User": "qt", "ExecStartEx": "{ path=/e ; argv[]=/e ; flags=ignore-failure ; pid=1 }"}, False),
        ({"User": "qt", "ExecStartEx": "{ path=/e ; argv[]=/e ; flags=privileged ; pid=1 }"}, True),
        (
            {"User": "qt", "ExecStartEx": "{ path=/e ; flags=ignore-failure no-setuid ; pid=1 }"},
            True,
        ),
    ],
)
def test_l1_the_helper_refuses_a_unit_with_roots_rights(facts: dict[str, str], root: bool) -> None:
    """Root's helper would make root load a file that another user wrote."""
    lines = "".join(f"{name}={value}\n" for name, value in {"LoadState": "loaded", **facts}.items())
    unit = SystemdUnit("ai.service", run=Systemctl(Finished(returncode=0, stdout=lines, stderr="")))
    if not root:
        unit.refuse_root()
        return
    with pytest.raises(PromotionError, match=r"ENGINE_RUNS_AS_ROOT: ai\.service"):
        unit.refuse_root()


@pytest.mark.parametrize("facts", [{"MainPID": "\u0663"}, {"MainPID": "-1"}, {"NRestarts": "[not set]"}])
def test_l14_a_number_that_is_none_is_an_engine_that_cannot_be_observed(facts: dict[str, str]) -> None:
    """A later systemd may print other words; a ValueError would end a promotion in the middle."""
    with pytest.raises(PromotionError, match="which is not a number") as caught:
        SystemdEngine("ai.service", key=KEY, run=Systemctl(show(**facts))).observe()
    assert caught.value.code == "ENGINE_UNREACHABLE"


def test_l1_a_program_that_is_started_has_a_session_of_its_own() -> None:
    """Run by root it works as another user, who must not reach root's terminal through it."""
    script = "import os; print(os.getsid(0) == os.getpid())"
    assert run_program([sys.executable, "-c", script], 20.0).stdout == "True\n"
