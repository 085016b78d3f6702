"""The unit file and the rights that come with it, held against the systemd and polkit of this machine."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.systemd.boxes import PROJECT, SOURCE, Box, booted, require_service_python
from tests.systemd.conftest import install_service

UNITS = [PROJECT / "deploy/systemd" / f"quantum-clm{suffix}.service" for suffix in ("", "-switch@")]
HELPER = "quantum-clm-switch@{}.service"
BUSY_HELPER = HELPER.format("none")
VERSION = "patchtst_v20260301_120000"
CAPABILITIES = f"{1 << 0 | 1 << 2 | 1 << 3:016x}"
"""CAP_CHOWN, CAP_DAC_READ_SEARCH, CAP_FOWNER."""
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
        box.write("/etc/systemd/system/other@.service", SLEEPER)
        # A helper at work, so that there is something to stop or kill.
        awake = "[Service]\nType=exec\nExecStart=\nExecStart=/bin/sleep infinity\n"
        box.write(f"/etc/systemd/system/{BUSY_HELPER}.d/awake.conf", awake)
        box.run("systemctl", "daemon-reload")
        box.run("systemctl", "start", ENGINE, OTHER, BUSY_HELPER)
        yield box


@pytest.fixture(scope="module")
def direct_machine(machine: Box) -> Box:
    """Return the machine once the direct switch was chosen; no test behind this one asks for the helper's."""
    machine.run(f"{SOURCE}/deploy/install.sh", "--no-venv", "--direct-switch")
    return machine


@pytest.mark.parametrize("unit", UNITS, ids=lambda path: path.name)
def test_the_units_expose_little(unit: Path) -> None:
    """What a mistake in a program, or in a library of it, can reach is bounded: at most 1.5 of 10."""
    analyze = shutil.which("systemd-analyze")
    assert analyze
    done = subprocess.run(
        [analyze, "security", "--offline=true", "--threshold=15", "--no-pager", str(unit)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-500:] + done.stderr


@pytest.mark.parametrize("unit", ["quantum-clm.service", "quantum-clm-switch@check.service"])
def test_systemd_finds_nothing_to_say_about_the_units(machine: Box, unit: str) -> None:
    """An unknown or misspelt directive is only a warning in a journal nobody reads: here it fails."""
    done = machine.run("systemd-analyze", "verify", unit, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


@pytest.mark.parametrize("name", ["gpu", "journal", "other-user"])
def test_the_examples_of_drop_ins_are_understood_and_expose_no_more(machine: Box, name: str) -> None:
    """Copied as they are; each opens one thing and keeps the unit below 1.5."""
    text = (PROJECT / f"deploy/systemd/examples/{name}.conf").read_text()
    machine.write(f"/etc/systemd/system/quantum-clm.service.d/{name}.conf", text)
    verify = machine.run("systemd-analyze", "verify", "quantum-clm.service", check=False)
    secure = ("systemd-analyze", "security", "--offline=true", "--threshold=15", "--no-pager")
    exposed = machine.run(*secure, "quantum-clm.service", check=False)
    machine.run("rm", "-r", "/etc/systemd/system/quantum-clm.service.d")
    assert (verify.returncode, verify.stdout + verify.stderr) == (0, "")
    assert exposed.returncode == 0, exposed.stdout[-300:]


def test_the_engines_own_drop_in_is_understood(machine: Box) -> None:
    """Advice for a unit that is not ours."""
    text = (PROJECT / "deploy/systemd/examples/quantum-ai-engine.conf").read_text()
    machine.write(f"/etc/systemd/system/{ENGINE}.d/quantum-clm.conf", text)
    done = machine.run("systemd-analyze", "verify", ENGINE, check=False)
    machine.run("rm", "-r", f"/etc/systemd/system/{ENGINE}.d")
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def refused(box: Box, *arguments: str) -> None:
    """Hold that qt may not do this, and that nothing was done."""
    before = [box.show(unit, "InvocationID") for unit in (ENGINE, OTHER, BUSY_HELPER)]
    done = box.as_user("qt", "systemctl", "--no-ask-password", *arguments, check=False)
    assert done.returncode != 0
    assert "auth" in done.stderr.lower() or "denied" in done.stderr.lower(), done.stderr
    assert [box.show(unit, "InvocationID") for unit in (ENGINE, OTHER, BUSY_HELPER)] == before


NOBODYS = [
    *[(verb, ENGINE) for verb in ("stop", "start", "kill", "reload-or-restart", "freeze", "clean")],
    ("set-property", ENGINE, "Nice=0"),
    *[(verb, OTHER) for verb in ("restart", "reset-failed", "stop")],
    ("restart", "quantum-clm.service"),
    ("daemon-reload",),
    ("set-environment", "LD_PRELOAD=/tmp/x.so"),
    ("enable", ENGINE),
    ("mask", ENGINE),
    ("reboot",),
]
"""Cells of verbs and units that neither switch needs."""


def test_l13_qt_may_start_the_helper(machine: Box) -> None:
    """By a name of a target; what it then does is the helper's to decide. Without an order: nothing."""
    machine.as_user("qt", "systemctl", "--no-ask-password", "start", HELPER.format("check"))
    done = machine.as_user(
        "qt", "systemctl", "--no-ask-password", "start", HELPER.format(VERSION), check=False
    )
    assert "auth" not in done.stderr.lower(), done.stderr
    assert any("SWITCH_REFUSED" in line for line in machine.journal(HELPER.format(VERSION)))


@pytest.mark.parametrize(
    "arguments",
    [
        *NOBODYS,
        *[(verb, ENGINE) for verb in ("restart", "reset-failed")],
        *[(verb, BUSY_HELPER) for verb in ("restart", "stop", "reset-failed", "kill", "enable")],
        *[("start", HELPER.format(name)) for name in ("x", "check2", "other-1", f"{VERSION}.pth", "..")],
        ("start", "other@check.service"),
        ("set-property", HELPER.format("check"), "CPUWeight=1"),
    ],
    ids=" ".join,
)
def test_l13_with_the_helper_qt_may_do_nothing_else(machine: Box, arguments: tuple[str, ...]) -> None:
    """Each cell beside the granted one is refused; root may, so the refusal is the rule's."""
    refused(machine, *arguments)


def test_l13_another_user_may_not_start_the_helper(machine: Box) -> None:
    """The rule names qt; being no root is not enough."""
    start = ("systemctl", "--no-ask-password", "start", HELPER.format("check"))
    done = machine.as_user("daemon", *start, check=False)
    assert "auth" in done.stderr.lower(), done.stderr


def test_l13_with_the_helper_qt_writes_nothing_in_the_settings_directory(machine: Box) -> None:
    """Neither the engine's environment nor a neighbour's, nor what the helper keeps for itself."""
    paths = ("/etc/quantum/ai-engine.env", "/etc/quantum/new.env", "/etc/quantum/clm.env")
    for path in (*paths, "/var/lib/quantum-clm-switch/report.json"):
        assert machine.as_user("qt", "sh", "-c", f"echo >>{path}", check=False).returncode != 0


def test_l11_the_helpers_reports_are_for_qt_alone(machine: Box) -> None:
    """They say where models lie, which is nobody else's business."""
    machine.run("systemctl", "start", HELPER.format("check"))
    assert machine.stat("/var/lib/quantum-clm-switch") == "root:qt 750"
    assert machine.stat("/var/lib/quantum-clm-switch/check.json") == "root:qt 640"


def test_l12_the_helper_reaches_nothing_but_its_files(machine: Box) -> None:
    """Seen from within its sandbox: no network, no home, a read-only system, three capabilities."""
    probe = (
        "import os, socket, pathlib\n"
        "for path in ('/etc/x', '/opt/x', '/var/lib/x', '/usr/x', '/root/x'):\n"
        "    try: pathlib.Path(path).touch(); print('wrote', path)\n"
        "    except OSError: pass\n"
        "pathlib.Path('/etc/quantum/.probe').touch(); pathlib.Path('/etc/quantum/.probe').unlink()\n"
        "for family in (socket.AF_INET, socket.AF_INET6, socket.AF_NETLINK):\n"
        "    try: socket.socket(family); print('opened', family)\n"
        "    except OSError: pass\n"
        "print(pathlib.Path('/proc/self/status').read_text().split('CapBnd:')[1].split()[0])\n"
        "print(len(os.listdir('/sys/class/net')), 'interface')\n"
    )
    machine.write("/usr/local/lib/probe.py", probe)
    unit, told = HELPER.format("other-0123456789ab"), "/var/lib/quantum-clm-switch/probe"
    start = "ExecStart=\nExecStart=/usr/bin/python3 /usr/local/lib/probe.py\n"
    drop_in = f"[Service]\n{start}StandardOutput=file:{told}\n"
    machine.write(f"/etc/systemd/system/{unit}.d/probe.conf", drop_in)
    machine.run("systemctl", "daemon-reload")
    machine.run("systemctl", "start", unit)
    assert machine.read(told).split() == [CAPABILITIES, "1", "interface"]


@pytest.mark.parametrize("verb", ["restart", "reset-failed"])
def test_l13_with_the_direct_switch_qt_may_restart_the_engine(direct_machine: Box, verb: str) -> None:
    """A promotion needs these two verbs on this one unit."""
    before = direct_machine.show(ENGINE, "InvocationID")
    direct_machine.as_user("qt", "systemctl", "--no-ask-password", verb, ENGINE)
    assert (direct_machine.show(ENGINE, "InvocationID") != before) == (verb == "restart")


@pytest.mark.parametrize("arguments", [*NOBODYS, ("start", HELPER.format("check"))], ids=" ".join)
def test_l13_with_the_direct_switch_qt_may_do_nothing_else(
    direct_machine: Box, arguments: tuple[str, ...]
) -> None:
    """Each cell beside the two granted ones is refused; root may, so the refusal is the rule's."""
    refused(direct_machine, *arguments)


def test_another_user_may_not_restart_the_engine(direct_machine: Box) -> None:
    """The rule names qt; being no root is not enough."""
    before = direct_machine.show(ENGINE, "InvocationID")
    restart = ("systemctl", "--no-ask-password", "restart", ENGINE)
    done = direct_machine.as_user("daemon", *restart, check=False)
    assert "auth" in done.stderr.lower(), done.stderr
    assert direct_machine.show(ENGINE, "InvocationID") == before


def test_with_the_direct_switch_qt_replaces_the_engines_environment_and_no_neighbours(
    direct_machine: Box,
) -> None:
    """A rename needs the directory: qt has ai-engine.d, never /etc/quantum itself."""
    replace = (
        "echo A=1 >/etc/quantum/ai-engine.d/x && mv /etc/quantum/ai-engine.d/x /etc/quantum/ai-engine.d/y"
    )
    direct_machine.as_user("qt", "sh", "-c", f"{replace} && rm /etc/quantum/ai-engine.d/y")
    for path in ("/etc/quantum/new.env", "/etc/quantum/clm.env"):
        assert direct_machine.as_user("qt", "sh", "-c", f"echo >>{path}", check=False).returncode != 0
