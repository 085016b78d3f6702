"""One short read; what is in the rows is for others to judge."""

import sqlite3
import threading
import time
from contextlib import closing
from datetime import UTC, datetime, timedelta

import pytest

from clm.data.reading import RAW_COLUMNS
from clm.errors import DataError
from clm.store.create import insert_samples
from clm.store.samples import SqliteSampleSource
from tests.builders import NOW
from tests.store.conftest import change, child, look, sample

TIME = RAW_COLUMNS.index("timestamp")


def times(path, since) -> list[object]:
    return sorted(row[TIME] for row in SqliteSampleSource(path).read(since, 1000).rows)


def test_rows_come_in_the_order_of_the_columns_with_text_as_bytes(bare):
    """The reader of features decodes by itself, and strictly."""
    insert_samples(bare, [sample(realized_pnl=1.5, outcome_known=1, target_class="WIN")])
    (row,) = SqliteSampleSource(bare).read(None, 10).rows
    assert row == (
        1, b"BTCUSDT", b"2026-01-01 00:00:00", b"[1.0, 2.0]", None, None, None, None, None, 1, 1.5, b"WIN",
    )  # fmt: skip


def test_b5_values_of_the_wrong_type_pass_through_unchanged(bare):
    """SQLite binds no types; what a column holds has to be seen to be counted."""
    insert_samples(
        bare, [sample(realized_pnl="abc", entry_price=float("inf"), exit_price=float("nan"), timestamp=12)]
    )
    (row,) = SqliteSampleSource(bare).read(None, 10).rows
    by_name = dict(zip(RAW_COLUMNS, row, strict=True))
    assert by_name["realized_pnl"] == b"abc"
    assert by_name["entry_price"] == float("inf")
    assert by_name["exit_price"] is None
    assert by_name["timestamp"] == 12


def test_b6_text_that_is_not_utf8_does_not_end_the_read(bare):
    """One bad row once killed the fetch of all."""
    insert_samples(bare, [sample(), sample()])
    change(bare, "UPDATE ai_training_samples SET symbol = CAST(x'ff31' AS TEXT) WHERE id = 1")
    assert [row[1] for row in SqliteSampleSource(bare).read(None, 10).rows] == [b"\xff1", b"BTCUSDT"]


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
    late = [text.encode() for text in sorted(written)[1:]]
    assert times(bare, since) == late
    assert times(bare, since + timedelta(microseconds=1)) == [
        b"2026-01-01 00:00:00.000001",
        b"2026-01-01T00:00:00Z",
    ]
    assert times(bare, since.astimezone(datetime.now().astimezone().tzinfo)) == late


def test_a_time_that_is_no_text_is_handed_on_to_be_counted(bare):
    """A row that cannot be placed in the window must not vanish from the count of bad rows."""
    insert_samples(bare, [sample(timestamp=1767225600), sample(timestamp="2020-01-01 00:00:00")])
    assert times(bare, datetime(2026, 1, 1, tzinfo=UTC)) == [1767225600]


def test_b12_more_rows_than_the_cap_are_refused_before_they_are_read(bare, statements):
    """Dying of memory is no way to say that a store is large."""
    insert_samples(bare, [sample()] * 11)
    statements.clear()
    with pytest.raises(DataError, match=r"DATA_TOO_BIG: .* holds 11 samples in the window, more than the 10"):
        SqliteSampleSource(bare).read(None, 10)
    assert not [s for s in statements if "features" in s]
    assert len(SqliteSampleSource(bare).read(None, 11).rows) == 11


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


def test_b10_a_read_is_one_snapshot(bare):
    """Pairs of rows are written together; half a pair is never seen."""
    stop = threading.Event()

    def write() -> None:
        while not stop.wait(0.02):
            insert_samples(bare, [sample(), sample()])

    writer = threading.Thread(target=write)
    writer.start()
    try:
        counts: list[int] = []
        while len(counts) < 8 or not counts[-1]:  # the writer may take its time to begin
            counts.append(len(SqliteSampleSource(bare).read(None, 10**6).rows))
    finally:
        stop.set()
        writer.join()
    assert counts[-1] > 0
    assert all(count % 2 == 0 for count in counts)


INSERT = """
import sqlite3, sys, time
connection = sqlite3.connect(sys.argv[1], timeout=10, isolation_level=None)
insert = "INSERT INTO ai_training_samples (symbol, timestamp, predicted_action, prediction_score, " \\
         "prediction_confidence, features) VALUES ('X', '2026-01-01 00:00:00', 'BUY', 1, 1, '[]')"
print("ready", flush=True)
longest = 0
while "stop" not in sys.argv:
    began = time.monotonic()
    connection.execute(insert)
    took = time.monotonic() - began
    print(began, took, flush=True)
    time.sleep(0.01)
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
def test_a4_the_engine_waits_less_than_a_quarter_of_a_second_while_100k_rows_are_read(bare, since):
    """With a rollback journal nobody can commit while we read; the engine gives up after 10 s."""
    large_store(bare)
    engine = child(INSERT, bare)
    assert engine.stdout.readline() == "ready\n"
    source = SqliteSampleSource(bare)
    spans = []
    try:
        for _ in range(3):
            time.sleep(0.1)
            began = time.monotonic()
            assert len(source.read(since, 10**6).rows) > 95_000
            spans.append((began, time.monotonic()))
    finally:
        engine.kill()
        said, _ = engine.communicate()
    waits = [tuple(map(float, line.split())) for line in said.splitlines() if len(line.split()) == 2]
    longest = [
        max((took for at, took in waits if at + took > began and at < ended), default=0.0)
        for began, ended in spans
    ]
    assert len(waits) > 10
    # On a machine at rest a bare scan takes 0.05 s, and the rows as Python objects ten times as long. On
    # one that is busy with other things both grow, so the bound does; the quietest of three counts.
    assert 0 < min(longest) < max(0.25, 5 * seconds_of_a_bare_scan(bare))


def seconds_of_a_bare_scan(path) -> float:
    times = []
    with closing(sqlite3.connect(path)) as connection:
        for _ in range(3):
            began = time.monotonic()
            connection.execute("SELECT sum(length(target_class)) FROM ai_training_samples").fetchone()
            times.append(time.monotonic() - began)
    return min(times)


def test_no_lock_is_left_after_a_read(bare):
    """Training takes minutes; nothing of the store may be held meanwhile."""
    insert_samples(bare, [sample()])
    kept = SqliteSampleSource(bare).read(None, 10)
    with closing(sqlite3.connect(bare, timeout=0, isolation_level=None)) as engine:
        engine.execute("BEGIN EXCLUSIVE")
        engine.execute("ALTER TABLE ai_training_samples ADD COLUMN regime TEXT")
        engine.execute("COMMIT")
    assert len(kept.rows) == 1
    assert look(bare, "SELECT count(*) FROM ai_training_samples") == [(1,)]
