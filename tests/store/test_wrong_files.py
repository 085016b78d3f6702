"""What is not our store is named as what it is; nothing is created, changed or repaired."""

import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from clm.errors import DataError
from clm.store.contract import check_contract
from clm.store.migrate import has_schema, migrate
from clm.store.runs import SqliteJournal
from clm.store.samples import SqliteSampleSource
from clm.store.tasks import SqliteTaskQueue
from clm.store.transactions import Store
from tests.builders import NOW
from tests.fakes import FakeClock
from tests.store.conftest import WISH, change, child, names

DOORS = {
    "check_contract": check_contract,
    "migrate": migrate,
    "has_schema": has_schema,
    "samples": lambda path: SqliteSampleSource(path).read(None, 10),
    "newest": lambda path: SqliteSampleSource(path).newest(),
    "queue": lambda path: SqliteTaskQueue(path, FakeClock()).submit(WISH, NOW),
    "journal": lambda path: SqliteJournal(path, FakeClock()).recent_runs(1),
}


def refusal(door: str, path: Path) -> DataError:
    with pytest.raises(DataError) as caught:
        DOORS[door](path)
    assert str(path) in caught.value.message
    assert "\n" not in caught.value.message
    return caught.value


@pytest.mark.parametrize("door", DOORS)
def test_a1_a_missing_store_is_refused_and_never_created(door, tmp_path):
    """A mistyped path once left an empty database behind that looked like the real one."""
    error = refusal(door, tmp_path / "typo.db")
    assert error.code == "STORE_MISSING"
    assert "CLM_STORE" in error.message
    assert names(tmp_path) == []


@pytest.mark.parametrize("door", DOORS)
def test_a1_an_empty_store_is_refused_and_stays_empty(door, tmp_path):
    """SQLite takes 0 bytes for a new database, and its own check calls it sound."""
    path = tmp_path / "empty.db"
    path.touch()
    error = refusal(door, path)
    assert error.code == "STORE_EMPTY"
    assert (
        "is 0 bytes, not a SQLite database; was the path mistyped? set CLM_STORE or pass --store"
        in error.message
    )
    assert path.stat().st_size == 0
    assert names(tmp_path) == ["empty.db"]


def test_a1_a_store_emptied_while_we_run_is_refused_too(store, clock):
    """An adapter that was made on a good store must not write into a new one."""
    queue = SqliteTaskQueue(store, clock)
    queue.submit(WISH, NOW)
    os.truncate(store, 0)
    with pytest.raises(DataError, match=r"STORE_EMPTY"):
        queue.submit(WISH, NOW)
    assert store.stat().st_size == 0


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize(
    "content", [b"x", b"symbol,price\n", b"symbol,price\n" * 999, b"SQLite format 3\0" + b"z" * 9000]
)
def test_a2_what_is_not_a_database_is_refused_and_left_alone(door, content, tmp_path):
    """A text file, however short, and a good beginning before garbage."""
    path = tmp_path / "notes.txt"
    path.write_bytes(content)
    assert refusal(door, path).code == "STORE_CORRUPT"
    assert path.read_bytes() == content
    assert names(tmp_path) == ["notes.txt"]


def test_a2_a_damaged_page_is_said_and_not_read_over(bare):
    """Half of a table is worse than none."""
    with closing(sqlite3.connect(bare)) as connection:
        for n in range(2000):
            connection.execute(
                "INSERT INTO ai_training_samples (symbol, timestamp, predicted_action, prediction_score, "
                "prediction_confidence, features) VALUES ('A', ?, 'BUY', 1, 1, '[1]')",
                (f"2026-01-01 00:00:{n:06d}",),
            )
        connection.commit()
        (root,) = connection.execute(
            "SELECT rootpage FROM sqlite_master WHERE name = 'ai_training_samples'"
        ).fetchone()
    with bare.open("r+b") as file:
        file.seek((root - 1) * 4096)
        file.write(b"\xa5" * 4096)
    with pytest.raises(DataError, match=r"STORE_CORRUPT.*backup"):
        SqliteSampleSource(bare).read(None, 10_000)


@pytest.mark.parametrize("door", DOORS)
def test_a_directory_and_a_pipe_are_not_stores(door, tmp_path):
    """Opening a pipe would wait for ever."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "directory").mkdir()
    assert refusal(door, tmp_path / "pipe").code == "STORE_NOT_A_FILE"
    assert refusal(door, tmp_path / "directory").code == "STORE_NOT_A_FILE"


WRITE = """
import os
import sys
from pathlib import Path
import sqlalchemy.dialects.sqlite.pysqlite
from clm.clock import SystemClock
from clm.errors import ClmError
from clm.store.transactions import Store
if os.geteuid() == 0:  # after the imports: the project may lie where only root can read
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
store = Store(Path(sys.argv[1]), SystemClock(), busy_limit_s=1)
try:
    with getattr(store, sys.argv[2])() as connection:
        connection.exec_driver_sql(sys.argv[3])
except ClmError as error:
    print(error)
"""


def as_a_user_without_rights(path: Path, way: str, statement: str) -> str:
    process = child(WRITE, path, way, statement)
    said, complaint = process.communicate()
    assert process.returncode == 0, complaint
    return said


@pytest.fixture
def reachable() -> Iterator[Path]:
    """A directory that other users can enter.

    It does not lie below pytest's: that is closed to them, and the next pytest that begins closes it again.
    """
    with TemporaryDirectory(prefix="clm-reachable-") as directory:
        path = Path(directory)
        path.chmod(0o755)
        yield path


@pytest.fixture
def reachable_store(store, reachable) -> Path:
    """A store with our tables, there."""
    return Path(shutil.copy(store, reachable / "store.db"))


def test_a8_a_wal_store_in_a_directory_without_write_access_says_what_it_needs(reachable_store):
    """Readers of a WAL store write, too; `immutable` would read a live file wrong."""
    change(reachable_store, "PRAGMA journal_mode=WAL")
    reachable_store.chmod(0o666)
    reachable_store.parent.chmod(0o555)
    for way in ("reading", "writing"):
        said = as_a_user_without_rights(reachable_store, way, "SELECT count(*) FROM ai_training_samples")
        assert "STORE_READ_ONLY" in said
        assert "write access to the directory, or to the -shm file" in said


def test_a_store_that_may_only_be_read_is_read_and_not_written(reachable_store):
    """Read permission is enough for reading."""
    reachable_store.chmod(0o444)
    assert as_a_user_without_rights(reachable_store, "reading", "SELECT count(*) FROM clm_tasks") == ""
    said = as_a_user_without_rights(reachable_store, "writing", "DELETE FROM clm_tasks")
    assert "STORE_READ_ONLY" in said
    assert "check owner and mode" in said


def test_a_store_that_may_not_be_read_is_named(reachable_store):
    """Not missing, not corrupt: closed."""
    reachable_store.chmod(0o000)
    said = as_a_user_without_rights(reachable_store, "reading", "SELECT 1")
    assert "STORE_READ_ONLY" in said
    assert str(reachable_store) in said


def test_a_path_with_the_signs_of_a_uri_is_just_a_path(tmp_path, clock):
    """`?mode=rwc` in a name must not become an option."""
    odd = tmp_path / "a?mode=rwc&b#c%20d.db"
    with pytest.raises(DataError, match=r"STORE_MISSING"):
        Store(odd, clock).reading().__enter__()
    assert names(tmp_path) == []
