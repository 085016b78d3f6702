"""User qt attacks an installed server: no way leads to root, or to a model that was not verified.

Each attack is a script that runs as qt on a machine whose /opt/quantum belongs to qt, as it may in the field.
"""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.systemd.boxes import SOURCE, VENV, Box, booted, require_service_python
from tests.systemd.conftest import ENGINE_ENV, give_service_venv, install_service
from tests.systemd.servers import ENGINE, ENGINE_ENV_FILE, FIRST_MODEL, MODELS, SETTINGS
from tests.systemd.switching import named, new_version, path_of, promote, served, switching_server

INSTALL = f"{SOURCE}/deploy/install.sh"
SOCKET = "/run/quantum-clm-switch.sock"
ARTEFACTS = "/var/lib/quantum-clm/artefacts"

pytestmark = pytest.mark.needs_systemd_ns


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Box]:
    """Yield one server for all attacks; /opt/quantum and all that is in it belongs to qt."""
    with switching_server(tmp_path_factory.mktemp("store")) as box:
        box.run("chown", "-hR", "qt:qt", "/opt/quantum")
        yield box


@pytest.fixture
def box(machine: Box) -> Box:
    """Return the server on a champion that serves."""
    machine.wait_for(lambda: served(machine) == named(machine), "the champion to serve")
    return machine


def as_qt(box: Box, script: str) -> str:
    """Run a shell script as qt and return what it printed, errors included."""
    done = box.as_user("qt", "bash", "-c", f"cd /tmp; {script}", check=False)
    return done.stdout + done.stderr


def ask(box: Box, **request: object) -> dict[str, str]:
    """Return what the helper answers qt."""
    line = json.dumps({"action": "check", "name": "none", "expected": None, "sha256": "", **request})
    script = (
        "import socket, sys; s = socket.socket(socket.AF_UNIX); s.settimeout(60)\n"
        f"s.connect({SOCKET!r}); s.sendall(sys.argv[1].encode() + b'\\n'); print(s.makefile().read())"
    )
    return json.loads(box.as_user("qt", "/usr/bin/python3", "-c", script, line).stdout)


def register(box: Box, version: str, content: str) -> str:
    """Let qt put a file into the registry, as the daemon does, and return its hash."""
    directory = f"{ARTEFACTS}/{version}"
    as_qt(box, f"mkdir -p {directory} && printf %s '{content}' >{directory}/model.pth")
    return hashlib.sha256(content.encode()).hexdigest()


def test_l1_what_root_executes_lies_where_qt_can_change_nothing(box: Box) -> None:
    """With /opt/quantum, qt could rename our directory and put an interpreter of its own in its place."""
    units = box.out("systemctl", "cat", "quantum-clm.service", "quantum-clm-switch@.service")
    assert not [line for line in units.splitlines() if line.startswith("Exec") and "/opt/" in line]
    box.run(
        "/usr/bin/python3", "-I", "-S", f"{SOURCE}/clm/switch/trust.py", "--below", "/usr/lib/quantum-clm"
    )
    home = "/usr/lib/quantum-clm"
    for path in (home, f"{home}/switch", f"{home}/venv", f"{home}/switch/clm/switch/helper.py"):
        assert "ermission denied" in as_qt(box, f"mv {path} {path}.x")
    as_qt(box, "mkdir -p /opt/quantum/clm/venv/bin; cp /bin/true /opt/quantum/clm/venv/bin/python")
    assert ask(box)["code"] == "", "the helper is not what qt put there"
    as_qt(box, "rm -r /opt/quantum/clm")


def test_l1_a_helper_whose_code_someone_could_change_refuses_to_run(box: Box) -> None:
    """An operator may loosen a mode by mistake; the helper looks at every directory on its way."""
    file = "/usr/lib/quantum-clm/switch/clm/errors.py"
    box.run("chmod", "o+w", file)
    try:
        script = f"import socket; s = socket.socket(socket.AF_UNIX); s.connect({SOCKET!r}); print(s.recv(99))"
        assert "b''" in as_qt(box, f'/usr/bin/python3 -c "{script}"')
        assert "SWITCH_UNTRUSTED" in box.out("journalctl", "-u", "quantum-clm-switch@*", "-o", "cat")
    finally:
        box.run("chmod", "o-w", file)


def test_l3_links_of_qts_lead_the_helper_to_nothing_and_reveal_nothing(box: Box) -> None:
    """Answers and journal are the same whether a guess about root's file is right or wrong."""
    box.write("/root/secret", "the secret\n", mode="0600")
    right, wrong = (hashlib.sha256(text).hexdigest() for text in (b"the secret\n", b"a guess\n"))
    version = new_version()
    answers = []
    for plant in (
        f"mkdir -p {ARTEFACTS}/{version}; ln -sfn /root/secret {ARTEFACTS}/{version}/model.pth",
        f"rm -r {ARTEFACTS}/{version}; ln -sfn /root {ARTEFACTS}/{version}; ln -sfn secret /tmp/model.pth",
        f"rm {ARTEFACTS}/{version}; ln -sfn /root/secret {MODELS}/{version}.pth",
    ):
        as_qt(box, plant)
        pair = [ask(box, action="install", name=version, sha256=sha256) for sha256 in (right, wrong)]
        assert pair[0] == pair[1]
        assert pair[0]["code"] == "SWITCH_REFUSED"
        answers += pair
    as_qt(box, f"rm -f {MODELS}/{version}.pth")
    journal = box.out("journalctl", "-u", "quantum-clm-switch@*", "-o", "cat")
    assert right not in json.dumps(answers) + journal
    assert "the secret" not in box.out("sh", "-c", f"cat {MODELS}/*.pth")


def test_l3_a_models_directory_that_qt_replaced_by_a_link_is_refused(box: Box) -> None:
    """Root would otherwise write into whatever directory qt chooses."""
    version = new_version()
    sha256 = register(box, version, "good")
    as_qt(box, f"mv {MODELS} {MODELS}.real && ln -s /etc {MODELS}")
    try:
        assert ask(box, action="install", name=version, sha256=sha256)["code"] == "SWITCH_REFUSED"
        assert ask(box, action="remove", name=version)["code"] == "SWITCH_REFUSED"
        assert not box.exists(f"/etc/{version}.pth")
    finally:
        as_qt(box, f"rm {MODELS} && mv {MODELS}.real {MODELS}")


def test_l5_a_sparse_file_of_terabytes_costs_nothing(box: Box) -> None:
    """Reading one blocked a reboot for minutes; the size is looked at first."""
    version = new_version()
    register(box, version, "good")
    as_qt(
        box,
        f"truncate -s 8T {ARTEFACTS}/{version}/model.pth || truncate -s 8G {ARTEFACTS}/{version}/model.pth",
    )
    answer = ask(box, action="install", name=version, sha256="0" * 64)
    assert answer["code"] == "SWITCH_REFUSED"
    assert "more than" in answer["message"]
    as_qt(box, f"rm {ARTEFACTS}/{version}/model.pth")


def test_l1_an_engine_of_roots_is_not_pointed_to_a_file_of_qts(box: Box) -> None:
    """Whatever root's process loads runs with root's rights; prefixes of ExecStart= count too."""
    version = new_version()
    sha256 = register(box, version, "good")
    drop_in = f"/run/systemd/system/{ENGINE}.d/root.conf"
    command = box.show(ENGINE, "ExecStart").split("argv[]=")[1].split(" ;")[0]
    for text in ("[Service]\nUser=\n", f"[Service]\nExecStart=\nExecStart=+{command}\n"):
        box.write(drop_in, text)
        box.run("systemctl", "daemon-reload")
        try:
            for request in (
                {"action": "check"},
                {"action": "point", "name": version, "expected": FIRST_MODEL},
            ):
                assert ask(box, **request)["code"] == "ENGINE_RUNS_AS_ROOT"
        finally:
            box.run("rm", drop_in)
            box.run("systemctl", "daemon-reload")
    assert ask(box, action="install", name=version, sha256=sha256)["code"] == ""
    assert ask(box, action="remove", name=version)["code"] == ""


def test_l3_a_model_that_is_swapped_after_its_verification_is_not_served(box: Box) -> None:
    """Twelve tries: before the switch, and from the restart on; the champion serves each time."""
    champion, before = named(box), box.read(ENGINE_ENV_FILE)
    for attempt in range(12):
        version = new_version()
        path = path_of(version)
        swap = f"mv -f {path} {path}.mine 2>/dev/null && printf good-evil >{path}"
        delay = f"while [ ! -e {path} ]; do sleep 0.01; done; sleep {0.05 * (attempt % 6)}"
        undo = f"; sleep 0.05; mv -f {path}.mine {path}" if attempt >= 6 else ""
        box.run(
            *("systemd-run", "--quiet", "--no-block", "--uid=qt", f"--unit=swap{attempt}"),
            *("bash", "-c", f"{delay}; {swap}{undo}"),
        )
        outcome = promote(box, version, "good model", stable_s=2)
        content = as_qt(box, f"cat {path} 2>/dev/null")
        if outcome["state"] == "COMMITTED":
            assert attempt >= 6, outcome
            assert content.startswith("good model"), "the swap was undone, and nothing of it remains"
            champion, before = named(box), box.read(ENGINE_ENV_FILE)
        else:
            assert outcome["state"] in {"ROLLED_BACK", "ABORTED"}, outcome
            assert (named(box), box.read(ENGINE_ENV_FILE)) == (champion, before)
        assert served(box) == champion
        as_qt(box, f"rm -f {path}.mine; [ '{champion}' = {path} ] || rm -f {path}")


def test_l5_only_root_switches_the_shadow_mode_off(box: Box) -> None:
    """The daemon's user could otherwise let the engine trade without a person."""
    name = Path(named(box)).stem
    assert ask(box, action="go_live", name=name)["code"] == "SWITCH_REFUSED"
    assert "PATCHTST_SHADOW_ONLY=true" in box.read(ENGINE_ENV_FILE)


def test_l3_with_a_models_directory_of_roots_nothing_can_be_swapped(tmp_path: Path) -> None:
    """`--models-root`: what was verified is what is served, also what the engine opens later."""
    with switching_server(tmp_path) as box:
        box.run(INSTALL, "--venv", VENV, "--models-root")
        assert box.stat(MODELS) == "root:qt 755"
        assert box.stat(FIRST_MODEL) == "root:root 444"
        version = new_version()
        outcome = promote(box, version, "good")
        assert outcome["state"] == "COMMITTED", outcome["reason"]
        path = path_of(version)
        for attack in (f"mv {path} {path}.x", f"rm -f {path}", f"echo x >{path}", f"touch {MODELS}/x"):
            assert "ermission denied" in as_qt(box, attack), attack
        assert "is root's: what was verified" in as_qt(box, "/usr/lib/quantum-clm/venv/bin/clm doctor")


PLANTED = [
    (f"ln -s /etc/shadow {MODELS}/patchtst_v20200101_000000.pth", "not a regular file"),
    (f"mkfifo {MODELS}/.patchtst_v20260101_000000.pth.clm-0-0.tmp", "not a regular file"),
    (f"mkdir {MODELS}/more", "not a regular file"),
]


@pytest.mark.parametrize(("plant", "words"), PLANTED)
def test_l3_nothing_changes_where_the_models_directory_holds_something_odd(
    tmp_path: Path, plant: str, words: str
) -> None:
    """Half a change would leave qt's files in root's directory."""
    with switching_server(tmp_path) as box:
        before = box.stat(MODELS), box.stat(FIRST_MODEL)
        as_qt(box, plant)
        done = box.run(INSTALL, "--venv", VENV, "--models-root", check=False)
        assert (done.returncode, words in done.stderr) == (78, True), done.stderr
        assert (box.stat(MODELS), box.stat(FIRST_MODEL)) == before


def test_l3_every_file_of_the_models_directory_becomes_roots(tmp_path: Path) -> None:
    """Whatever its name: the champion of an operator is not called as ours are."""
    with switching_server(tmp_path) as box:
        as_qt(box, f"echo best >{MODELS}/model_best.pth")
        as_qt(box, f"echo evil >{MODELS}/.patchtst_v20260101_000000.pth.clm-0-0.tmp")
        box.run(INSTALL, "--venv", VENV, "--models-root")
        assert set(box.out("find", MODELS, "-type", "f", "-printf", "%u\\n").split()) == {"root"}
        assert box.read(FIRST_MODEL) == "good champion"


@pytest.fixture
def bare() -> Iterator[Box]:
    """Yield a machine on which nothing of ours is installed yet, with user qt and its directories."""
    require_service_python()
    with booted() as box:
        give_service_venv(box)
        box.run("systemd-sysusers", f"{SOURCE}/deploy/systemd/quantum-clm.sysusers.conf")
        box.run("install", "-d", "-o", "qt", "-g", "qt", "/opt/quantum", MODELS, "/var/lib/quantum-clm")
        box.write(ENGINE_ENV_FILE, ENGINE_ENV, mode="0640", owner="root:qt")
        yield box


def first_version(box: Box) -> str:
    """Lay out what the first version's direct switch left, and return the path of the environment file."""
    box.run("install", "-d", "-o", "qt", "-g", "qt", "-m", "0750", "/etc/quantum/ai-engine.d")
    box.run("mv", ENGINE_ENV_FILE, "/etc/quantum/ai-engine.d/ai-engine.env")
    box.run("chown", "qt:qt", "/etc/quantum/ai-engine.d/ai-engine.env")
    box.run("ln", "-s", "ai-engine.d/ai-engine.env", ENGINE_ENV_FILE)
    box.write("/etc/polkit-1/rules.d/50-quantum-clm.rules", "// quantum-clm: put here by deploy/install.sh\n")
    box.run("install", "-d", "-o", "qt", "-g", "qt", "/opt/quantum/clm/venv")
    box.write("/opt/quantum/clm/clm.env.shipped", "# shipped")
    return "/etc/quantum/ai-engine.d/ai-engine.env"


def test_l1_an_upgrade_brings_the_environment_file_back_and_removes_what_qt_was_allowed(bare: Box) -> None:
    """The switch by the daemon itself is gone, with its rule and its directory."""
    first_version(bare)
    bare.run(INSTALL, "--venv", VENV)
    assert bare.read(ENGINE_ENV_FILE) == ENGINE_ENV
    assert bare.stat(ENGINE_ENV_FILE) == "root:qt 640"
    assert bare.run("test", "-L", ENGINE_ENV_FILE, check=False).returncode == 1
    for path in (
        "/etc/quantum/ai-engine.d",
        "/etc/polkit-1/rules.d/50-quantum-clm.rules",
        "/opt/quantum/clm",
    ):
        assert not bare.exists(path), path


@pytest.mark.parametrize(
    "plant",
    [
        "rm {file}; ln -s /etc/shadow {file}",
        "rm {file}; mkfifo {file}",
        "rm {file}; ln /opt/quantum/secret {file}",
        "printf '\\0\\1binary' >{file}",
        "head -c 2000000 /dev/zero | tr '\\0' A >{file}",
        ": >{file}",
        "rm {file}",
    ],
)
def test_l1_an_upgrade_does_not_follow_what_qt_planted(bare: Box, plant: str) -> None:
    """As root it would copy a secret to where qt reads it, or make qt's text the engine's environment."""
    file = first_version(bare)
    as_qt(bare, "echo SECRET=1 >/opt/quantum/secret; chmod 0600 /opt/quantum/secret")
    as_qt(bare, plant.format(file=file))
    done = bare.run(INSTALL, "--venv", VENV, check=False)
    assert done.returncode == 78, done.stdout + done.stderr
    assert "by hand" in done.stderr
    assert bare.out("readlink", ENGINE_ENV_FILE) == "ai-engine.d/ai-engine.env"
    assert "root:" not in bare.out("sh", "-c", "find /etc/quantum -type f -name '*.env*' -exec cat {} +")


def test_l1_the_installer_refuses_directories_and_sources_that_qt_can_change(bare: Box) -> None:
    """Root would write through, or execute, what qt prepared."""
    bare.run("chown", "qt", "/etc/quantum")
    done = bare.run(INSTALL, "--venv", VENV, check=False)
    assert (done.returncode, "/etc/quantum" in done.stderr) == (78, True), done.stderr
    bare.run("chown", "root", "/etc/quantum")
    bare.run("sh", "-c", f"cp -r {SOURCE}/deploy {SOURCE}/etc {SOURCE}/clm {SOURCE}/*.toml /opt/quantum/")
    done = bare.run("/opt/quantum/deploy/install.sh", "--venv", VENV, check=False)
    assert (done.returncode, "move the source" in done.stderr) == (78, True), done.stderr
    done = bare.run(INSTALL, "--venv", VENV, "--models-root", check=False)
    assert (done.returncode, "/opt/quantum" in done.stderr) == (78, True), done.stderr
    assert not bare.exists(SETTINGS), "nothing was begun"


def test_l1_an_environment_that_leads_to_code_of_qts_is_refused(bare: Box) -> None:
    """A path file in it makes root's `clm` run what lies elsewhere."""
    site = bare.out("sh", "-c", f"echo {VENV}/lib/python3*/site-packages")
    bare.write(f"{site}/more.pth", "/opt/quantum/code\n")
    done = bare.run(INSTALL, "--venv", VENV, check=False)
    assert (done.returncode, "more.pth" in done.stderr) == (78, True), done.stderr


def test_l1_the_planted_names_of_the_first_installer_are_not_used(bare: Box) -> None:
    """A link at a temporary name became a file of qt's in a directory of root's programs."""
    first_version(bare)
    generators = "/etc/systemd/system-generators"
    before = bare.out("ls", "-la", generators)
    as_qt(bare, f"ln -s {generators}/evil /etc/quantum/ai-engine.d/ai-engine.env.tmp")
    as_qt(bare, "ln -s /etc/shadow /etc/quantum/ai-engine.d/ai-engine.env.clm-new")
    bare.run(INSTALL, "--venv", VENV)
    assert bare.out("ls", "-la", generators) == before
    assert bare.stat(ENGINE_ENV_FILE) == "root:qt 640"


def test_l1_uninstalling_follows_no_link_either(bare: Box) -> None:
    """What qt owns is removed, not what it leads to."""
    install_service(bare)
    bare.run("install", "-d", "/opt/precious")
    bare.write("/opt/precious/file", "x")
    as_qt(bare, "rm -rf /var/lib/quantum-clm/*; ln -s /opt/precious /var/lib/quantum-clm/runs")
    bare.write("/opt/precious/clm.env.shipped", "x")
    as_qt(bare, "ln -s /opt/precious /opt/quantum/clm")
    bare.run(f"{SOURCE}/deploy/uninstall.sh", "--purge")
    assert bare.read("/opt/precious/file") == "x"
    assert bare.exists("/opt/precious/clm.env.shipped")


def test_a_source_tree_where_the_first_version_lay_is_not_removed(bare: Box) -> None:
    """Only what the first installer made goes."""
    bare.run("install", "-d", "-o", "qt", "/opt/quantum/clm")
    bare.write("/opt/quantum/clm/Makefile", "mine")
    bare.run(INSTALL, "--venv", VENV)
    assert bare.read("/opt/quantum/clm/Makefile") == "mine"


def test_l1_what_qt_moved_to_the_state_directory_does_not_become_qts(box: Box) -> None:
    """StateDirectory= would give qt everything in it at the next start, root's files too."""
    box.write("/opt/quantum/data/roots", "secret", mode="0600")
    as_qt(box, "mv /opt/quantum/data/roots /var/lib/quantum-clm/roots; chgrp qt /var/lib/quantum-clm")
    box.run("chgrp", "systemd-journal", "/var/lib/quantum-clm")  # what a second group would allow qt
    box.run("systemctl", "start", "quantum-clm.service", check=False)
    box.run("systemctl", "stop", "quantum-clm.service")
    assert box.stat("/var/lib/quantum-clm/roots") == "root:root 600"
    box.run("rm", "/var/lib/quantum-clm/roots")
    box.run("chgrp", "qt", "/var/lib/quantum-clm")


def test_l1_a_models_directory_that_was_a_link_when_the_sandbox_was_made_is_refused(box: Box) -> None:
    """systemd grants what the link leads to; the helper then looks at another directory, and notices."""
    version = new_version()
    sha256 = register(box, version, "good")
    line = json.dumps({"action": "install", "name": version, "expected": None, "sha256": sha256})
    script = (
        "import os, socket, sys, time\n"
        f"m = {MODELS!r}; os.rename(m, m + '.real'); os.symlink('/opt', m)\n"
        f"s = socket.socket(socket.AF_UNIX); s.settimeout(30); s.connect({SOCKET!r}); time.sleep(1.5)\n"
        "os.unlink(m); os.rename(m + '.real', m)\n"
        "s.sendall(sys.argv[1].encode() + b'\\n'); print(s.makefile().read())"
    )
    answer = box.as_user("qt", "/usr/bin/python3", "-c", script, line).stdout
    assert "ReadWritePaths=" in answer
    assert not box.exists(path_of(version))


def test_l13_a_lock_of_another_user_does_not_stop_a_rollback(box: Box) -> None:
    """/etc/quantum can be read, and so locked, by everyone."""
    hold = ("systemd-run", "--quiet", "--no-block", "--uid=daemon", "--unit=locker")
    box.run(*hold, "flock", "/etc/quantum", "sleep", "60")
    champion = named(box)
    outcome = promote(box, new_version(), "crash")
    box.run("systemctl", "stop", "locker")
    assert outcome["state"] == "ROLLED_BACK", outcome["reason"]
    assert served(box) == champion
