"""The unit file and the rights that come with it, held against the systemd and polkit of this machine."""

import shutil
import subprocess
from collections.abc import Iterator

import pytest

from tests.systemd.boxes import PROJECT, Box, booted, require_service_python
from tests.systemd.conftest import install_service

UNIT = PROJECT / "deploy/systemd/quantum-clm.service"
ENGINE = "quantum-ai-engine.service"
OTHER = "other.service"
SLEEPER = "[Service]\nUser=qt\nExecStart=/bin/sleep infinity\n"

pytestmark = [pytest.mark.needs_systemd_ns, pytest.mark.needs_redis]


@pytest.fixture(scope="module")
def machine() -> Iterator[Box]:
    """Yield one machine for all questions that change nothing on it: engine and another unit run."""
    require_service_python()
    with booted() as box:
        install_service(box)
        # An engine that needs no model: what is asked here is who may restart it.
        box.write(f"/etc/systemd/system/{ENGINE}", SLEEPER)
        box.write(f"/etc/systemd/system/{OTHER}", SLEEPER)
        box.run("systemctl", "daemon-reload")
        box.run("systemctl", "start", ENGINE, OTHER)
        yield box


def test_the_unit_exposes_little() -> None:
    """What a mistake in the daemon, or in a library of it, can reach is bounded: at most 1.5 of 10."""
    analyze = shutil.which("systemd-analyze")
    assert analyze
    done = subprocess.run(
        [analyze, "security", "--offline=true", "--threshold=15", "--no-pager", str(UNIT)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-500:] + done.stderr


def test_systemd_finds_nothing_to_say_about_the_unit(machine: Box) -> None:
    """An unknown or misspelt directive is only a warning in a journal nobody reads: here it fails."""
    done = machine.run("systemd-analyze", "verify", "quantum-clm.service", check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


@pytest.mark.parametrize("verb", ["restart", "reset-failed"])
def test_l13_qt_may_restart_the_engine(machine: Box, verb: str) -> None:
    """A promotion needs these two verbs on this one unit."""
    before = machine.show(ENGINE, "InvocationID")
    machine.as_user("qt", "systemctl", "--no-ask-password", verb, ENGINE)
    assert (machine.show(ENGINE, "InvocationID") != before) == (verb == "restart")


@pytest.mark.parametrize(
    "arguments",
    [
        *[(verb, ENGINE) for verb in ("stop", "start", "kill", "reload-or-restart", "freeze", "clean")],
        ("set-property", ENGINE, "Nice=0"),
        *[(verb, OTHER) for verb in ("restart", "reset-failed", "stop")],
        ("restart", "quantum-clm.service"),
        ("daemon-reload",),
        ("set-environment", "LD_PRELOAD=/tmp/x.so"),
        ("enable", ENGINE),
        ("mask", ENGINE),
        ("reboot",),
    ],
    ids=" ".join,
)
def test_l13_qt_may_do_nothing_else(machine: Box, arguments: tuple[str, ...]) -> None:
    """Each cell beside the two granted ones is refused; root may, so the refusal is the rule's."""
    before = [machine.show(unit, "InvocationID") for unit in (ENGINE, OTHER)]
    done = machine.as_user("qt", "systemctl", "--no-ask-password", *arguments, check=False)
    assert done.returncode != 0
    assert "auth" in done.stderr.lower() or "denied" in done.stderr.lower(), done.stderr
    assert [machine.show(unit, "InvocationID") for unit in (ENGINE, OTHER)] == before


def test_another_user_may_not_restart_the_engine(machine: Box) -> None:
    """The rule names qt; being no root is not enough."""
    before = machine.show(ENGINE, "InvocationID")
    done = machine.as_user("daemon", "systemctl", "--no-ask-password", "restart", ENGINE, check=False)
    assert "auth" in done.stderr.lower(), done.stderr
    assert machine.show(ENGINE, "InvocationID") == before


def test_qt_may_replace_the_engines_environment_and_no_neighbours(machine: Box) -> None:
    """A rename needs the directory: qt has ai-engine.d, never /etc/quantum itself."""
    replace = (
        "echo A=1 >/etc/quantum/ai-engine.d/x && mv /etc/quantum/ai-engine.d/x /etc/quantum/ai-engine.d/y"
    )
    machine.as_user("qt", "sh", "-c", f"{replace} && rm /etc/quantum/ai-engine.d/y")
    for path in ("/etc/quantum/new.env", "/etc/quantum/clm.env"):
        assert machine.as_user("qt", "sh", "-c", f"echo >>{path}", check=False).returncode != 0
