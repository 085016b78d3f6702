"""A full or failing disk: that transaction is gone, everything before it is there."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from clm.clock import SystemClock
from clm.errors import DataError
from clm.store.create import create_store
from clm.store.migrate import migrate
from clm.store.outbox import SqliteOutbox
from clm.store.tasks import SqliteTaskQueue
from tests.builders import NOW
from tests.store.conftest import WISH, look
from tests.store.test_outbox import started


@pytest.fixture
def small_disk(tmp_path: Path):
    """A disk of 600 KiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=600k", "tmpfs", str(disk)], check=True)
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


@pytest.mark.needs_root
def test_a10_a_full_disk_undoes_the_transaction_and_work_goes_on_when_there_is_space(small_disk):
    """Nothing is acknowledged that is not in the store, and nothing in it is lost."""
    path = small_disk / "store.db"
    create_store(path)
    migrate(path)
    outbox = SqliteOutbox(path, SystemClock())
    ballast = small_disk / "ballast"
    free = shutil.disk_usage(small_disk).free
    ballast.write_bytes(b"x" * (free - 60_000))

    def fill() -> None:
        for _ in range(1000):
            outbox.append([started(trigger_reason="x" * 2000)] * 5, "t")

    with pytest.raises(DataError, match=r"DISK_FULL.*MB are free"):
        fill()
    before = outbox.waiting_count()
    assert before % 5 == 0
    assert look(path, "PRAGMA quick_check") == [("ok",)]

    ballast.unlink()
    outbox.append([started()], "t")
    assert outbox.waiting_count() == before + 1


SUBMIT = """
import sys
from pathlib import Path
from clm.clock import SystemClock
from clm.domain.task import Trigger
from clm.errors import ClmError
from clm.store.tasks import SqliteTaskQueue
request = Trigger(model="patchtst", reason="r", requested_by="t", source="cli")
try:
    SqliteTaskQueue(Path(sys.argv[1]), SystemClock()).submit(request, SystemClock().now())
except ClmError as error:
    print(error)
"""


@pytest.mark.skipif(not shutil.which("strace"), reason="strace is not installed")
@pytest.mark.parametrize("call", ["fdatasync,fsync", "pwrite64"])
def test_a12_a_failed_sync_fails_the_transaction_and_leaves_the_store_whole(store, call, tmp_path):
    """After a failed fsync the kernel may have dropped the pages: the same descriptor is not asked again."""
    script = tmp_path / "submit.py"
    script.write_text(SUBMIT)
    SqliteTaskQueue(store, SystemClock()).submit(WISH, NOW)
    answer = subprocess.run(
        [
            "strace",
            "-f",
            "-qq",
            "-o",
            "/dev/null",
            "-e",
            f"inject={call}:error=EIO",
            sys.executable,
            script,
            store,
        ],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[2],
    )
    assert answer.stdout.startswith("STORE_IO: ")
    assert look(store, "SELECT triggers FROM clm_tasks") == [(1,)]
    assert look(store, "PRAGMA quick_check") == [("ok",)]
    assert SqliteTaskQueue(store, SystemClock()).submit(WISH, NOW) == 1
