"""One short read; what is in the rows is for others to judge."""

import os
import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta, timezone

import numpy as np
import pytest

from clm.clock import from_micros
from clm.data.reading import SampleColumns, parse_samples
from clm.errors import DataError
from clm.store import sample_reader, samples
from clm.store.create import insert_samples
from clm.store.memory import available_bytes, bytes_to_read
from clm.store.samples import SqliteSampleSource
from tests.builders import NOW
from tests.store.conftest import change, child, look, sample

CUTOFF = datetime(2027, 1, 1, tzinfo=UTC)


def read(path, since=None) -> SampleColumns:
    return SqliteSampleSource(path).read(since, 1000)


def times(path, since) -> list[datetime]:
    return sorted(
        from_micros(micros) for block in read(path, since).blocks for micros in block.decided_at_R.tolist()
    )


def test_rows_become_columns(bare):
    """The whole way of one good row out of a store."""
    insert_samples(
        bare,
        [
            sample(
                realized_pnl=1.5, outcome_known=1, target_class="WIN", exit_time="2026-01-01 01:00:00",
                execution_side="SELL", entry_price=100, exit_price=99.0, feature_names='["a", "b"]',
            )
        ],
    )  # fmt: skip
    (block,) = read(bare).blocks
    assert (block.names, block.whole, block.symbols) == (("a", "b"), True, ("BTCUSDT",))
    assert block.features_RC.tolist() == [[1.0, 2.0]]
    assert (block.sample_id_R[0], block.side_R[0], block.outcome_R[0]) == (1, -1, 1)
    assert (block.pnl_R[0], block.market_return_R[0]) == (1.5, 99.0 / 100 - 1)
    assert from_micros(block.resolved_at_R[0]) == datetime(2026, 1, 1, 1, tzinfo=UTC)


def test_b5_values_of_the_wrong_type_are_seen_as_what_they_are(bare):
    """SQLite binds no types: text in a FLOAT column must not turn into a number on the way."""
    closed = {"outcome_known": 1, "target_class": "WIN", "exit_time": "2026-01-01 01:00:00"}
    insert_samples(
        bare,
        [
            sample(realized_pnl="abc", entry_price=float("inf"), exit_price=float("nan"), **closed),
            sample(realized_pnl=float("-inf"), entry_price=None, exit_price="1e", **closed),
            sample(timestamp=12),
        ],
    )
    table = parse_samples(read(bare), cutoff=CUTOFF)
    assert np.isnan(table.pnl_R).all()
    assert np.isnan(table.market_return_R).all()
    assert len(table) == 2
    assert table.rejected == {"bad_timestamp": 1}


def test_b6_text_that_is_not_utf8_does_not_end_the_read(bare):
    """One bad row once killed the fetch of all."""
    insert_samples(bare, [sample(), sample()])
    change(bare, "UPDATE ai_training_samples SET symbol = CAST(x'ff31' AS TEXT) WHERE id = 1")
    table = parse_samples(read(bare), cutoff=CUTOFF)
    assert (table.sample_id_R.tolist(), table.rejected) == ([2], {"bad_symbol": 1})


@pytest.mark.parametrize("rest", [0, 20])
def test_since_keeps_what_was_decided_at_or_after_it(bare, rest):
    """Both forms of the text, to the microsecond, by the index (`rest`) and by reading the whole table."""
    written = (
        "2025-12-31 23:59:59.999999",
        "2026-01-01 00:00:00",
        "2026-01-01 00:00:00.000000",
        "2026-01-01 00:00:00.000001",
        "2026-01-01T00:00:00Z",
    )
    insert_samples(bare, [sample(timestamp=text) for text in written])
    insert_samples(bare, [sample(timestamp="2020-01-01 00:00:00")] * rest)
    since = datetime(2026, 1, 1, tzinfo=UTC)
    at_since = [since] * 3
    after = since + timedelta(microseconds=1)
    assert times(bare, since) == [*at_since, after]
    assert times(bare, after) == [after]
    assert times(bare, since.astimezone(timezone(timedelta(hours=9)))) == [*at_since, after]


def test_since_means_the_moment_not_the_text(bare):
    """A writer in another time zone writes the same moment as another text."""
    insert_samples(
        bare,
        [
            sample(timestamp="2026-01-01 13:30:00+14:00"),
            sample(timestamp="2025-12-31 13:00:00-12:00"),
            sample(timestamp="2026-01-01 13:30:00+13:00"),
        ],
    )
    assert times(bare, datetime(2026, 1, 1, tzinfo=UTC)) == [
        datetime(2026, 1, 1, 0, 30, tzinfo=UTC), datetime(2026, 1, 1, 1, tzinfo=UTC)
    ]  # fmt: skip


def test_a_time_that_sql_cannot_compare_is_read_or_counted(bare):
    """A row that SQL cannot place in the window must not vanish from the samples, nor from the bad rows."""
    in_window, before = 1767225600, 1577836800
    times = [in_window, in_window * 1000, f" {in_window}", before, f"{before}", "2020-01-01 00:00:00", 7]
    insert_samples(bare, [sample(timestamp=time, exit_time=None) for time in times])
    columns = read(bare, datetime(2026, 1, 1, tzinfo=UTC))
    assert sorted(columns.blocks[0].sample_id_R.tolist()) == [1, 2, 3]
    assert [(reject.sample_id, reject.reason) for reject in columns.rejects] == [(7, "bad_timestamp")]
    assert columns.rows_read == 4


def test_b12_more_rows_than_the_cap_are_refused_before_they_are_read(bare, statements):
    """Dying of memory is no way to say that a store is large."""
    insert_samples(bare, [sample()] * 11)
    statements.clear()
    with pytest.raises(DataError, match=r"DATA_TOO_BIG: .* holds 11 samples in the window, more than the 10"):
        SqliteSampleSource(bare).read(None, 10)
    assert not [s for s in statements if "exit_time" in s]
    assert SqliteSampleSource(bare).read(None, 11).rows_read == 11


def test_b12_a_store_that_does_not_fit_into_memory_is_refused_before_it_is_read(bare, statements):
    """Being killed for memory takes the daemon away with it; the estimate takes a millisecond."""
    insert_samples(bare, [sample()] * 3)
    needed = bytes_to_read(3, 2)
    statements.clear()
    with pytest.raises(DataError, match=r"DATA_TOO_BIG: .* 3 samples of about 2 features .* GB are free"):
        SqliteSampleSource(bare, available=lambda: needed - 1).read(None, 10)
    assert not [s for s in statements if "exit_time" in s]
    assert SqliteSampleSource(bare, available=lambda: needed).read(None, 10).rows_read == 3
    assert SqliteSampleSource(bare, available=lambda: None).read(None, 10).rows_read == 3


def test_b12_what_is_estimated_is_what_the_columns_take(bare):
    """Columns, and the same again while they are put in order."""
    columns = read(bare)
    insert_samples(bare, [sample()] * 200)
    (block,) = read(bare).blocks
    held = sum(array.nbytes for array in block.columns().values())
    assert columns.rows_read == 0
    assert bytes_to_read(200, 2) - bytes_to_read(0, 2) == 2 * held


def test_the_memory_that_is_free_is_known_here():
    """On Linux the kernel says, for the machine and for the control group."""
    free = available_bytes()
    assert free is not None
    assert 10 << 20 < free < 1 << 50


def test_the_newest_sample_is_the_latest_time_up_to_now(bare, clock):
    """Ids do not follow time, junk sorts after every time, and one from the future would empty the window."""
    source = SqliteSampleSource(bare, clock)
    assert source.newest() is None
    for text in (
        "2026-01-01 10:00:00",
        "2026-01-01T09:00:00Z",
        "2099-01-01 00:00:00",
        "zzz",
        "2025-01-01 00:00:00",
    ):
        insert_samples(bare, [sample(timestamp=text)])
    assert source.newest() == datetime(2026, 1, 1, 10, tzinfo=UTC)


def test_a_table_of_which_no_time_can_be_read_is_refused(bare, clock):
    """No answer is better than a window around nothing."""
    insert_samples(bare, [sample(timestamp="soon"), sample(timestamp="2099-01-01 00:00:00")])
    with pytest.raises(DataError, match=r"DATA_BAD: none of the newest 2 timestamps.*'?soon"):
        SqliteSampleSource(bare, clock).newest()


def test_a13_only_the_sample_table_is_read_and_no_copy_is_left(bare, statements):
    """A copy of the file would hold the secrets, and a copied WAL may be torn."""
    SqliteSampleSource(bare).read(NOW, 10)
    read = [
        s for s in statements if "FROM" in s and "sqlite_master" not in s and "pragma_table_info" not in s
    ]
    assert read
    assert all("ai_training_samples" in s or "snapshot.copied" in s for s in read)
    assert [path.name for path in bare.parent.iterdir()] == [bare.name]


@pytest.fixture(params=["copied", "in pieces"])
def way(request, monkeypatch) -> str:
    """Small stores are copied at once; large ones are read in pieces, between which writers go ahead."""
    if request.param == "in pieces":
        monkeypatch.setattr(samples, "_COPIED_ROWS", -1)
        monkeypatch.setattr(sample_reader, "CHUNK_ROWS", 4)
        monkeypatch.setattr(sample_reader, "_CHUNKS_A_PIECE", 1)
    return request.param


def counts_beside(path, write: Callable[[], None]) -> list[int]:
    """Read again and again while another thread writes; it must have got through at least ten times."""
    stop = threading.Event()
    written = []

    def go_on() -> None:
        while not stop.wait(0.002):
            write()
            written.append(1)

    writer = threading.Thread(target=go_on)
    writer.start()
    counts: list[int] = []
    deadline = time.monotonic() + 60
    try:
        while (len(counts) < 20 or len(written) < 10) and time.monotonic() < deadline:
            counts.append(SqliteSampleSource(path).read(None, 10**6).rows_read)
    finally:
        stop.set()
        writer.join()
    assert len(written) >= 10
    return counts


def test_b10_a_read_is_one_snapshot(bare, way):
    """Pairs of rows are written together; half a pair is never seen."""
    counts = counts_beside(bare, lambda: insert_samples(bare, [sample(), sample()]))
    assert len(set(counts)) > 1
    assert all(count % 2 == 0 for count in counts)


def test_b10_rows_that_are_removed_while_we_read_are_gone_together(bare, way):
    """Two go and two come in one transaction: there are forty at any time."""
    insert_samples(bare, [sample()] * 40)
    least = "(SELECT min(id) FROM ai_training_samples)"
    taken = "symbol, timestamp, predicted_action, prediction_score, prediction_confidence, features"

    def exchange() -> None:
        change(
            bare,
            "BEGIN IMMEDIATE",
            f"INSERT INTO ai_training_samples ({taken}) SELECT {taken} FROM ai_training_samples LIMIT 2",
            f"DELETE FROM ai_training_samples WHERE id < {least} + 2",
            "COMMIT",
        )

    assert set(counts_beside(bare, exchange)) == {40}


def test_rows_with_gaps_between_their_ids_are_all_found_in_pieces(bare, way):
    """Ids say nothing of how many rows there are, and may be negative."""
    ids = [-(2**63), -7, -6, 0, 1, 2, 3, 5, 8, 90, 91, 10**6, 10**6 + 1, 2**40, 2**63 - 2, 2**63 - 1]
    insert_samples(bare, [sample(id=sample_id) for sample_id in ids])
    (block,) = read(bare).blocks
    assert sorted(block.sample_id_R.tolist()) == ids


def test_a_label_that_comes_while_we_read_is_seen_with_what_came_before_it(bare, way, monkeypatch):
    """The outcome of the first row and the last row are written together; they are read together."""
    insert_samples(bare, [sample(timestamp=f"2026-01-01 00:{n:02d}:00", outcome_known=0) for n in range(40)])
    snapshot = sample_reader.SampleReader.snapshot
    begun = []

    def write() -> None:
        insert_samples(bare, [sample(timestamp="2026-01-01 02:00:00")])
        change(bare, "UPDATE ai_training_samples SET outcome_known = 1, target_class = 'WIN', "
                     "exit_time = '2026-01-01 03:00:00' WHERE id = 1")  # fmt: skip

    def interrupted(reader):
        begun.append(1)
        if len(begun) == 3:
            # No lock is held before a piece begins, and the first row was read with an earlier one.
            write()
        return snapshot(reader)

    if way == "copied":
        write()
    else:
        monkeypatch.setattr(sample_reader.SampleReader, "snapshot", interrupted)
    table = parse_samples(read(bare), cutoff=CUTOFF)
    assert len(begun) >= 3 or way == "copied"
    assert len(table) == 41
    assert table.sample_id_R[table.labelled_R].tolist() == [1]


ENGINE = """
import sqlite3, sys, time
path, reader = sys.argv[1], int(sys.argv[2])
reader_clock = (~reader << 3) | 2  # what clock_getcpuclockid(3) returns for a process
connection = sqlite3.connect(path, timeout=0, isolation_level=None)
insert = "INSERT INTO ai_training_samples (symbol, timestamp, predicted_action, prediction_score, " \\
         "prediction_confidence, features) VALUES ('X', '2026-01-01 00:00:00', 'BUY', 1, 1, '[]')"

def patiently(statement):
    while True:
        try:
            return connection.execute(statement)
        except sqlite3.OperationalError:  # locked; what the reader computes meanwhile is looked at
            time.sleep(0.0005)

print("ready", flush=True)
while True:
    began = time.clock_gettime(reader_clock)
    patiently("BEGIN IMMEDIATE")
    patiently(insert)
    patiently("COMMIT")
    print(time.clock_gettime(reader_clock) - began, flush=True)
    time.sleep(0.005)
"""


def large_store(path) -> None:
    """100,000 rows of the usual size."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(
            "WITH RECURSIVE n (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 99999) "
            "INSERT INTO ai_training_samples (symbol, timestamp, predicted_action, prediction_score, "
            "prediction_confidence, features, feature_names, execution_side, entry_price, exit_price, "
            "exit_time, outcome_known, realized_pnl, target_class) "
            "SELECT 'BTCUSDT', datetime('2024-01-01', '+' || (i * 7919 % 100000) || ' minutes'), "
            "'BUY', 0.7, 0.7, "
            'printf(\'{"rsi": %.10f, "ma_cross": %.10f, "volatility": %.10f, "returns_1h": %.10f, '
            '"macd": %.10f, "momentum": %.10f, "volume_ratio": %.10f, "bb": %.10f}\', i,i,i,i,i,i,i,i), '
            '\'["rsi", "ma_cross", "volatility", "returns_1h", "macd", "momentum", "volume_ratio", "bb"]\', '
            "'BUY', 100.0 + i, 101.0 + i, '2024-06-01 00:00:00', 1, 1.0, 'WIN' FROM n"
        )
        connection.commit()


@pytest.mark.parametrize("since", [None, datetime(2024, 1, 2, tzinfo=UTC)])
@pytest.mark.parametrize("copied_rows", [200_000, 0], ids=["copied", "in pieces"])
def test_a4_the_engine_waits_less_than_a_quarter_of_a_second_while_100k_rows_are_read(
    bare, since, copied_rows, monkeypatch
):
    """With a rollback journal, no process can commit while we read; the engine gives up after 10 s.

    A wait is measured in the reader's CPU seconds: that is what delays the engine, and
    other work of the machine adds nothing to it.
    """
    monkeypatch.setattr(samples, "_COPIED_ROWS", copied_rows)
    large_store(bare)
    # The scheduler may let the engine sleep through the gap between two pieces; a reader that holds its lock
    # for too long fails every time.
    assert min(longest_wait(bare, since) for _ in range(4)) < 0.25


def longest_wait(path, since) -> float:
    """Return the processor seconds that the reader took while a writer waited, at most, in two readings."""
    engine = child(ENGINE, path, os.getpid())
    assert engine.stdout.readline() == "ready\n"
    source = SqliteSampleSource(path)
    try:
        for _ in range(2):
            assert source.read(since, 10**6).rows_read > 95_000
    finally:
        engine.kill()
        said, _ = engine.communicate()
    waits = [float(line) for line in said.splitlines()[:-1]]
    assert len(waits) > 4
    assert max(waits) > 0
    return max(waits)


def test_no_lock_is_left_after_a_read(bare):
    """Training takes minutes; nothing of the store may be held meanwhile."""
    insert_samples(bare, [sample()])
    kept = SqliteSampleSource(bare).read(None, 10)
    with closing(sqlite3.connect(bare, timeout=0, isolation_level=None)) as engine:
        engine.execute("BEGIN EXCLUSIVE")
        engine.execute("ALTER TABLE ai_training_samples ADD COLUMN regime TEXT")
        engine.execute("COMMIT")
    assert kept.rows_read == 1
    assert look(bare, "SELECT count(*) FROM ai_training_samples") == [(1,)]
