"""A durable write shows the old bytes or the new ones, leaves no temporary file, and says what went wrong."""

import errno
import os
import stat
from pathlib import Path

import pytest

from clm.artefacts.files import (
    Owner,
    create_durably,
    remove_durably,
    replace_durably,
    sha256_of,
    sweep_temporaries,
    temporary_name,
)
from clm.errors import ArtefactError


def names(directory: Path) -> list[str]:
    return sorted(p.name for p in directory.iterdir())


class Calls:
    """The system calls in order, some of them failing."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.order: list[str] = []
        self._monkeypatch = monkeypatch
        for name in ("fsync", "link", "rename", "write"):
            self._watch(name)

    def _watch(self, name: str, number: int | None = None) -> None:
        real = getattr(os, name)

        def call(*arguments: object, **more: object) -> object:
            kind = name
            if name == "fsync":
                is_directory = stat.S_ISDIR(os.fstat(arguments[0]).st_mode)  # type: ignore[arg-type]
                kind = "fsync directory" if is_directory else "fsync file"
            self.order.append(kind)
            if number is not None:
                raise OSError(number, os.strerror(number))
            return real(*arguments, **more)

        self._monkeypatch.setattr(os, name, call)

    def fail(self, name: str, number: int) -> None:
        self._watch(name, number)


def test_bytes_are_on_the_disk_before_their_name_and_the_name_before_the_return(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the first fsync a power loss leaves zeros under the name, without the second the old name."""
    calls = Calls(monkeypatch)
    replace_durably(tmp_path / "f", b"new")
    assert calls.order == ["write", "fsync file", "rename", "fsync directory"]
    calls.order.clear()
    create_durably(tmp_path / "g", b"new", mode=0o640)
    assert calls.order == ["write", "fsync file", "link", "fsync directory"]


@pytest.mark.parametrize(
    ("number", "code"),
    [
        (errno.ENOSPC, "DISK_FULL"),
        (errno.EDQUOT, "DISK_FULL"),
        (errno.EROFS, "READ_ONLY_FS"),
        (errno.EACCES, "PERMISSION"),
        (errno.EIO, "IO_ERROR"),
    ],
)
@pytest.mark.parametrize("call", ["write", "fsync", "rename"])
def test_j1_a_failed_replacement_leaves_the_old_file_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, number: int, code: str
) -> None:
    """Whatever call fails, and however."""
    path = tmp_path / "f"
    path.write_bytes(b"old")
    Calls(monkeypatch).fail(call, number)
    with pytest.raises(ArtefactError) as caught:
        replace_durably(path, b"new")
    assert caught.value.code == code
    assert str(path) in caught.value.message
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["f"]


@pytest.mark.parametrize("call", ["write", "fsync", "link"])
def test_j1_a_failed_creation_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    """A half file under a model's name would be served."""
    Calls(monkeypatch).fail(call, errno.ENOSPC)
    with pytest.raises(ArtefactError, match="DISK_FULL"):
        create_durably(tmp_path / "patchtst_v20260101_000000.pth", b"new", mode=0o640)
    assert names(tmp_path) == []


def test_a_disk_that_gives_back_other_bytes_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was written is read again before it gets its name."""
    real = os.write
    monkeypatch.setattr(os, "write", lambda handle, data: real(handle, b"X" * len(data)))
    with pytest.raises(ArtefactError, match="not what was written"):
        replace_durably(tmp_path / "f", b"new")
    with pytest.raises(ArtefactError, match="not what was written"):
        create_durably(tmp_path / "f", b"new", mode=0o640)
    assert names(tmp_path) == []


def test_short_writes_are_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A write may take fewer bytes than it is given."""
    real = os.write
    monkeypatch.setattr(os, "write", lambda handle, data: real(handle, bytes(data)[:7]))
    replace_durably(tmp_path / "f", b"0123456789" * 5)
    assert (tmp_path / "f").read_bytes() == b"0123456789" * 5


def test_f4_creation_never_overwrites(tmp_path: Path) -> None:
    """The name is taken by a link, and a link fails where the name exists."""
    path = tmp_path / "f"
    path.write_bytes(b"theirs")
    with pytest.raises(ArtefactError, match="FILE_TAKEN"):
        create_durably(path, b"ours", mode=0o640)
    assert path.read_bytes() == b"theirs"
    assert names(tmp_path) == ["f"]


def test_l6_a_link_that_waits_under_the_name_is_not_followed(tmp_path: Path) -> None:
    """Not by a creation, and not by the temporary file."""
    (tmp_path / "d").mkdir()
    victim = tmp_path / "victim"
    (tmp_path / "d" / "f").symlink_to(victim)
    with pytest.raises(ArtefactError, match="FILE_TAKEN"):
        create_durably(tmp_path / "d" / "f", b"ours", mode=0o640)
    current = temporary_name(tmp_path / "d" / "g")
    number = int(current.name.split("-")[-1].split(".")[0])
    waiting = current.with_name(current.name.replace(f"-{number}.", f"-{number + 1}."))
    waiting.symlink_to(victim)
    replace_durably(tmp_path / "d" / "g", b"ours")
    assert not victim.exists()
    assert waiting.is_symlink()


def test_a_copy_is_hashed_as_it_is_written(tmp_path: Path) -> None:
    """The hash that is returned is that of the bytes on the disk."""
    source = tmp_path / "source"
    source.write_bytes(os.urandom(3_000_000))
    assert (
        create_durably(tmp_path / "copy", source, mode=0o640)
        == sha256_of(source)
        == sha256_of(tmp_path / "copy")
    )


@pytest.mark.parametrize("umask", [0o000, 0o077, 0o777])
def test_l11_the_mode_is_what_was_asked_for_whatever_the_umask(tmp_path: Path, umask: int) -> None:
    """The umask is the shell's habit, the mode our promise."""
    before = os.umask(umask)
    try:
        create_durably(tmp_path / "f", b"x", mode=0o640)
        replace_durably(tmp_path / "g", b"x")
    finally:
        os.umask(before)
    modes = {stat.S_IMODE((tmp_path / name).stat().st_mode) for name in "fg"}
    assert modes == {0o640}


@pytest.mark.needs_root
def test_owner_and_group_are_set_before_the_name_is_given(tmp_path: Path) -> None:
    """No moment in which the file has its name and another owner."""
    create_durably(tmp_path / "f", b"x", mode=0o640, owner=Owner(uid=1234, gid=4321))
    replace_durably(tmp_path / "f", b"y")
    status = (tmp_path / "f").stat()
    assert (status.st_uid, status.st_gid) == (1234, 4321)


def test_what_the_last_look_refuses_is_not_done(tmp_path: Path) -> None:
    """The caller's own check stands right before the rename."""
    path = tmp_path / "f"
    path.write_bytes(b"old")

    def refuse() -> None:
        raise ValueError("changed meanwhile")

    with pytest.raises(ValueError, match="changed meanwhile"):
        replace_durably(path, b"new", before_rename=refuse)
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["f"]


def test_temporary_names_match_no_pattern_for_models(tmp_path: Path) -> None:
    """One generation of the engine loads the newest `patchtst_v*` of its directory."""
    left = temporary_name(tmp_path / "patchtst_v20260101_000000.pth")
    left.write_bytes(b"half")
    assert list(tmp_path.glob("patchtst_v*")) == []
    assert list(tmp_path.glob("*.pth")) == []
    assert sweep_temporaries(tmp_path) == (left.name,)
    assert names(tmp_path) == []


def test_sweeping_takes_nothing_else(tmp_path: Path) -> None:
    """Only names of ours, files and unfinished directories alike."""
    for name in ("model.pth", ".hidden", ".x.tmp", "x.clm-1-0.tmp"):
        (tmp_path / name).write_bytes(b"theirs")
    half = temporary_name(tmp_path / "patchtst_v20260101_000000")
    half.mkdir()
    (half / "model.pth").write_bytes(b"half")
    sweep_temporaries(tmp_path)
    assert names(tmp_path) == [".hidden", ".x.tmp", "model.pth", "x.clm-1-0.tmp"]


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    """Hashing and removing say what they met."""
    with pytest.raises(ArtefactError, match="FILE_MISSING: cannot read"):
        sha256_of(tmp_path / "absent")
    assert remove_durably(tmp_path / "absent") is False


@pytest.mark.needs_root
def test_j4_a_directory_without_write_permission_is_named(tmp_path: Path) -> None:
    """As a user who may not write there."""
    tmp_path.chmod(0o555)
    for parent in [*tmp_path.parents][:3]:
        parent.chmod(parent.stat().st_mode | 0o055)
    pid = os.fork()
    if pid == 0:
        os.setuid(1500)
        try:
            replace_durably(tmp_path / "f", b"x")
        except ArtefactError as error:
            os._exit(0 if error.code == "PERMISSION" else 3)
        os._exit(4)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
