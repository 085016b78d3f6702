"""Installing is safe to repeat, keeps what an operator wrote, and can be undone."""

import subprocess
from pathlib import Path

import pytest

from tests.switch.test_requests import helper_files
from tests.systemd.boxes import PROJECT, SOURCE, VENV, Box
from tests.systemd.conftest import ENGINE_ENV, give_service_venv

INSTALL = f"{SOURCE}/deploy/install.sh"
UNINSTALL = f"{SOURCE}/deploy/uninstall.sh"
SETTINGS = "/etc/quantum/clm.env"
UNIT = "/etc/systemd/system/quantum-clm.service"
ENGINE_UNIT = "/etc/systemd/system/quantum-ai-engine.service"

pytestmark = pytest.mark.needs_systemd_ns


def everything(box: Box) -> str:
    """Return name, owner, mode, target and content hash of all that an installation may touch."""
    where = (
        "/etc/quantum /etc/systemd/system /etc/sysusers.d /etc/tmpfiles.d /etc/polkit-1 /usr/lib/quantum-clm"
    )
    listing = box.out("sh", "-c", f"find {where} -printf '%p %u:%g %m %l\\n' | sort")
    return listing + box.out("sh", "-c", f"find {where} -type f | sort | xargs sha256sum")


def give_next_version(box: Box) -> None:
    """Put a source tree at /usr/src/next whose settings have one more."""
    box.run(
        "sh",
        "-c",
        f"mkdir /usr/src/next && cd {SOURCE} && cp -r deploy etc clm Makefile /usr/src/next/",
    )
    box.run("sh", "-c", "echo '#CLM_NEW=1' >>/usr/src/next/etc/quantum/clm.env")


def give_next_program(box: Box, number: int) -> None:
    """Put at /usr/src/next a program of another content, whose virtual environment takes no time to make."""
    box.write("/usr/src/next/clm/number.py", f"NUMBER = {number}\n")
    box.run("sh", "-c", f"cp {SOURCE}/pyproject.toml {SOURCE}/constraints.txt /usr/src/next/")
    making = f"""\
#!/bin/sh -e
mkdir -p "$1/bin" "$1/lib/python3/site-packages/clm"
: >"$1/lib/python3/site-packages/clm/__init__.py"
for name in python clm; do
  printf '#!/bin/sh\\nexec {VENV}/bin/%s "$@"\\n' $name >"$1/bin/$name"
  chmod +x "$1/bin/$name"
done
"""
    box.write("/usr/src/next/deploy/venv.sh", making, mode="0755")


def test_a_second_installation_changes_nothing(installed: Box) -> None:
    """An operator who is not sure whether it went through runs it again."""
    before = everything(installed)
    done = installed.run(INSTALL, "--venv", VENV)
    assert everything(installed) == before
    assert not installed.exists(f"{SETTINGS}.new")
    assert "->" not in done.stdout


def test_installed_files_have_the_owners_they_need(installed: Box) -> None:
    """Settings are root's and read by qt; code is root's; the engine's environment stays as it was."""
    assert installed.stat(SETTINGS) == "root:qt 640"
    assert installed.stat("/etc/quantum") == "root:root 755"
    assert installed.stat("/etc/quantum/ai-engine.env") == "root:qt 640"
    assert installed.read("/etc/quantum/ai-engine.env") == ENGINE_ENV
    assert installed.stat("/var/lib/quantum-clm") == "qt:qt 750"
    assert installed.stat("/usr/lib/quantum-clm/switch/__main__.py") == "root:root 644"
    assert not installed.exists("/etc/polkit-1/rules.d/50-quantum-clm.rules")


def test_edited_settings_are_kept_and_the_new_ones_lie_beside_them(box: Box) -> None:
    """An upgrade keeps every setting, and new settings are visible."""
    give_next_version(box)
    box.run(INSTALL, "--no-venv")
    box.run("sh", "-c", f"echo CLM_TRAINING__EPOCHS=3 >>{SETTINGS}")
    edited = box.read(SETTINGS)

    box.run(INSTALL, "--no-venv")
    assert not box.exists(f"{SETTINGS}.new"), "this version's settings are known to the operator already"

    done = box.run("/usr/src/next/deploy/install.sh", "--no-venv")
    assert box.read(SETTINGS) == edited
    assert box.read(f"{SETTINGS}.new").endswith("#CLM_NEW=1\n")
    assert "clm.env.new" in done.stdout
    assert box.stat(f"{SETTINGS}.new") == "root:qt 640"


def test_settings_that_nobody_edited_follow_the_version(box: Box) -> None:
    """Where there is nothing to lose there is nothing to merge by hand."""
    give_next_version(box)
    box.run(INSTALL, "--no-venv")
    box.run("/usr/src/next/deploy/install.sh", "--no-venv")
    assert box.read(SETTINGS).endswith("#CLM_NEW=1\n")
    assert not box.exists(f"{SETTINGS}.new")


def test_a_unit_that_stood_there_before_is_kept_and_comes_back(box: Box) -> None:
    """The server has a unit of this name already; an uninstallation leaves the machine as it was."""
    box.write(UNIT, "[Service]\nExecStart=/bin/true\n")
    box.run(INSTALL, "--no-venv")
    assert "Type=notify" in box.read(UNIT)
    box.run(INSTALL, "--no-venv")
    box.run(UNINSTALL)
    assert box.read(UNIT) == "[Service]\nExecStart=/bin/true\n"


def test_uninstalling_takes_back_what_was_put_and_keeps_what_is_the_operators(installed: Box) -> None:
    """The engine's environment is not touched; edited settings and runs stay."""
    installed.run("sh", "-c", f"echo CLM_TRAINING__EPOCHS=3 >>{SETTINGS}; touch /var/lib/quantum-clm/run")
    installed.run(UNINSTALL)
    assert not installed.exists(UNIT)
    assert not installed.exists("/usr/lib/quantum-clm")
    assert installed.read("/etc/quantum/ai-engine.env") == ENGINE_ENV
    assert installed.read(SETTINGS).endswith("CLM_TRAINING__EPOCHS=3\n")
    assert installed.exists("/var/lib/quantum-clm/run")
    installed.run(UNINSTALL, "--purge")
    assert not installed.exists(SETTINGS)
    assert not installed.exists("/var/lib/quantum-clm")


def test_an_environment_file_that_qt_cannot_read_is_named_and_left_alone(box: Box) -> None:
    """It holds secrets: the installer says what to do, and does not do it."""
    box.write("/etc/quantum/ai-engine.env", ENGINE_ENV, mode="0640")
    done = box.run(INSTALL, "--no-venv")
    assert box.stat("/etc/quantum/ai-engine.env") == "root:root 640"
    assert "chgrp qt" in done.stdout
    before = everything(box)
    box.run(INSTALL, "--no-venv")
    assert everything(box) == before


def test_an_environment_that_others_may_write_is_refused(box: Box) -> None:
    """Root runs the command line from it: any user who can change a file there would become root."""
    give_service_venv(box)
    package = box.out("sh", "-c", f"echo {VENV}/lib/python3*/site-packages/clm")
    box.run("systemd-sysusers", f"{SOURCE}/deploy/systemd/quantum-clm.sysusers.conf")
    box.run("chown", "qt", f"{package}/switch/helper.py")
    done = box.run(INSTALL, "--venv", VENV, check=False)
    assert done.returncode == 78
    assert "clm/switch/helper.py" in done.stderr
    assert "can be written by other users than root" in done.stderr


@pytest.mark.parametrize("home", ["/root", "/home/qt", "/tmp"])
def test_a_virtual_environment_in_a_home_is_refused(box: Box, home: str) -> None:
    """ProtectHome= and PrivateTmp= would hide it: the service would fail with a riddle."""
    give_service_venv(box)
    box.run("sh", "-c", f"mkdir -p {home} && ln -s {VENV} {home}/link")
    box.run(INSTALL, "--venv", f"{home}/link")  # a link is judged by where it leads
    box.run("sh", "-c", f"mkdir -p {home}/v/bin && ln -s {VENV}/bin/python {VENV}/bin/clm {home}/v/bin/")
    done = box.run(INSTALL, "--venv", f"{home}/v", check=False)
    assert done.returncode == 78
    assert f"lies at {home}/v" in done.stderr
    assert box.out("readlink", "-f", "/usr/lib/quantum-clm/venv") == VENV


def test_a_virtual_environment_whose_python_lies_in_a_home_is_refused(box: Box) -> None:
    """The venv itself may lie well and still run a Python under /root."""
    box.run(
        "sh", "-c", "mkdir -p /root/bin /opt/v/bin && cp /bin/true /root/bin/python3 && touch /opt/v/bin/clm"
    )
    box.run("sh", "-c", "chmod +x /opt/v/bin/clm && ln -s /root/bin/python3 /opt/v/bin/python")
    done = box.run(INSTALL, "--venv", "/opt/v", check=False)
    assert done.returncode == 78
    assert "its Python lies at /root/bin/python3" in done.stderr


def test_destdir_takes_all_files_and_touches_nothing_else(tmp_path: Path) -> None:
    """A package is made by a build that must not change its own machine, twice with the same result."""
    for _ in range(2):
        done = subprocess.run(
            [str(PROJECT / "deploy/install.sh")],
            env={"PATH": "/usr/bin:/bin", "DESTDIR": str(tmp_path)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
    files = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert files == {
        "etc/systemd/system/quantum-clm.service",
        "etc/systemd/system/quantum-clm-switch.socket",
        "etc/systemd/system/quantum-clm-switch@.service",
        "etc/sysusers.d/quantum-clm.conf",
        "etc/tmpfiles.d/quantum-clm.conf",
        "etc/quantum/clm.env",
        "usr/lib/quantum-clm/clm.env.shipped",
        *(f"usr/lib/quantum-clm/switch/{target}" for _, target in helper_files()),
    }
    subprocess.run(
        [str(PROJECT / "deploy/uninstall.sh")],
        env={"PATH": "/usr/bin:/bin", "DESTDIR": str(tmp_path)},
        check=True,
        capture_output=True,
    )
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_a_reinstallation_restarts_nothing_that_runs(installed: Box) -> None:
    """The engine is not ours to restart: an installation leaves it alone."""
    installed.write(ENGINE_UNIT, "[Service]\nUser=qt\nExecStart=/bin/sleep infinity\n")
    installed.run("systemctl", "daemon-reload")
    installed.run("systemctl", "start", "quantum-ai-engine.service")
    before = installed.show("quantum-ai-engine.service", "InvocationID")
    installed.run(INSTALL, "--venv", VENV)
    assert installed.show("quantum-ai-engine.service", "InvocationID") == before


def test_an_upgrade_moves_one_link_and_a_broken_one_moves_nothing(box: Box) -> None:
    """The active version is always whole: the next is made next to it, then a link is renamed."""
    install, link = "/usr/src/next/deploy/install.sh", "/usr/lib/quantum-clm/venv"
    give_service_venv(box)
    give_next_version(box)
    give_next_program(box, 1)
    box.run(install)
    first = box.out("readlink", link)
    assert first.startswith("/usr/lib/quantum-clm/venvs/")

    give_next_program(box, 2)
    box.write("/usr/src/next/deploy/venv.sh", "#!/bin/sh\nmkdir -p $1/bin; exit 1\n", mode="0755")
    assert box.run(install, check=False).returncode != 0
    assert box.out("readlink", link) == first

    give_next_program(box, 2)
    box.run(install)
    second = box.out("readlink", link)
    assert second != first
    assert not box.exists(first), "the one before it is no longer needed, and the disk is small"
    assert "clm, version" in box.as_user("qt", f"{link}/bin/clm", "--version").stdout
