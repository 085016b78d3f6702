"""Whatever it is asked, the helper serves only a file that it verified, and reveals nothing about others."""

import fcntl
import hashlib
import json
import os
import re
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from clm.domain.line import DEFAULT_LINE
from clm.engine.switch_request import Action, Answer, Request, decode_answer, decode_request
from clm.errors import ConfigError, PromotionError
from clm.settings import Settings
from clm.settings.names import FIELDS
from clm.switch.helper import Helper as RealHelper
from clm.switch.site import DEFAULTS, site_of
from clm.switch.trust import weakness, weakness_below
from tests.promotion.server import NEW, OLD, Server
from tests.switch.helped import Helper, StandInUnit
from tests.switch.helped import site_of as site_of_server

GOOD = b"good candidate"
PROJECT = Path(__file__).parents[2]


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def ask(
    server: Server, action: Action, name: str = NEW, *, root: bool = True, **fields: str | None
) -> Answer:
    """Ask a helper whose engine is not started."""
    unit = StandInUnit(lambda: None)
    site, uid = site_of_server(server), 0 if root else 65534
    helper = RealHelper(site=site, unit=unit, uid=uid, lock_wait_s=0.0)
    return helper.serve(Request(action=action, name=name, **fields))  # type: ignore[arg-type]


def install(server: Server, content: bytes = GOOD) -> Answer:
    """Register a model and have it installed."""
    server.artefact(content)
    return ask(server, Action.INSTALL, sha256=sha256(content))


def point(server: Server, name: str = NEW, expected: Path | None = None) -> Answer:
    return ask(server, Action.POINT, name, expected=str(expected or server.old_path))


def registered(server: Server) -> Path:
    return server.root / "artefacts" / NEW / "model.pth"


def test_an_installed_model_is_roots_read_only_file_and_can_be_named(stopped_server: Server) -> None:
    """Asking again changes nothing: a daemon that died after the rename asks once more."""
    server = stopped_server
    assert install(server) == Answer()
    status = server.new_path.stat()
    assert (status.st_uid, status.st_mode & 0o777) == (os.geteuid(), 0o444)
    assert ask(server, Action.INSTALL, sha256=sha256(GOOD)) == Answer()
    assert server.new_path.stat().st_ino == status.st_ino
    assert point(server) == Answer()
    after = server.env_path.read_bytes()
    assert server.named() == str(server.new_path)
    assert point(server) == Answer()
    assert server.env_path.read_bytes() == after


def link(path: Path) -> None:
    path.rename(path.with_suffix(".real"))
    path.symlink_to(path.with_suffix(".real"))


def pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


def second_name(path: Path) -> None:
    path.with_suffix(".other").hardlink_to(path)


def sparse(path: Path) -> None:
    os.truncate(path, 8 << 40)


def other_bytes(path: Path) -> None:
    path.chmod(0o600)
    path.write_bytes(b"evil candidate")


ATTACKS = [link, pipe, directory, second_name, sparse, other_bytes, Path.unlink]


@pytest.mark.parametrize("attack", ATTACKS)
def test_l3_l5_a_registered_file_that_is_not_what_was_asked_for_is_not_installed(
    stopped_server: Server, attack: Callable[[Path], None]
) -> None:
    """No link is followed, no pipe waited for, and the size is checked before a byte is read."""
    server = stopped_server
    server.artefact()
    attack(registered(server))
    before = server.files()
    answer = ask(server, Action.INSTALL, sha256=sha256(GOOD))
    assert answer.code == "SWITCH_REFUSED", answer
    assert not server.new_path.exists()
    assert server.files() == before


@pytest.mark.parametrize("attack", ATTACKS)
def test_l3_a_model_that_was_swapped_after_the_installation_is_neither_named_nor_served(
    stopped_server: Server, attack: Callable[[Path], None]
) -> None:
    """The owner of the directory can swap the file; the helper compares it with its own note."""
    server = stopped_server
    assert install(server) == Answer()
    before = server.env_path.read_bytes()
    attack(server.new_path)
    assert point(server).code in {"SWITCH_REFUSED", "MODEL_CHANGED"}
    assert server.env_path.read_bytes() == before


@pytest.mark.parametrize("back", [False, True])
def test_a_swap_between_verification_and_restart_is_noticed(stopped_server: Server, back: bool) -> None:
    """Also one that is undone at once: the file's identity differs."""
    server = stopped_server
    assert install(server) == Answer()
    assert point(server) == Answer()

    def swap_during_restart() -> None:
        kept = server.new_path.rename(server.models / "kept")
        server.new_path.write_bytes(b"evil candidate")
        if back:
            kept.rename(server.new_path)

    helper = RealHelper(site=site_of_server(server), unit=StandInUnit(swap_during_restart), uid=65534)
    answer = helper.serve(Request(action=Action.RESTART, name=NEW))
    assert answer.code == "MODEL_CHANGED"


def test_a_swap_after_the_restart_is_noticed_when_the_verification_ends(stopped_server: Server) -> None:
    """The engine may load its model late, and the file may be back by then."""
    server = stopped_server
    install(server)
    point(server)
    assert ask(server, Action.RESTART) == Answer()
    assert ask(server, Action.CONFIRM) == Answer()
    server.new_path.rename(server.models / "kept").rename(server.new_path)
    assert ask(server, Action.CONFIRM).code == "MODEL_CHANGED"


def test_a_file_that_the_asking_user_could_not_read_is_not_compared(stopped_server: Server) -> None:
    """A user can move root's file to where the helper looks, and guess its hash."""
    server = stopped_server
    server.artefact()
    for path in (registered(server), server.new_path):
        path.write_bytes(GOOD)
        path.chmod(0o600)
        answers = [ask(server, Action.INSTALL, root=False, sha256=sha256(text)) for text in (GOOD, b"other")]
        assert answers[0] == answers[1]
        assert answers[0].code == "SWITCH_REFUSED"
        path.unlink()


def test_nothing_planted_at_a_temporary_name_is_linked_or_written(stopped_server: Server) -> None:
    """The copy has no name before it is complete; a link there led to a second name for a file of root's."""
    server = stopped_server
    secret = server.root / "secret"
    secret.write_text("secret")
    for number in range(3):
        (server.models / f".{NEW}.pth.clm-{os.getpid()}-{number}.tmp").symlink_to(secret)
    assert install(server) == Answer()
    assert (server.new_path.read_bytes(), secret.read_text(), secret.stat().st_nlink) == (GOOD, "secret", 1)


def test_a_directory_that_the_sandbox_was_not_made_for_is_refused(stopped_server: Server) -> None:
    """systemd follows links when it grants a directory, and the directory may have been another one then."""
    server = stopped_server
    server.artefact()
    site = replace(site_of_server(server), is_sandboxed=True)
    helper = RealHelper(site=site, unit=StandInUnit(lambda: None), uid=0)
    answer = helper.serve(Request(action=Action.INSTALL, name=NEW, sha256=sha256(GOOD)))
    assert (answer.code, "ReadWritePaths=" in answer.message) == ("SWITCH_REFUSED", True)


def test_a_lock_that_anyone_can_take_stops_nothing(stopped_server: Server) -> None:
    """Any user who can read a directory can lock it, and a rollback must not wait for that."""
    server = stopped_server
    install(server)
    handle = os.open(server.env_path.parent, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        assert point(server) == Answer()
    finally:
        os.close(handle)


def test_a_champion_that_cannot_be_read_is_not_left(stopped_server: Server) -> None:
    """Without its hash there would be no verified way back."""
    server = stopped_server
    install(server)
    server.old_path.unlink()
    assert point(server).code == "SWITCH_REFUSED"
    assert server.named() == str(server.old_path)


def test_a_note_of_other_paths_is_no_note(stopped_server: Server) -> None:
    """The models directory may move; what was noted before does not stop the next switch."""
    server = stopped_server
    install(server)
    point(server)
    old = server.root / "own" / "found" / f"{OLD}.json"
    old.write_text(old.read_text().replace("/models/", "/elsewhere/"))
    assert point(server, OLD, server.new_path).code == "SWITCH_REFUSED"
    server.env_path.write_bytes(server.env_path.read_bytes().replace(NEW.encode(), OLD.encode()))
    assert point(server) == Answer()
    assert json.loads(old.read_text())["value"] == str(server.old_path)


def test_a_version_that_the_file_names_through_a_link_is_not_removed(stopped_server: Server) -> None:
    """An operator may point the engine to `current.pth`."""
    server = stopped_server
    install(server)
    (server.models / "current.pth").symlink_to(server.new_path)
    data = server.env_path.read_bytes()
    server.env_path.write_bytes(data.replace(f"{OLD}.pth".encode(), b"current.pth"))
    assert ask(server, Action.REMOVE).code == "SWITCH_REFUSED"
    assert server.new_path.exists()


def test_a_former_champion_of_another_user_becomes_roots_before_it_is_named(stopped_server: Server) -> None:
    """Models that were promoted before the helper copied them lie in the directory as the daemon's files."""
    server = stopped_server
    server.new_path.write_bytes(GOOD)
    assert ask(server, Action.INSTALL, sha256=sha256(GOOD)) == Answer()
    assert server.new_path.stat().st_mode & 0o777 == 0o444
    assert point(server) == Answer()


def test_another_file_of_that_name_is_left_alone(stopped_server: Server) -> None:
    """A name that is taken belongs to whatever took it."""
    server = stopped_server
    server.artefact()
    server.new_path.write_bytes(b"an operator's")
    assert ask(server, Action.INSTALL, sha256=sha256(GOOD)).code == "FILE_TAKEN"
    assert server.new_path.read_bytes() == b"an operator's"


@pytest.mark.needs_root
def test_a_directory_that_leads_elsewhere_by_another_users_link_is_refused(stopped_server: Server) -> None:
    """The owner of a parent directory can replace the models directory by a link to root's files."""
    server = stopped_server
    server.artefact()
    real = server.models.rename(server.root / "real-models")
    server.models.symlink_to(real)
    os.lchown(server.models, 65534, 65534)
    assert ask(server, Action.INSTALL, sha256=sha256(GOOD)).code == "SWITCH_REFUSED"
    os.lchown(server.models, 0, 0)
    assert ask(server, Action.INSTALL, sha256=sha256(GOOD)) == Answer(), "root's own link may be followed"
    server.root.chmod(0o777)
    assert ask(server, Action.REMOVE).code == "SWITCH_REFUSED", "anyone could have made the link there"


def test_no_answer_is_an_oracle_for_files_of_roots(stopped_server: Server, tmp_path: Path) -> None:
    """A link to a secret gives the same answer whatever the secret is, and no hash of it anywhere."""
    server = stopped_server
    server.artefact()
    secret = tmp_path / "shadow"
    answers: dict[bytes, list[Answer]] = {}
    for content in (b"root:$y$secret", b"other"):
        secret.write_bytes(content)
        registered(server).unlink()
        registered(server).symlink_to(secret)
        server.new_path.unlink(missing_ok=True)
        server.new_path.symlink_to(secret)
        asked = ask(server, Action.INSTALL, sha256=sha256(b"root:$y$secret"))
        answers[content] = [asked, point(server), ask(server, Action.REMOVE)]
        found = json.dumps([answer.message for answer in answers[content]])
        found += "".join(path.read_text() for path in (server.root / "own").rglob("*.json"))
        assert sha256(content) not in found
    first, second = answers.values()
    assert first == second
    assert {answer.code for answer in first} == {"SWITCH_REFUSED"}


@pytest.mark.parametrize("expected", [None, "/somewhere/else.pth", "/etc/shadow\nX=1"])
def test_g8_a_value_that_is_not_the_expected_one_is_left_alone(
    stopped_server: Server, expected: str | None
) -> None:
    """Compare and swap: an operator's choice, or another promotion's, is not overwritten."""
    server = stopped_server
    install(server)
    before = server.env_path.read_bytes()
    assert ask(server, Action.POINT, expected=expected).code == "ENV_CHANGED"
    assert server.env_path.read_bytes() == before


@pytest.mark.parametrize("name", ["none", "other-3f1c0a9be277", OLD])
def test_what_the_helper_never_found_cannot_be_named(stopped_server: Server, name: str) -> None:
    """Without a note of its own there is no path behind a name."""
    server = stopped_server
    before = server.env_path.read_bytes()
    assert point(server, name).code == "SWITCH_REFUSED"
    assert server.env_path.read_bytes() == before


def test_a_champion_that_was_exchanged_meanwhile_is_not_brought_back(stopped_server: Server) -> None:
    """The note holds the hash of the file as it was when it served."""
    server = stopped_server
    install(server)
    assert point(server) == Answer()
    server.old_path.write_bytes(b"evil champion")
    assert point(server, OLD, server.new_path).code == "MODEL_CHANGED"
    assert server.named() == str(server.new_path)


def test_an_engine_with_roots_rights_is_refused(stopped_server: Server) -> None:
    """It would load a file that another user made, as root."""
    server = stopped_server
    install(server)
    unit = StandInUnit(lambda: None, runs_as_root=True)
    helper = RealHelper(site=site_of_server(server), unit=unit, uid=0)
    for action in (Action.CHECK, Action.POINT, Action.RESTART, Action.GO_LIVE):
        assert helper.serve(Request(action=action, name=NEW)).code == "ENGINE_RUNS_AS_ROOT"


def test_an_environment_file_that_others_can_replace_is_refused(stopped_server: Server) -> None:
    """Root would rewrite what another user put there."""
    server = stopped_server
    server.env_path.parent.chmod(0o777)
    assert ask(server, Action.CHECK).code == "ENV_UNTRUSTED"


def test_a_restart_on_what_the_file_names_needs_no_note_and_on_another_is_refused(
    stopped_server: Server,
) -> None:
    """A restart is an outage; it is made for the model that the file names or not at all."""
    assert ask(stopped_server, Action.RESTART, OLD) == Answer()
    assert ask(stopped_server, Action.RESTART, NEW).code == "ENV_CHANGED"


def test_only_root_lets_the_engine_trade_and_anyone_takes_it_back(stopped_server: Server) -> None:
    """The daemon's user cannot go live by itself; back to shadow is always safe, and byte for byte."""
    server = stopped_server
    before = server.env_path.read_bytes()
    assert ask(server, Action.GO_LIVE, OLD, root=False).code == "SWITCH_REFUSED"
    assert ask(server, Action.GO_LIVE, NEW).code == "ENV_CHANGED"
    assert server.env_path.read_bytes() == before
    assert ask(server, Action.GO_LIVE, OLD) == Answer()
    assert b"PATCHTST_SHADOW_ONLY=false" in server.env_path.read_bytes()
    assert ask(server, Action.GO_LIVE, OLD).code == "ALREADY_LIVE"
    assert ask(server, Action.GO_SHADOW, OLD, root=False) == Answer()
    assert server.env_path.read_bytes() == before


def test_a_model_that_the_file_names_is_not_removed_and_others_are(stopped_server: Server) -> None:
    """Retention asks the helper where the directory is root's."""
    server = stopped_server
    install(server)
    assert ask(server, Action.REMOVE, OLD).code == "SWITCH_REFUSED"
    assert server.old_path.exists()
    for _ in range(2):
        assert ask(server, Action.REMOVE) == Answer()
    assert not server.new_path.exists()
    assert point(server).code == "SWITCH_REFUSED", "its note is gone with it"


def test_a_check_sweeps_and_says_what_stands_in_the_way(stopped_server: Server) -> None:
    """The preflight of every promotion asks the helper itself, not a copy of its rules."""
    server, switch = stopped_server, Helper(stopped_server).switch()
    left = (
        server.env_path.parent / ".ai-engine.env.clm-1-0.tmp",
        server.models / f".{NEW}.pth.clm-1-0.tmp",
    )
    for path in left:
        path.write_bytes(b"half")
    assert set(switch.sweep()) == {path.name for path in left}
    assert not any(path.exists() for path in left)
    switch.refuse_unusable()
    server.env_path.write_bytes(b"")
    with pytest.raises(PromotionError, match="ENV_EMPTY"):
        switch.refuse_unusable()


def test_every_request_removes_what_a_killed_helper_left_in_its_own_directory(stopped_server: Server) -> None:
    """The daemon's user cannot see that directory, so no later CHECK may come to clean it."""
    server, own = stopped_server, site_of_server(stopped_server).own_dir
    (own / "found").mkdir()
    left = (own / f".{NEW}.json.clm-1-0.tmp", own / "found" / f".{NEW}.json.clm-1-0.tmp")
    for path in left:
        path.write_bytes(b"half")
    assert ask(server, Action.RESTART, OLD) == Answer()
    assert not any(path.exists() for path in left)


REQUEST = Request(action=Action.POINT, name=NEW, expected="/x.pth")


def changed(**fields: object) -> bytes:
    return json.dumps({**json.loads(REQUEST.encode()), **fields}).encode()


NAMES = [
    "",
    "../../etc/shadow",
    f"{NEW}.pth",
    f"{NEW}/../x",
    f"{NEW}\n",
    "patchtst_v2026030١_120000",
    "other-../../../../etc",
    "other-3F1C0A9BE277",
    "none\nX=1",
    "CHECK",
    "a" * 5000,
]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff\xfe",
        b"[" * 15_000,
        b"[]",
        b"1" * 5_000,
        changed(more=1),
        changed(expected=1),
        changed(expected="/" * 20_000),
        changed(name=["x"]),
        changed(action="exec"),
        changed(sha256="0" * 64),
        changed(action="install"),
        changed(action="install", sha256="0" * 63),
        changed(action="install", name="none", sha256="0" * 64),
        changed(action="remove", name="other-3f1c0a9be277"),
        REQUEST.encode().replace(b'"action"', b'"action": "point", "act"'),
        *[changed(name=name) for name in NAMES],
    ],
)
def test_l5_a_line_that_is_not_exactly_a_request_is_refused(data: bytes) -> None:
    """The daemon's user writes it, so it may hold anything."""
    assert decode_request(REQUEST.encode(), DEFAULT_LINE) == REQUEST
    with pytest.raises(PromotionError, match="SWITCH_REQUEST"):
        decode_request(data, DEFAULT_LINE)


def test_an_answer_travels_whole_and_a_long_one_is_cut() -> None:
    """Both directions are bounded."""
    answer = Answer(code="SWITCH_REFUSED", message='a "quoted" word, é')
    assert decode_answer(answer.encode()) == answer
    assert len(decode_answer(Answer(code="X", message="x" * 100_000).encode()).message) == 2000


def test_the_helpers_defaults_are_those_of_the_settings() -> None:
    """It cannot read the settings' code, which needs packages; so the two are compared here."""
    settings = Settings()
    site = site_of({}, Path("/own"))
    assert site.env_file.path == settings.engine_env_file
    assert site.models_dir == settings.models_dir
    assert site.artefacts_dir == settings.artefacts_dir
    assert site.engine_unit == settings.engine_unit
    assert site.max_file_bytes == settings.max_file_mb * 1_000_000
    assert DEFAULTS.keys() <= FIELDS.keys()


def test_the_helper_accepts_the_name_that_the_limit_had_in_0_1() -> None:
    """Root's helper reads clm.env itself; an upgrade must not raise the limit in silence."""
    assert site_of({"CLM_MAX_FILE_MB": "7"}, Path("/own")).max_file_bytes == 7_000_000
    both = {"CLM_MAX_FILE_MB": "7", "CLM_GATES__MAX_FILE_MB": "8"}
    assert site_of(both, Path("/own")).max_file_bytes == 8_000_000


@pytest.mark.parametrize(
    "variables",
    [
        {"CLM_MODELS_DIR": "models"},
        {"CLM_ENGINE_ENV_FILE": "/etc/quantum/../shadow"},
        {"CLM_ENGINE_UNIT": "--now"},
        {"CLM_ENGINE_UNIT": "quantum-ai-engine.socket"},
        {"CLM_GATES__MAX_FILE_MB": "much"},
        {"CLM_GATES__MAX_FILE_MB": "inf"},
    ],
)
def test_settings_that_cannot_be_meant_end_the_helper(variables: dict[str, str]) -> None:
    """A relative path or an option in place of a unit does no harm."""
    with pytest.raises(ConfigError, match="CONFIG_INVALID"):
        site_of(variables, Path("/own"))


def test_weakness_names_the_first_thing_that_others_could_change(tmp_path: Path) -> None:
    """Every directory on the way counts, the targets of links too."""
    code = tmp_path / "lib" / "code.py"
    code.parent.mkdir()
    code.write_text("")
    (tmp_path / "link").symlink_to(code.parent)
    assert weakness(tmp_path / "link" / "code.py") is None
    code.chmod(0o666)
    assert str(code) in str(weakness(code))
    assert "code.py" in str(weakness_below(tmp_path / "link"))
    code.chmod(0o644)
    code.parent.chmod(0o775)
    assert str(code.parent) in str(weakness(tmp_path / "link" / "code.py"))
    code.parent.chmod(0o1777)
    assert weakness(code) is None, "only root can replace its entry in a sticky directory"
    assert "cannot be examined" in str(weakness(tmp_path / "missing"))


def helper_files() -> list[tuple[str, str]]:
    """Return source and target of each file that the installer gives to the helper."""
    listing = subprocess.run(
        ["bash", "-c", ". deploy/files.sh; installed_files"],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    found = [line.split()[:2] for line in listing.splitlines()]
    prefix = "/usr/lib/quantum-clm/switch/"
    return [(source, target.removeprefix(prefix)) for source, target in found if target.startswith(prefix)]


def installed_helper(root: Path) -> Path:
    for source, target in helper_files():
        place = root / target
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes((PROJECT / source).read_bytes())
    return root


def test_the_helper_loads_the_standard_library_and_its_own_files_and_needs_each_of_them(
    tmp_path: Path,
) -> None:
    """What runs as root is small enough to be read in one sitting."""
    root = installed_helper(tmp_path / "switch")
    script = (
        "import sys; sys.path.insert(0, sys.argv[1]); import clm.switch.connection, clm.switch.__main__\n"
        "print(*(m for m in sys.modules if m.split('.')[0] not in {*sys.stdlib_module_names, '__main__'}))"
    )
    done = subprocess.run(
        ["/usr/bin/python3", "-I", "-S", "-c", script, str(root)], capture_output=True, text=True, check=True
    )
    loaded = {name.replace(".", "/") for name in done.stdout.split()}
    files = {re.sub(r"(/__init__)?\.py$", "", target) for _, target in helper_files()} - {"__main__"}
    assert loaded == files


def test_a_helper_that_others_could_change_does_nothing(tmp_path: Path) -> None:
    """It looks at itself before it loads anything else."""
    root = installed_helper(tmp_path / "switch")
    command = ["/usr/bin/python3", "-I", "-S", str(root)]
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert "SWITCH_UNTRUSTED" not in done.stderr, done.stderr
    (root / "clm" / "errors.py").chmod(0o666)
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert (done.returncode, len(done.stderr.splitlines())) == (78, 1), done.stderr
    assert "SWITCH_UNTRUSTED" in done.stderr
    assert "errors.py" in done.stderr
