"""Disks that are full, read-only, slow or broken while a model is promoted."""

import os
import resource
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from clm.artefacts.files import create_durably
from clm.clock import SystemClock
from clm.engine.env_file import EnvFile
from clm.errors import ArtefactError
from clm.ports import PromotionState
from clm.store.outbox import SqliteOutbox
from tests.chaos.place import GOOD, Place, wait_for
from tests.chaos.syscalls import traced
from tests.promotion.server import Server, free_port
from tests.store.test_outbox import started


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    """A server with a quick engine on its champion."""
    made = Place(root=tmp_path / "server", port=free_port())
    made.build(GOOD)
    made.boot()
    yield made
    made.engine.stop()


@pytest.fixture
def tmpfs(tmp_path: Path) -> Iterator[Path]:
    """A file system with room for a handful of names."""
    directory = tmp_path / "tmpfs"
    directory.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "nr_inodes=4", "tmpfs", str(directory)], check=True)
    yield directory
    subprocess.run(["umount", str(directory)], check=True)


@pytest.mark.needs_root
def test_j3_a_champion_that_cannot_be_read_keeps_the_promotion_from_beginning(place: Place) -> None:
    """Without it there is no way back, so there is no way on."""
    before = place.files()
    fault = "inject=read:error=EIO:when=1"
    end, lines = traced(place, "-P", str(place.old_path), "-e", "trace=read", "-e", fault)
    assert any("(INJECTED)" in line for line in lines)
    assert end.outcome == "ABORTED"
    assert place.files() == before
    assert place.served() == str(place.old_path)
    assert place.query("SELECT count(*) FROM clm_promotions WHERE is_open = 1") == [(0,)]


@pytest.mark.needs_root
def test_j4_a_read_only_file_system_is_named_and_nothing_is_begun(server: Server) -> None:
    """A remount by the kernel after an error is the usual reason, and root is no exception."""
    before, artefact = server.files(), server.artefact()
    subprocess.run(["mount", "--bind", str(server.models), str(server.models)], check=True)
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", str(server.models)], check=True)
        outcome = server.promoter().promote(artefact, "p07_run")
    finally:
        subprocess.run(["umount", str(server.models)], check=True)
    assert outcome.state is PromotionState.ABORTED
    assert outcome.reason.startswith("READ_ONLY_FS")
    assert server.files() == before
    assert server.states() == []


@pytest.mark.needs_root
def test_j5_a_disk_without_inodes_is_full_and_says_so(tmpfs: Path) -> None:
    """There is space, and no file can be made; half a file must not stay."""
    env = EnvFile(tmpfs / "ai-engine.env")
    env.path.write_bytes(b"A=1\n")
    snapshot = env.read()
    for n in range(2):
        (tmpfs / f"theirs{n}").touch()
    with pytest.raises(ArtefactError, match=r"DISK_FULL.*inode"):
        create_durably(tmpfs / "model.pth", b"weights", mode=0o640)
    with pytest.raises(ArtefactError, match=r"DISK_FULL.*inode"):
        env.replace(snapshot, b"A=2\n")
    assert env.read().data == b"A=1\n"
    assert sorted(p.name for p in tmpfs.iterdir()) == ["ai-engine.env", "theirs0", "theirs1"]


def test_j6_a_limit_on_the_size_of_files_is_an_error_and_no_death(tmp_path: Path) -> None:
    """The kernel sends SIGXFSZ, which ends a process that does not expect it."""
    target = tmp_path / "model.pth"
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
            create_durably(target, b"x" * 5000, mode=0o640)
        except ArtefactError as error:
            code = 0 if error.code == "DISK_FULL" and "file size limit" in error.message else 2
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert list(tmp_path.iterdir()) == []


@pytest.mark.needs_root
def test_j7_no_writer_waits_while_a_model_is_synced(place: Place) -> None:
    """A slow disk costs us time, not the trading engine: no lock is held over the sync of a file."""
    outbox = SqliteOutbox(place.store, SystemClock(), busy_limit_s=0.05)

    def write() -> None:
        wait_for(lambda: bool([*place.models.glob(".*.tmp")]), "the model to be written")
        outbox.append([started()], "t")
        assert not place.new_path.exists(), "the sync was over before we wrote"

    slow = "inject=fsync:delay_enter=1500000:when=1"
    end, _ = traced(place, "-e", "trace=fsync", "-e", slow, meanwhile=write)
    assert end.outcome == "COMMITTED"
