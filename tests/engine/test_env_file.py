"""One value of the engine's environment file changes; every other byte is the operator's."""

import contextlib
import fcntl
import hashlib
import os
import stat
import struct
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clm.engine.env_file import EnvFile, parse, previous_of, value_of, with_value, without_value
from clm.errors import ArtefactError, PromotionError
from tests.chaos.env_files import env_file

KEY = "PATCHTST_MODEL_PATH"
ACL, ANYBODY = "system.posix_acl_access", 0xFFFFFFFF
OLD, NEW = "/opt/models/patchtst_v20260109_233444.pth", "/opt/models/patchtst_v20260301_120000.pth"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("A=1\nB=2\n", {"A": "1", "B": "2"}),
        ("A=1\nA=2\n", {"A": "2"}),
        ("  A = 1  \n", {"A": "1"}),
        ("# A=1\n; B=2\nC=3", {"C": "3"}),
        ("A=1 # no comment\n", {"A": "1 # no comment"}),
        ("A='x  y'\nB=\" z \"\n", {"A": "x  y", "B": " z "}),
        ("A='x'\"y\"z\n", {"A": "xyz"}),
        ("A=x'y'\n", {"A": "x'y'"}),
        ('A="a\\"b\\n\\$c"\n', {"A": 'a"b\\n$c'}),
        ("A='a\\b'\n", {"A": "a\\b"}),
        ("A=a\\\nb\n", {"A": "ab"}),
        ("A=a\\tb\n", {"A": "atb"}),
        ("A='one\ntwo'\n", {"A": "one\ntwo"}),
        ("A=$HOME\n", {"A": "$HOME"}),
        ("A=1\r\nB=2\r\n", {"A": "1", "B": "2"}),
        ("A=\nB=2\n", {"A": "", "B": "2"}),
        ("export A=1\n1A=2\nA B=3\nC=4\n", {"C": "4"}),
        ("no assignment\nA=1\nkey at the end", {"A": "1"}),
        ("# comment \\\nA=1\nB=2\n", {"B": "2"}),
        ('A=["x","y"]\n', {"A": '["x","y"]'}),
        ("\ufeffA=1\nB=2\n", {"B": "2"}),
        ("A=é\n", {"A": "é"}),
    ],
)
def test_the_file_is_read_as_systemd_reads_it(text: str, expected: dict[str, str]) -> None:
    """What systemd would set, and nothing that only a shell would."""
    assert parse(text.encode()) == expected


@pytest.mark.parametrize("data", [b"A=\xff\n", b"A=1\0\nB=2\n", b"# \xe4\n"])
def test_g6_nul_and_invalid_utf8_are_refused(data: bytes) -> None:
    """systemd refuses such a file too: the unit would not start."""
    with pytest.raises(PromotionError, match=r"ENV_ENCODING: line 1 "):
        parse(data)


FORMS = [
    "{k}={v}",
    "  {k}={v}",
    "{k}= {v}",
    "{k}={v}   ",
    "{k}='{v}'",
    '{k}="{v}"',
    '{k}="{v}"  ',
    "{k}=\t'{v}'\t",
]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("end", [True, False])
def test_g3_only_the_value_changes(form: str, newline: str, end: bool) -> None:
    """Quotes, blanks, order, comments, line ends and a missing last one stay as the operator left them."""

    def text(value: str) -> bytes:
        line = form.format(k=KEY, v=value)
        return newline.join(
            ["# head", "A=1  ", line, "", "B='x y'", f"#{KEY}=/off", *([""] if end else [])]
        ).encode()

    assert with_value(text(OLD), KEY, NEW) == text(NEW)
    assert with_value(with_value(text(OLD), KEY, NEW), KEY, OLD) == text(OLD)


def test_g3_a_byte_order_mark_stays() -> None:
    """systemd drops the first line because of it; that is the operator's affair unless it is our key."""
    data = f"\ufeff# head\n{KEY}={OLD}\n".encode()
    assert with_value(data, KEY, NEW) == data.replace(OLD.encode(), NEW.encode())


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"A=1\n", b"A=1\nK=/v\n"),
        (b"A=1", b"A=1\nK=/v\n"),
        (b"A=1\r\n", b"A=1\r\nK=/v\r\n"),
        (b"A=1\r\nB=2", b"A=1\r\nB=2\r\nK=/v\r\n"),
        (b"# only a comment", b"# only a comment\nK=/v\n"),
        (b"K=\n", b"K=/v\n"),
        (b"K=", b"K=/v"),
        (b"K=''\nA=1", b"K='/v'\nA=1"),
        (b"A=no assignment\nkey", b"A=no assignment\nkey\nK=/v\n"),
    ],
)
def test_g3_an_absent_key_is_appended_once_and_can_be_taken_back(data: bytes, expected: bytes) -> None:
    """The way back from a first promotion is the file as it was, byte for byte."""
    assert with_value(data, "K", "/v") == expected
    assert without_value(expected, "K", hashlib.sha256(data).hexdigest()) == data


def test_taking_back_keeps_what_the_operator_wrote_meanwhile() -> None:
    """Where no form has the old hash, only our line goes."""
    assert without_value(b"A=1\nK=/v\n# theirs\n", "K", "0" * 64) == b"A=1\n# theirs\n"


def test_g4_equal_duplicates_change_together() -> None:
    """systemd takes the last, a person may look at the first."""
    data = f"{KEY}={OLD}\nA=1\n{KEY}='{OLD}'\n".encode()
    assert with_value(data, KEY, NEW) == data.replace(OLD.encode(), NEW.encode())


def test_g4_different_values_are_refused_with_their_lines() -> None:
    """Which of the two the operator meant is not for us to say."""
    data = f"{KEY}={OLD}\nA=1\n{KEY}=/other\n".encode()
    with pytest.raises(PromotionError, match=r"ENV_AMBIGUOUS: .* in lines 1 and 3"):
        with_value(data, KEY, NEW)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("A=1\\\n{k}={v}\n", 1),
        ("A=1\n# note \\\n{k}={v}\n", 2),
        ("{k}={v}\n; note \\\nA=1\n", 2),
        ("{k}={v}\nA=1\nB=2\\", 3),
        ("{k}={v}\n# note\\", 2),
        ("A='open\n{k}={v}\n", 1),
        ('{k}={v}\nB="open\n', 2),
        ("A='one\n{k}={v}\n'\n", 2),
        ("A='one\r{k}={v}\r'\r", 1),
        ("{k}=/opt/\\\nmodels/x.pth\n", 1),
        ("{k} = {v}\n", 1),
        ("\ufeff{k}={v}\n", 1),
        ("A=1\nB=2\\\nC=3\n", 2),
    ],
)
def test_g5_a_line_that_swallows_the_next_is_refused(text: str, line: int) -> None:
    """A person reads two lines where systemd reads one: no edit of such a file is safe."""
    with pytest.raises(PromotionError, match=f"ENV_UNSAFE: line {line} "):
        with_value(text.format(k=KEY, v=OLD).encode(), KEY, NEW)


def test_g5_an_appended_line_is_not_swallowed_either() -> None:
    """A last line that goes on would take ours with it."""
    with pytest.raises(PromotionError, match="ENV_UNSAFE"):
        with_value(b"A=1\\\n", KEY, NEW)


def test_g5_an_appended_line_can_be_read_again() -> None:
    """Before CRLF the backslash takes only half of the line end: systemd sees our line, a person does not."""
    with pytest.raises(PromotionError, match="ENV_UNSAFE: line 1 "):
        with_value(b"A=one\\\r\n", KEY, NEW)


@pytest.mark.parametrize("text", ["A=one \\\n  two\n", "A='one\n# two\n'\n", "A=\\\nx\n"])
def test_values_that_mean_to_span_lines_are_left_alone(text: str) -> None:
    """They are systemd's grammar; only what looks like an accident is refused."""
    data = (text + f"{KEY}={OLD}\n").encode()
    assert with_value(data, KEY, NEW) == data.replace(OLD.encode(), NEW.encode())


@pytest.mark.parametrize("text", ["export {k}={v}\n", "{k}={v}\nexport\t{k}={v}\n"])
def test_g13_export_is_refused(text: str) -> None:
    """systemd ignores the line while a shell that sources the file does not."""
    with pytest.raises(PromotionError, match=r"ENV_EXPORT: line \d says"):
        with_value(text.format(k=KEY, v=OLD).encode(), KEY, NEW)


@pytest.mark.parametrize(
    "value",
    [
        "/a b",
        "/a\nB=1",
        "/a$b",
        "/a'b",
        '/a"b',
        "/a#b",
        "/a\\b",
        "relative",
        "",
        "/a/../b",
        "//a",
        "/" + "a" * 256,
    ],
)
def test_g2_a_value_that_needs_quoting_is_refused(value: str) -> None:
    """systemd and a shell read the same file; only plain paths mean the same to both."""
    with pytest.raises(PromotionError, match="ENV_VALUE"):
        with_value(b"A=1\n", KEY, value)


LINES = st.one_of(
    st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0"), max_size=20),
    st.from_regex(r"[A-C]=[a-z '\"\\$#]{0,8}", fullmatch=True),
    st.sampled_from(
        ["", "# comment", "; x", "A='x y'", 'B="z"', "C=a\\", "export D=1", f"{KEY}=", f"{KEY}='{OLD}'"]
    ),
)


def changed_or_refused(data: bytes) -> bytes | None:
    """Return the changed file, None where the editor refuses it in its own words."""
    with contextlib.suppress(PromotionError):
        return with_value(data, KEY, NEW)
    return None


@given(st.lists(LINES, max_size=8), st.sampled_from(["\n", "\r\n", "\r"]), st.integers(0, 8))
def test_g3_whatever_the_file_every_other_variable_stays(lines: list[str], newline: str, where: int) -> None:
    """Either the file is refused, or systemd reads all other variables as before, and no other byte moved."""
    lines.insert(min(where, len(lines)), f"{KEY}={OLD}")
    data = newline.join(lines).encode()
    changed = changed_or_refused(data)
    if changed is None:
        return
    before, after = parse(data), parse(changed)
    assert after.pop(KEY) == NEW
    assert before.pop(KEY) == OLD
    assert after == before
    assert changed.replace(NEW.encode(), b"") == data.replace(OLD.encode(), b"")
    assert value_of(changed, KEY) == NEW


@given(st.binary(max_size=60))
def test_no_bytes_are_too_odd_to_be_read_or_refused(data: bytes) -> None:
    """A stranger's file ends in a reading or in a refusal that names it."""
    changed = changed_or_refused(data)
    assert changed is None or changed.startswith(data)


def test_g2_g3_g4_g5_g6_g13_no_byte_of_5000_files_is_lost() -> None:
    """Each is refused, or one value is another and can be taken back to the byte."""
    rewritten = 0
    for seed in range(5000):
        data = env_file(seed)
        changed = changed_or_refused(data)
        if changed is None:
            continue
        rewritten += 1
        was = value_of(data, KEY)
        if was is None:
            assert without_value(changed, KEY, hashlib.sha256(data).hexdigest()) == data, seed
        else:
            assert changed.replace(NEW.encode(), was.encode()) == data, seed
            assert with_value(changed, KEY, was) == data, seed
    assert 2500 < rewritten < 4900


@pytest.fixture
def env(tmp_path: Path) -> EnvFile:
    path = tmp_path / "ai-engine.env"
    path.write_bytes(f"A=1\n{KEY}={OLD}\n".encode())
    path.chmod(0o640)
    return EnvFile(path)


def test_g7_a_missing_file_is_never_created(tmp_path: Path) -> None:
    """An engine without its file runs on defaults; a file made by us would hide that."""
    with pytest.raises(PromotionError, match="ENV_MISSING"):
        EnvFile(tmp_path / "absent.env").read()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("data", [b"", b" \n\n"])
def test_g7_an_empty_file_is_refused(env: EnvFile, data: bytes) -> None:
    """Zero bytes are what a failed write leaves."""
    env.path.write_bytes(data)
    with pytest.raises(PromotionError, match="ENV_EMPTY"):
        env.read()


@pytest.mark.parametrize("how", ["other bytes", "same bytes, other file", "touched", "other mode"])
def test_g8_a_file_that_changed_since_it_was_read_is_not_replaced(env: EnvFile, how: str) -> None:
    """Compare and swap: the operator's version is the one that stays."""
    snapshot = env.read()
    if how == "other bytes":
        env.path.write_bytes(b"B=2\n")
    elif how == "same bytes, other file":
        env.path.unlink()
        env.path.write_bytes(snapshot.data)
    elif how == "touched":
        os.utime(env.path, ns=(1, 1))
    else:
        env.path.chmod(0o600)
    before = env.path.read_bytes()
    with pytest.raises(PromotionError, match="ENV_CHANGED"):
        env.replace(snapshot, b"ours")
    assert env.path.read_bytes() == before
    assert [p.name for p in env.path.parent.iterdir()] == ["ai-engine.env"]


@pytest.mark.parametrize("mode", [0o640, 0o600, 0o664])
def test_g11_mode_and_owner_stay(env: EnvFile, mode: int) -> None:
    """The file holds secrets; who may read it is not ours to decide."""
    if os.geteuid() == 0:
        os.chown(env.path, 1234, 4321)
    env.path.chmod(mode)
    before = env.path.stat()
    mask = os.umask(0o077)
    try:
        env.replace(env.read(), b"A=2\n")
    finally:
        os.umask(mask)
    after = env.path.stat()
    assert env.path.read_bytes() == b"A=2\n"
    assert (stat.S_IMODE(after.st_mode), after.st_uid, after.st_gid) == (mode, before.st_uid, before.st_gid)


def test_g11_extended_attributes_stay(env: EnvFile) -> None:
    """An ACL is one of them."""
    try:
        os.setxattr(env.path, "user.note", b"operations")
    except OSError as exc:
        pytest.skip(f"no extended attributes here: {exc.strerror}")
    env.replace(env.read(), b"A=2\n")
    assert os.getxattr(env.path, "user.note") == b"operations"


@pytest.mark.needs_root
def test_g11_what_could_not_keep_its_owner_is_refused_before(env: EnvFile) -> None:
    """Found in the preflight, as the user who would do it."""
    env.path.parent.chmod(0o777)
    for parent in [*env.path.parents][:3]:
        parent.chmod(parent.stat().st_mode | 0o755)
    pid = os.fork()
    if pid == 0:
        os.setgid(1500)
        os.setgroups([])
        os.setuid(1500)
        try:
            env.refuse_unreplaceable(EnvFile(env.path).read())
        except PromotionError as refused:
            os._exit(0 if refused.code in {"ENV_NOT_WRITABLE", "ENV_UNREADABLE"} else 3)
        os._exit(4)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def test_g10_the_link_stays_and_its_target_is_replaced(env: EnvFile, tmp_path: Path) -> None:
    """The rename happens in the target's directory."""
    link = tmp_path / "etc" / "ai-engine.env"
    link.parent.mkdir()
    link.symlink_to(env.path)
    linked = EnvFile(link)
    linked.replace(linked.read(), b"A=2\n")
    assert link.is_symlink()
    assert env.path.read_bytes() == b"A=2\n"
    assert [p.name for p in link.parent.iterdir()] == ["ai-engine.env"]


def test_g12_a_second_writer_waits_for_the_directorys_lock(env: EnvFile) -> None:
    """`flock DIRECTORY COMMAND` lets a script of the operator's take part."""
    snapshot = env.read()
    with subprocess.Popen(
        ["flock", str(env.path.parent), "sh", "-c", "echo held; sleep 0.4"], stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        env.replace(snapshot, b"A=2\n")
        assert holder.poll() is not None
    assert env.path.read_bytes() == b"A=2\n"


def test_g12_a_lock_that_is_never_given_back_is_named(env: EnvFile) -> None:
    """Waiting for ever would be a hang without a reason."""

    class Hurried:
        elapsed = 0.0

        def monotonic(self) -> float:
            return self.elapsed

        def sleep(self, seconds: float) -> None:
            self.elapsed += seconds

    snapshot = env.read()
    handle = os.open(env.path.parent, os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_EX)
    try:
        with pytest.raises(PromotionError, match="ENV_LOCKED"):
            EnvFile(env.path, Hurried()).replace(snapshot, b"ours")  # type: ignore[arg-type]
    finally:
        os.close(handle)


def test_a_failed_write_leaves_the_old_file(env: EnvFile, monkeypatch: pytest.MonkeyPatch) -> None:
    """An fsync that fails ends the attempt; what was there stays, whole."""
    before = env.path.read_bytes()

    def fail(_handle: int) -> None:
        raise OSError(5, "Input/output error")

    snapshot = env.read()
    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(ArtefactError, match="IO_ERROR"):
        env.replace(snapshot, b"ours")
    assert env.path.read_bytes() == before
    assert [p.name for p in env.path.parent.iterdir()] == ["ai-engine.env"]


def test_g11_an_acl_stays(env: EnvFile) -> None:
    """Who else may read the file is the operator's decision, and nothing a mode can say."""
    entries = [
        (0x01, 6, ANYBODY),
        (0x02, 4, 1234),
        (0x04, 4, ANYBODY),
        (0x10, 4, ANYBODY),
        (0x20, 0, ANYBODY),
    ]
    acl = struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)
    os.setxattr(env.path, ACL, acl)
    before = env.path.stat().st_mode
    env.replace(env.read(), b"A=2\n")
    assert os.getxattr(env.path, ACL) == acl
    assert env.path.stat().st_mode == before


def test_g11_an_acl_that_cannot_be_kept_refuses_before(env: EnvFile, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that somebody could not read any more would keep the engine from starting."""
    os.setxattr(env.path, "user.note", b"operations")
    snapshot, before = env.read(), env.path.read_bytes()

    def refuse(*_arguments: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "setxattr", refuse)
    with pytest.raises(ArtefactError, match="PERMISSION"):
        env.replace(snapshot, b"ours")
    assert env.path.read_bytes() == before
    assert [p.name for p in env.path.parent.iterdir()] == ["ai-engine.env"]


def test_the_operators_file_is_kept_once(env: EnvFile) -> None:
    """What a promotion replaced can be taken back by hand; a rollback does not put our own version there."""
    operators = env.path.read_bytes()
    env.path.chmod(0o600)
    inode = env.path.stat().st_ino
    changed = with_value(operators, KEY, NEW)
    env.replace(env.read(), changed)
    kept = previous_of(env.path)
    assert (kept.read_bytes(), kept.stat().st_ino, stat.S_IMODE(kept.stat().st_mode)) == (
        operators,
        inode,
        0o600,
    )
    env.replace(env.read(), operators)
    assert kept.read_bytes() == operators
    env.replace(env.read(), b"A=3\n")
    env.replace(env.read(), b"A=4\n")
    assert kept.read_bytes() == b"A=3\n"
    assert sorted(p.name for p in env.path.parent.iterdir()) == [env.path.name, kept.name]
    assert not kept.match("*.env")


def test_g8_what_changed_meanwhile_is_not_taken_for_the_operators_last_version(env: EnvFile) -> None:
    """A refused write leaves the kept generation alone, too."""
    env.replace(env.read(), b"A=2\n")
    snapshot, kept = env.read(), previous_of(env.path).read_bytes()
    env.path.write_bytes(b"A=3\n")
    with pytest.raises(PromotionError, match="ENV_CHANGED"):
        env.replace(snapshot, b"ours")
    assert previous_of(env.path).read_bytes() == kept
