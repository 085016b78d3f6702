"""How the shared file is opened, locked and left."""

import os
import signal
import sqlite3
import threading
import time
from contextlib import closing

import pytest
from sqlalchemy import event
from sqlalchemy.pool import Pool

from clm.clock import SystemClock
from clm.errors import DataError, StoreBusy
from clm.store.contract import check_contract
from clm.store.migrate import migrate
from clm.store.samples import SqliteSampleSource
from clm.store.tasks import SqliteTaskQueue
from clm.store.transactions import Store
from tests.builders import NOW
from tests.store.conftest import WISH, change, child, locked_by_another_process, look, names


def test_a5_a_write_waits_for_a_lock_and_gets_through(store):
    """The engine holds its lock for a while; a trigger is not lost by it."""
    queue = SqliteTaskQueue(store, SystemClock(), busy_limit_s=20)
    with locked_by_another_process(store) as let_go:
        threading.Timer(0.5, let_go).start()
        assert queue.submit(WISH, NOW) == 1
    assert look(store, "SELECT status FROM clm_tasks") == [("pending",)]


def test_a5_a_lock_held_for_too_long_is_said_and_nothing_is_written(store):
    """The delivery stays unacknowledged, so it will come again."""
    queue = SqliteTaskQueue(store, SystemClock(), busy_limit_s=0.3)
    with locked_by_another_process(store):
        began = time.monotonic()
        with pytest.raises(
            StoreBusy, match=r"STORE_BUSY.*stayed locked by another process for 0.3 s"
        ) as caught:
            queue.submit(WISH, NOW)
        assert 0.25 < time.monotonic() - began < 3
    assert caught.value.transient
    assert look(store, "SELECT count(*) FROM clm_tasks") == [(0,)]


def test_a5_waiting_is_done_by_the_clock_in_growing_pauses(store, clock):
    """A stopping daemon ends the wait through its clock, and there is no busy loop."""
    pauses = []
    clock.sleep = lambda seconds: (pauses.append(seconds), setattr(clock, "waited_s", sum(pauses)))
    store_of_ours = Store(store, clock, busy_limit_s=60)

    def refused() -> None:
        raise StoreBusy("STORE_BUSY", "locked")

    with pytest.raises(StoreBusy, match=r"for 60 s"):
        store_of_ours.patiently(refused)
    assert sum(pauses) == pytest.approx(60)
    assert max(pauses) == 2
    assert len(pauses) < 50


def test_a5_a_commit_that_meets_a_reader_waits_for_him(store):
    """With a rollback journal a reader's lock stops the commit, not the statements before it."""
    ours = Store(store, SystemClock(), busy_limit_s=20)
    ours.__dict__["_writer"] = Store(store, SystemClock(), busy_limit_s=0.05)._writer
    with (
        closing(sqlite3.connect(store, isolation_level=None, check_same_thread=False)) as reader,
        ours.writing() as connection,
    ):
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM clm_tasks").fetchall()
        connection.exec_driver_sql("INSERT INTO clm_schedule (name) VALUES ('x')")
        threading.Timer(0.6, lambda: reader.execute("ROLLBACK")).start()
    assert look(store, "SELECT name FROM clm_schedule") == [("x",)]


def test_a5_a_reader_waits_for_an_exclusive_lock(store):
    """An engine in the middle of its commit is not an error."""
    ours = Store(store, SystemClock(), busy_limit_s=20)
    ours.__dict__["reader"] = Store(store, SystemClock(), busy_limit_s=0.05).reader
    with locked_by_another_process(store, "BEGIN EXCLUSIVE") as let_go:
        threading.Timer(0.5, let_go).start()
        with ours.reading() as connection:
            assert connection.exec_driver_sql("SELECT count(*) FROM clm_tasks").scalar_one() == 0


def test_a6_no_writer_begins_without_the_write_lock(bare, statements):
    """A transaction that reads first and writes later fails at once when another wrote between."""
    migrate(bare)
    queue = SqliteTaskQueue(bare, SystemClock())
    queue.submit(WISH, NOW)
    task = queue.claim(NOW)
    queue.release(task.task_id, NOW, "")
    queue.recover(NOW)
    SqliteSampleSource(bare).read(None, 10)
    transactions: list[list[str]] = []
    for statement in statements:
        if statement.startswith("BEGIN"):
            transactions.append([])
        if transactions:
            transactions[-1].append(statement)
    ours = ("CREATE TABLE clm", "CREATE TABLE \nclm", "INSERT", "UPDATE", "DELETE")
    writers = [t for t in transactions if any(s.lstrip().startswith(ours) for s in t)]
    assert len(writers) == 4
    assert {t[0] for t in writers} == {"BEGIN IMMEDIATE"}


@pytest.mark.parametrize("mode", ["delete", "wal"])
def test_a7_the_journal_mode_stays_what_it_was(bare, mode, statements):
    """The file is shared, and its owner chose the mode."""
    change(bare, f"PRAGMA journal_mode={mode}")
    migrate(bare)
    SqliteTaskQueue(bare, SystemClock()).submit(WISH, NOW)
    SqliteSampleSource(bare).read(None, 10)
    assert check_contract(bare).journal_mode == mode
    assert look(bare, "PRAGMA journal_mode") == [(mode,)]
    assert not [s for s in statements if "journal_mode=" in s.replace(" ", "")]


def test_a9_synchronous_follows_the_journal_mode_at_each_connect(store):
    """FULL with a rollback journal, and NORMAL with WAL, lost commits in a power cut."""
    ours = Store(store, SystemClock())

    def synchronous() -> int:
        with ours.writing() as connection:
            return connection.exec_driver_sql("PRAGMA synchronous").scalar_one()

    extra, full = 3, 2
    assert synchronous() == extra
    change(store, "PRAGMA journal_mode=WAL")
    assert synchronous() == full
    change(store, "PRAGMA journal_mode=DELETE")
    assert synchronous() == extra


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT * FROM settings",
        "SELECT count(*) FROM settings",
        'SELECT api_key FROM main."SETTINGS"',
        "SELECT s.id FROM ai_training_samples a LEFT JOIN settings s",
        "SELECT * FROM everything",
        "UPDATE settings SET api_key = 'x'",
        "DELETE FROM settings",
        "ALTER TABLE settings RENAME TO harmless",
        "CREATE TABLE clm_copy AS SELECT * FROM settings",
        "ATTACH '{path}' AS again",
        "VACUUM INTO '{path}.copy'",
    ],
)
@pytest.mark.parametrize("way", ["reading", "writing"])
def test_l8_the_table_of_secrets_is_closed_to_us(store, statement, way):
    """What is never read cannot be leaked; a copy of the whole file would hold it."""
    change(
        store,
        "INSERT INTO settings VALUES (1, 'key-1', 'secret-1')",
        "CREATE VIEW everything AS SELECT * FROM settings",
    )
    ours = Store(store, SystemClock())

    def try_it() -> None:
        with getattr(ours, way)() as connection:
            if statement.startswith("VACUUM"):
                connection.exec_driver_sql("ROLLBACK")
            connection.exec_driver_sql(statement.format(path=store))

    with pytest.raises(DataError, match=r"STORE_FORBIDDEN"):
        try_it()
    assert look(store, "SELECT api_key FROM settings") == [("key-1",)]
    assert not store.with_name("store.db.copy").exists()


TRY = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], timeout=0, isolation_level=None)
try:
    connection.execute("BEGIN IMMEDIATE")
except sqlite3.OperationalError as error:
    print(error)
"""


def test_our_own_looks_at_the_file_do_not_drop_our_locks(store):
    """POSIX drops all locks of a process on a file as soon as it closes any descriptor of it."""
    with Store(store, SystemClock()).writing() as connection:
        connection.exec_driver_sql("INSERT INTO clm_schedule (name) VALUES ('x')")
        thread = threading.Thread(
            target=lambda: (check_contract(store), SqliteSampleSource(store).read(None, 9))
        )
        thread.start()
        thread.join()
        assert child(TRY, store).communicate()[0] == "database is locked\n"


def test_a_block_that_breaks_leaves_nothing(store):
    """All or nothing, whatever the exception."""
    ours = Store(store, SystemClock())

    def break_off() -> None:
        with ours.writing() as connection:
            connection.exec_driver_sql("INSERT INTO clm_schedule (name) VALUES ('x')")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        break_off()
    assert look(store, "SELECT count(*) FROM clm_schedule") == [(0,)]
    assert names(store.parent) == [store.name]


DIE = """
import sqlite3, sys, time
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("PRAGMA cache_size=2")
connection.execute("BEGIN IMMEDIATE")
connection.execute("UPDATE ai_training_samples SET features = printf('%0500d', 7)")
print("dirty", flush=True)
time.sleep(60)
"""


def test_a11_the_journal_of_a_killed_writer_is_rolled_back_at_our_next_read(bare):
    """A connection that may only read cannot do that, so somebody who may write has to open first."""
    rows = ", ".join("('A', '2026-01-01 00:00:00', 'BUY', 1, 1, '" + "x" * 500 + "')" for _ in range(300))
    change(
        bare,
        "INSERT INTO ai_training_samples (symbol, timestamp, predicted_action, prediction_score, "
        f"prediction_confidence, features) VALUES {rows}",
    )
    engine = child(DIE, bare)
    assert engine.stdout.readline() == "dirty\n"
    engine.kill()
    engine.communicate()
    assert bare.with_name("store.db-journal").exists()

    check_contract(bare)
    # What the dying writer wrote is a number, and so of another form than text that is no JSON.
    reasons = [reject.reason for reject in SqliteSampleSource(bare).read(None, 1000).rejects]
    assert reasons == ["features_not_json"] * 300
    assert not bare.with_name("store.db-journal").exists()


WORK = """
import sys
from pathlib import Path
from clm.clock import SystemClock
from clm.domain.task import Trigger
from clm.events import RetrainingStarted
from clm.ports import RunStart
from clm.store.runs import SqliteJournal
from clm.store.tasks import SqliteTaskQueue
path, clock = Path(sys.argv[1]), SystemClock()
queue, journal = SqliteTaskQueue(path, clock), SqliteJournal(path, clock)
request = Trigger(model="patchtst", reason="r", requested_by="t", source="cli")
for n in range(1000):
    queue.submit(request, clock.now())
    task = queue.claim(clock.now())
    run_id = f"{sys.argv[2]}-{n}"
    started = RetrainingStarted(model="patchtst", timestamp="", job_id=run_id, trigger_reason="r")
    start = RunStart(
        run_id=run_id, family="patchtst", started_at=clock.now(), trigger_reason="r", task=task
    )
    journal.start_run(start, [started])
    print(n, flush=True)
    queue.complete(task.task_id, clock.now(), "REJECT")
"""


def test_a11_a_writer_killed_at_any_moment_leaves_state_mirror_and_event_together(store):
    """Whatever was being written is there whole or not at all."""
    for attempt in range(6):
        worker = child(WORK, store, attempt)
        worker.stdout.readline()
        time.sleep(0.013 * attempt)
        os.kill(worker.pid, signal.SIGKILL)
        worker.communicate()
        check_contract(store)
        runs = look(store, "SELECT run_id FROM clm_runs ORDER BY run_id")
        assert runs
        assert look(store, "SELECT version FROM model_training_runs ORDER BY version") == runs
        told = "SELECT trace_id FROM clm_outbox WHERE event_type LIKE '%started' ORDER BY trace_id"
        assert look(store, told) == runs
        assert look(store, "SELECT count(*) FROM clm_tasks") == look(
            store, "SELECT count(*) FROM training_tasks"
        )
        SqliteTaskQueue(store, SystemClock()).recover(NOW)
        assert look(store, "SELECT count(*) FROM clm_tasks WHERE status = 'running'") == [(0,)]
        assert look(store, "PRAGMA integrity_check") == [("ok",)]


def test_a10_a_store_that_cannot_grow_says_so_and_stays_whole(store):
    """The transaction is gone, the rest is readable."""

    def bound(driver_connection, _record) -> None:
        (pages,) = driver_connection.execute("PRAGMA page_count").fetchone()
        driver_connection.execute(f"PRAGMA max_page_count={pages}")

    queue = SqliteTaskQueue(store, SystemClock())
    queue.submit(WISH, NOW)
    event.listen(Pool, "connect", bound)
    try:
        with (
            pytest.raises(DataError, match=r"DISK_FULL.*MB are free"),
            Store(store, SystemClock()).writing() as c,
        ):
            c.exec_driver_sql("INSERT INTO clm_schedule (name) VALUES (zeroblob(100000))")
    finally:
        event.remove(Pool, "connect", bound)
    assert queue.pending_count() == 1
    assert look(store, "PRAGMA integrity_check") == [("ok",)]
