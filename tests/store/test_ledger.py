"""The ledger: one row an attempt, with the run's end or not at all; nothing in it changes unseen."""

import sqlite3
from contextlib import closing
from dataclasses import asdict, replace
from datetime import timedelta
from pathlib import Path

import pytest

from clm.clock import iso
from clm.domain.chain import Head, acceptance, breaks, hash_of
from clm.domain.ledger import GENESIS, LedgerEntry, LedgerKind, LedgerRow
from clm.errors import DataError
from clm.ports import PromotionKind, PromotionState, RunStatus
from clm.store.migrate import migrate
from tests.builders import NOW, run_start
from tests.store.conftest import WISH, change, child, look
from tests.store.test_promotions import prepared, promoted
from tests.store.test_runs import finish

OPEN = (
    "DROP TRIGGER tr_clm_ledger_update",
    "DROP TRIGGER tr_clm_ledger_delete",
    "DROP TRIGGER tr_clm_ledger_insert",
)
"""What somebody with write access and a purpose does first."""


REST = "run_id, version, outcome, judged, reason, facts, recorded_at, previous_sha256, sha256 FROM clm_ledger"


def run(journal, name: str, **changes: object) -> None:
    journal.start_run(run_start(name), [])
    finish(journal, name, **changes)


def insert(store: Path, table: str, **values: object) -> None:
    names, marks = ", ".join(values), ", ".join("?" * len(values))
    with closing(sqlite3.connect(store, isolation_level=None)) as connection:
        connection.execute(f"INSERT INTO {table} ({names}) VALUES ({marks})", tuple(values.values()))


def old_run(store: Path, run_id: str, status: str, decision: str | None, at: str) -> None:
    values = {"run_id": run_id, "status": status, "decision": decision, "started_at": at, "completed_at": at}
    rest = {"correlation_id": "", "model": "patchtst", "reason": "so", "trigger_reason": "", "facts": "{}"}
    insert(store, "clm_runs", **values, **rest)


def rows_of(store: Path) -> list[LedgerRow]:
    with closing(sqlite3.connect(store)) as connection:
        connection.row_factory = sqlite3.Row
        return [LedgerRow(**row) for row in connection.execute("SELECT * FROM clm_ledger ORDER BY seq")]


@pytest.fixture
def five(journal, store) -> Path:
    """A store with five attempts."""
    for n in range(1, 6):
        run(journal, f"p07_{n}")
    return store


@pytest.mark.parametrize(
    ("end", "outcome", "judged"),
    [
        ({}, "REJECT", 1),
        ({"decision": "REFUSED", "judged": False}, "REFUSED", 0),
        ({"decision": None, "status": RunStatus.FAILED, "judged": False}, "FAILED", 0),
        ({"decision": None, "status": RunStatus.INTERRUPTED, "judged": False}, "INTERRUPTED", 0),
    ],
)
def test_every_end_of_a_run_is_one_row(journal, store, end, outcome, judged):
    """Also those that decided nothing: a gap in the story would be the place to hide in."""
    run(journal, "p07_1", **end)
    assert look(store, "SELECT seq, kind, subject, outcome, judged, previous_sha256 FROM clm_ledger") == [
        (1, "run", "p07_1", outcome, judged, GENESIS)
    ]
    assert journal.run("p07_1").ledger_row == 1


def test_a_run_that_is_closed_twice_keeps_its_first_row(journal, store):
    """A store that said busy after it had committed is asked again."""
    run(journal, "p07_1")
    finish(journal, "p07_1")
    assert look(store, "SELECT count(*) FROM clm_ledger") == [(1,)]
    assert journal.ledger_breaks([]) == []


def test_a_run_that_a_crash_left_is_an_attempt(journal, queue, store):
    """It may have used the test rows. A crash must not give an uncounted look at them."""
    journal.start_run(run_start(), [])
    queue.recover(NOW)
    assert look(store, "SELECT outcome, judged FROM clm_ledger") == [("INTERRUPTED", 1)]
    assert journal.standing().past.since_crown == 1


def test_what_no_run_tells_is_recorded_beside_it(journal, store):
    """Each tuning trial is an attempt. Recorded twice, it still counts once."""
    trial = LedgerEntry(
        kind=LedgerKind.TRIAL,
        subject="p07_1/3",
        run_id="p07_1",
        version=None,
        outcome="REJECT",
        judged=True,
        reason="no skill",
        facts={"sharpe": 0.1, "learning_rate": 1e-4},
    )
    other = replace(trial, kind=LedgerKind.ACCEPTED, judged=False, facts={})
    for entry in (trial, other, trial):
        journal.append(entry)
    assert look(store, "SELECT seq, kind, judged FROM clm_ledger") == [(1, "trial", 1), (2, "accepted", 0)]
    assert journal.standing().past.sharpes == (0.1,)


CLOSE = """
import os, sys
from datetime import UTC, datetime
from pathlib import Path
from clm.clock import SystemClock
from clm.ports import RunEnd, RunStatus
from clm.store.runs import SqliteJournal
from clm.store import ledger, run_rows, runs, transactions

def die(*_, **__):
    os._exit(9)

journal = SqliteJournal(Path(sys.argv[1]), SystemClock())
match sys.argv[2]:
    case "before the row": run_rows.append = die
    case "after the row": runs.SqliteJournal._tell = die
    case "before the commit": transactions.Store._commit = die
end = RunEnd(
    run_id="p07_1", status=RunStatus.COMPLETED, completed_at=datetime.now(UTC), decision="REJECT",
    reason="no skill", judged=True,
)
journal.finish_run(end, [])
"""


@pytest.mark.parametrize("where", ["before the row", "after the row", "before the commit", "nowhere"])
def test_a_crash_at_any_point_leaves_the_runs_end_and_its_row_together(journal, store, where):
    """Both or none."""
    journal.start_run(run_start(), [])
    process = child(CLOSE, store, where)
    process.communicate()
    assert process.returncode == (0 if where == "nowhere" else 9)
    closed = look(store, "SELECT status FROM clm_runs") != [("running",)]
    assert closed is (where == "nowhere")
    assert look(store, "SELECT count(*) FROM clm_ledger") == [(int(closed),)]


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE clm_ledger SET judged = 0 WHERE seq = 3",
        "DELETE FROM clm_ledger WHERE seq = 5",
        "INSERT OR REPLACE INTO clm_ledger SELECT * FROM clm_ledger WHERE seq = 3",
        f"INSERT OR REPLACE INTO clm_ledger SELECT 6, kind, subject, {REST} WHERE seq = 3",
        f"INSERT INTO clm_ledger SELECT 9, kind, 'x', {REST} WHERE seq = 3",
    ],
)
def test_the_table_takes_nothing_but_the_next_row(five, statement):
    """A slip of a script, or of a hand; who means it drops the triggers, and is seen by the chain."""
    with pytest.raises(sqlite3.IntegrityError, match="append-only"):
        change(five, statement)
    assert len(rows_of(five)) == 5


@pytest.mark.parametrize("column", [name for name in LedgerRow.__dataclass_fields__ if name != "seq"])
def test_a_changed_value_names_its_row(five, journal, column):
    """Every column is part of the hash."""
    value = "0" if column == "judged" else "'x'"
    change(five, *OPEN, f"UPDATE clm_ledger SET {column} = {value} WHERE seq = 3")
    first = journal.ledger_breaks([])[0]
    assert first.seq == 3
    assert first.fault == ("misplaced" if column == "previous_sha256" else "edited")


@pytest.mark.parametrize("value", ["x'ff00'", "NULL", "'{'", "'[1]'", "1e999"])
def test_whatever_an_edit_leaves_behind_the_check_answers(five, journal, value):
    """A row that holds no JSON, or no text at all, is a break and not an exception."""
    change(five, *OPEN, "CREATE TABLE copy AS SELECT * FROM clm_ledger")
    change(five, f"UPDATE copy SET facts = {value} WHERE seq = 2", "DROP TABLE clm_ledger")
    change(five, "ALTER TABLE copy RENAME TO clm_ledger")
    assert [(found.seq, found.fault) for found in journal.ledger_breaks([])] == [(2, "edited")]
    assert journal.standing().broken_because.startswith("row 2 is edited")


def test_a_removed_row_is_missed(five, journal):
    """Also with a neighbour's end of the story: its run is there and has no row."""
    change(five, *OPEN, "DELETE FROM clm_ledger WHERE seq = 3")
    assert [found.fault for found in journal.ledger_breaks([])] == ["missing", "unrecorded"]
    assert journal.ledger_breaks([])[0].seq == 3


def test_two_rows_that_changed_places_are_named(five, journal):
    """The number is part of the hash."""
    change(
        five,
        *OPEN,
        "UPDATE clm_ledger SET seq = 99 WHERE seq = 2",
        "UPDATE clm_ledger SET seq = 2 WHERE seq = 3",
        "UPDATE clm_ledger SET seq = 3 WHERE seq = 99",
    )
    assert journal.ledger_breaks([])[0].seq == 2


def test_a_row_that_was_slipped_in_with_a_good_hash_of_its_own_is_named(five, journal):
    """A valid hash is not enough: the next row names the hash of the original row."""
    rows = rows_of(five)
    slipped = replace(rows[2], subject="p07_9", run_id="p07_9", outcome="PROMOTE")
    change(five, *OPEN, "UPDATE clm_ledger SET seq = seq + 100 WHERE seq >= 3")
    change(five, "UPDATE clm_ledger SET seq = seq - 99 WHERE seq >= 100")
    insert(five, "clm_ledger", **asdict(replace(slipped, sha256=hash_of(slipped))))
    # Its own place is right, the one behind it is not what it was.
    assert journal.ledger_breaks([])[0].seq == 4


def test_rows_gone_from_the_end_are_missed_by_their_runs_and_by_whoever_saw_the_head(five, journal):
    """A chain alone cannot see it: what is left is whole."""
    head = rows_of(five)[-1]
    change(five, *OPEN, "DELETE FROM clm_ledger WHERE seq > 3")
    assert list(breaks(rows_of(five))) == []
    assert [found.fault for found in journal.ledger_breaks([])] == ["unrecorded", "unrecorded"]
    change(five, "DELETE FROM clm_runs WHERE run_id IN ('p07_4', 'p07_5')")
    assert journal.ledger_breaks([]) == []
    seen = Head(seen_by="proof.json", seq=5, sha256=head.sha256)
    assert [(found.seq, found.fault) for found in journal.ledger_breaks([seen])] == [(5, "gone")]


def test_a_chain_written_anew_is_seen_by_whoever_saw_the_old_head(five, journal):
    """With the hash function and an hour everything fits again, but for what others hold."""
    old = rows_of(five)
    change(five, *OPEN, "DELETE FROM clm_ledger")
    previous = GENESIS
    for row in old:
        anew = replace(row, judged=0, previous_sha256=previous)
        anew = replace(anew, sha256=hash_of(anew))
        previous = anew.sha256
        insert(five, "clm_ledger", **asdict(anew))
    assert journal.ledger_breaks([]) == []
    seen = Head(seen_by="proof.json", seq=2, sha256=old[1].sha256)
    assert [(found.seq, found.fault) for found in journal.ledger_breaks([seen])] == [(2, "gone")]


def test_a_person_may_let_a_break_stand_and_that_is_a_row_too(five, journal):
    """A restored store must not end automatic promotions for ever; who decided it and why is kept."""
    change(five, *OPEN, "UPDATE clm_ledger SET reason = 'x' WHERE seq = 3")
    found = journal.ledger_breaks([])
    journal.append(acceptance(found, "the disk was restored", "today"))
    assert journal.ledger_breaks([]) == []
    assert look(five, "SELECT kind, reason FROM clm_ledger WHERE seq = 6") == [
        ("accepted", "the disk was restored")
    ]
    change(five, "UPDATE clm_ledger SET reason = 'y' WHERE seq = 4")
    assert [one.seq for one in journal.ledger_breaks([])] == [4]


def crown(promotions, run_id: str, version: str) -> None:
    record = prepared(promotions, version, run_id)
    promotions.advance(record.promotion_id, PromotionState.COMMITTED, events=[promoted(version)])


def test_a_crowning_is_a_row_and_its_event_carries_the_head(journal, promotions, outbox, store):
    """Readers of the stream hold what the store may lose."""
    run(journal, "p07_1")
    crown(promotions, "p07_1", "b")
    (row,) = look(store, "SELECT seq, kind, outcome, version, sha256 FROM clm_ledger WHERE seq = 2")
    assert row[:4] == (2, "promotion", "CROWNED", "b")
    told = [e.payload_json for e in outbox.unpublished(99) if e.event_type == "model.promoted"]
    assert f'"ledger_seq":2,"ledger_sha256":"{row[4]}"' in told[0]


def test_attempts_are_counted_since_the_champion_was_crowned(journal, promotions):
    """The champion's own attempt was one on the champion before."""
    for n in range(1, 4):
        run(journal, f"p07_{n}")
    assert journal.standing().past.since_crown == 3
    journal.start_run(run_start("p07_4"), [])
    crown(promotions, "p07_4", "b")
    finish(journal, "p07_4", decision="PROMOTE")
    assert (journal.standing().past.since_crown, journal.standing().champion) == (0, "b")
    run(journal, "p07_5")
    run(journal, "p07_6", decision="REFUSED", judged=False)
    assert journal.standing().past.since_crown == 1
    assert len(journal.standing().past.sharpes) == 5


def test_a_promotion_that_was_rolled_back_crowns_nobody(journal, promotions, store):
    """The old champion serves, and the attempts on it go on."""
    run(journal, "p07_1")
    record = prepared(promotions, "b")
    promotions.advance(record.promotion_id, PromotionState.ROLLED_BACK)
    assert look(store, "SELECT outcome FROM clm_ledger") == [("REJECT",), ("ROLLED_BACK",)]
    assert journal.standing().past.since_crown == 1


def test_what_a_person_promoted_and_why_is_a_row_and_going_back_starts_no_new_count(
    journal, promotions, store
):
    """An override keeps the operator's reason. A former champion's attempt was counted before."""
    crowned = prepared(promotions, "b", kind=PromotionKind.PROMOTE, asked="override: the gates are wrong")
    promotions.advance(crowned.promotion_id, PromotionState.COMMITTED)
    run(journal, "p07_2")
    back = prepared(promotions, "a", kind=PromotionKind.ROLLBACK, asked="it trades badly")
    promotions.advance(back.promotion_id, PromotionState.COMMITTED)
    promotions.adopt(
        path=Path("/c.pth"), sha256="c", env_sha256="e", reason="somebody edited", known=False, events=[]
    )
    assert look(store, "SELECT outcome, reason FROM clm_ledger WHERE kind = 'promotion'") == [
        ("CROWNED", "override: the gates are wrong"),
        ("RESTORED", "it trades badly"),
        ("ADOPTED", "somebody edited"),
    ]
    assert journal.standing().past.since_crown == 1


def test_runs_that_are_older_than_the_ledger_begin_its_chain(bare, clock):
    """They were attempts, too, and the champion may be one of them."""
    from alembic import command
    from alembic.config import Config
    from sqlalchemy import create_engine
    from sqlalchemy.pool import NullPool

    import clm.store
    from clm.store.runs import SqliteJournal
    from clm.store.tables import VERSION_TABLE

    config = Config()
    config.set_main_option("script_location", str(Path(clm.store.__file__).with_name("migrations")))
    with create_engine(f"sqlite:///{bare}", poolclass=NullPool).begin() as connection:
        config.attributes.update(connection=connection, version_table=VERSION_TABLE)
        command.upgrade(config, "0002")
    for n, (status, decision) in enumerate(
        [
            ("completed", "REJECT"),
            ("completed", "PROMOTE"),
            ("failed", None),
            ("completed", "HOLD"),
            ("running", None),
        ]
    ):
        old_run(bare, f"p07_{n}", status, decision, iso(NOW + timedelta(hours=n)))
    crowned_at = iso(NOW + timedelta(minutes=59))
    insert(
        bare,
        "clm_promotions",
        run_id="p07_1",
        version="b",
        candidate_path="/b",
        candidate_sha256="c",
        env_sha256_before="e",
        state="COMMITTED",
        attempts=1,
        reason="",
        created_at=crowned_at,
        updated_at=crowned_at,
    )
    migrate(bare)
    told = look(bare, "SELECT seq, kind, subject, outcome, judged FROM clm_ledger ORDER BY seq")
    assert told == [
        (1, "imported", "p07_0", "REJECT", 1),
        (2, "imported", "promotion 1", "CROWNED", 0),
        (3, "imported", "p07_1", "PROMOTE", 1),
        (4, "imported", "p07_2", "FAILED", 0),
        (5, "imported", "p07_3", "HOLD", 1),
    ]
    journal = SqliteJournal(bare, clock)
    assert journal.ledger_breaks([]) == []
    assert journal.standing().past.since_crown == 1
    assert journal.run("p07_3").ledger_row == 5


def test_a_store_without_the_ledger_can_be_looked_at(bare, clock, queue):
    """`clm status` changes nothing, also where an older program made the tables."""
    from clm.store.runs import SqliteJournal

    queue.submit(WISH, NOW)
    change(bare, "DROP TABLE clm_ledger")
    journal = SqliteJournal(bare, clock)
    old_run(bare, "p07_1", "completed", "REJECT", iso(NOW))
    assert journal.run("p07_1").ledger_row is None
    assert (journal.standing().rows, journal.standing().head_sha256) == (0, GENESIS)
    assert journal.ledger_breaks([]) == []
    with pytest.raises(DataError):
        finish(journal, "p07_1")
