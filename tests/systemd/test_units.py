"""The unit files, and what qt may ask of systemd and of the helper, on the systemd of this machine."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.systemd.boxes import PROJECT, Box, booted, require_service_python
from tests.systemd.conftest import install_service

UNITS = [PROJECT / "deploy/systemd" / f"quantum-clm{suffix}.service" for suffix in ("", "-switch@")]
SOCKET_UNIT = "quantum-clm-switch.socket"
SOCKET = "/run/quantum-clm-switch.sock"
CAPABILITIES = f"{1 << 0 | 1 << 1 | 1 << 3:016x}"
"""CAP_CHOWN, CAP_DAC_OVERRIDE, CAP_FOWNER."""
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
        box.run("systemctl", "daemon-reload")
        box.run("systemctl", "start", ENGINE, OTHER, SOCKET_UNIT)
        yield box


@pytest.mark.parametrize("unit", UNITS, ids=lambda path: path.name)
def test_the_units_expose_little(unit: Path) -> None:
    """What a mistake in a program, or in a library of it, can reach is bounded: at most 1.3 of 10."""
    analyze = shutil.which("systemd-analyze")
    assert analyze
    done = subprocess.run(
        [analyze, "security", "--offline=true", "--threshold=13", "--no-pager", str(unit)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-500:] + done.stderr


@pytest.mark.parametrize("unit", ["quantum-clm.service", SOCKET_UNIT, "quantum-clm-switch@1.service"])
def test_systemd_finds_nothing_to_say_about_the_units(machine: Box, unit: str) -> None:
    """An unknown or misspelt directive is only a warning in the journal: here it fails."""
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


def ask(box: Box, line: str, user: str = "qt") -> str:
    """Return what the helper answers this user over its socket, or why it could not be asked."""
    script = (
        "import socket, sys\n"
        "s = socket.socket(socket.AF_UNIX); s.settimeout(20)\n"
        f"s.connect({SOCKET!r}); s.sendall(sys.argv[1].encode() + b'\\n')\n"
        "print(s.makefile().read())"
    )
    done = box.as_user(user, "/usr/bin/python3", "-c", script, line, check=False)
    return done.stdout.strip() or done.stderr.strip().splitlines()[-1]


CHECK = '{"action": "check", "name": "none", "expected": null, "sha256": ""}'


@pytest.mark.parametrize(
    "arguments",
    [
        *[(verb, ENGINE) for verb in ("stop", "start", "restart", "reset-failed", "kill", "clean")],
        ("set-property", ENGINE, "Nice=0"),
        *[(verb, OTHER) for verb in ("restart", "reset-failed", "stop")],
        *[(verb, SOCKET_UNIT) for verb in ("restart", "stop", "start")],
        ("start", "quantum-clm-switch@1.service"),
        ("restart", "quantum-clm.service"),
        ("daemon-reload",),
        ("set-environment", "LD_PRELOAD=/tmp/x.so"),
        ("--job-mode=flush", "start", ENGINE),
        ("enable", ENGINE),
        ("mask", ENGINE),
        ("reboot",),
    ],
    ids=" ".join,
)
def test_l13_qt_may_ask_systemd_for_nothing(machine: Box, arguments: tuple[str, ...]) -> None:
    """No rule of polkit's is needed any more, so none can be too wide; root may, so the refusal is qt's."""
    before = [machine.show(unit, "InvocationID") for unit in (ENGINE, OTHER)]
    done = machine.as_user("qt", "systemctl", "--no-ask-password", *arguments, check=False)
    assert done.returncode != 0
    assert [machine.show(unit, "InvocationID") for unit in (ENGINE, OTHER)] == before


def test_l13_qt_asks_the_helper_and_no_other_user_does(machine: Box) -> None:
    """The mode of the socket, and the helper itself where qt opens that mode."""
    assert machine.stat(SOCKET) == "qt:qt 600"
    assert '"code": ""' in ask(machine, CHECK)
    assert "PermissionError" in ask(machine, CHECK, "daemon")
    machine.as_user("qt", "chmod", "0666", SOCKET)
    try:
        assert "SWITCH_REFUSED" in ask(machine, CHECK, "daemon")
        assert "is not allowed" in ask(machine, CHECK, "daemon")
    finally:
        machine.run("chmod", "0600", SOCKET)


def test_l13_a_request_that_never_ends_is_bounded_and_blocks_no_other(machine: Box) -> None:
    """A helper that waits for its line holds no lock, and gives up after seconds."""
    hold = f"import socket, time; s = socket.socket(socket.AF_UNIX); s.connect({SOCKET!r}); time.sleep(30)"
    machine.run(
        *("systemd-run", "--quiet", "--no-block", "--uid=qt", "--unit=holder"),
        *("/usr/bin/python3", "-c", hold),
    )
    machine.wait_for(lambda: machine.show(SOCKET_UNIT, "NConnections") == "1", "the silent connection", 10)
    assert '"code": ""' in ask(machine, CHECK)
    assert '"code": ""' not in ask(machine, "x" * 100_000)
    assert "SWITCH_REQUEST" in machine.out("journalctl", "-u", "quantum-clm-switch@*", "-o", "cat")
    machine.wait_for(lambda: machine.show(SOCKET_UNIT, "NConnections") == "0", "the helper to give up", 15)
    machine.run("systemctl", "stop", "holder")


def test_l13_a_storm_of_requests_disables_nothing(machine: Box) -> None:
    """A limit on triggers would leave the socket failed until someone resets it."""
    script = (
        "import socket\n"
        "for _ in range(400):\n"
        f"    s = socket.socket(socket.AF_UNIX); s.connect({SOCKET!r}); s.close()\n"
    )
    machine.as_user("qt", "/usr/bin/python3", "-c", script)
    machine.wait_for(lambda: machine.show(SOCKET_UNIT, "NConnections") == "0", "the storm to pass", 60)
    assert machine.show(SOCKET_UNIT, "ActiveState") == "active"
    assert '"code": ""' in ask(machine, CHECK)


def test_l11_l13_qt_writes_nothing_that_root_executes_or_believes(machine: Box) -> None:
    """Neither the engine's environment nor a neighbour's, nor the code, nor what the helper keeps."""
    paths = ("/etc/quantum/ai-engine.env", "/etc/quantum/new.env", "/etc/quantum/clm.env")
    ours = (
        "/usr/lib/quantum-clm/x",
        "/usr/lib/quantum-clm/switch/__main__.py",
        "/usr/lib/quantum-clm/venv/x",
    )
    for path in (*paths, *ours, "/var/lib/quantum-clm-switch/found/none.json"):
        assert machine.as_user("qt", "sh", "-c", f"echo >>{path}", check=False).returncode != 0, path
    assert machine.stat("/var/lib/quantum-clm-switch") == "root:root 700"


def test_l12_the_helper_reaches_nothing_but_its_files(machine: Box) -> None:
    """Seen from within its sandbox: no network, no home, a read-only system, three capabilities."""
    probe = (
        "import os, socket, pathlib\n"
        "for path in ('/etc/x', '/opt/x', '/var/lib/x', '/usr/x', '/root/x', '/opt/quantum/data/x'):\n"
        "    try: pathlib.Path(path).touch(); print('wrote', path)\n"
        "    except OSError: pass\n"
        "for path in ('/etc/quantum/.probe', '/opt/quantum/ai_engine/models/.probe'):\n"
        "    pathlib.Path(path).touch(); pathlib.Path(path).unlink()\n"
        "for family in (socket.AF_INET, socket.AF_INET6, socket.AF_NETLINK):\n"
        "    try: socket.socket(family); print('opened', family)\n"
        "    except OSError: pass\n"
        "print(pathlib.Path('/proc/self/status').read_text().split('CapBnd:')[1].split()[0])\n"
        "print(len(os.listdir('/sys/class/net')), 'interface')\n"
    )
    machine.write("/usr/local/lib/probe.py", probe)
    drop_in, seen = "/etc/systemd/system/quantum-clm-switch@.service.d", "/var/lib/quantum-clm-switch/probe"
    start = "ExecStart=\nExecStart=/usr/bin/python3 /usr/local/lib/probe.py\n"
    machine.write(f"{drop_in}/probe.conf", f"[Service]\n{start}StandardOutput=file:{seen}\n")
    machine.run("systemctl", "daemon-reload")
    try:
        ask(machine, CHECK)
        machine.wait_for(lambda: machine.exists(seen) and "interface" in machine.read(seen), "the probe", 15)
    finally:
        machine.run("rm", "-r", drop_in)
        machine.run("systemctl", "daemon-reload")
    assert machine.read(seen).split() == [CAPABILITIES, "1", "interface"]
