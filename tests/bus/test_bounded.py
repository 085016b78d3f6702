"""Entries of any size: one reply takes bounded memory, and every entry is acknowledged."""

import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import pytest
import redis
from structlog.testing import capture_logs

from clm.bus import bounded
from clm.bus.bounded import Discarded, PageSize, discarded, judgeable
from clm.bus.brake import RedisBrake
from clm.bus.entries import GROUP, UNREAD
from clm.bus.streams import FROZEN_KEY, MODEL_RETRAIN
from clm.bus.telemetry import INTENT_STREAM, read_telemetry
from clm.domain.line import DEFAULT_LINE
from clm.evaluation.shadow import record_of

pytestmark = pytest.mark.needs_redis

WISH = {"model": "patchtst", "source": "test"}
DLQ = f"{MODEL_RETRAIN}:dlq"
PEAK = """
import sys, structlog
from clm.bus.client import connect
from clm.bus.inbox import Subscription, TriggerConsumer
from clm.bus.telemetry import RedisTelemetry, read_telemetry
from clm.clock import SystemClock
from clm.domain.line import DEFAULT_LINE
from tests.memory_store import MemoryQueue
structlog.configure(logger_factory=structlog.ReturnLoggerFactory())
client, queue = connect(sys.argv[1]), MemoryQueue()
named = Subscription(consumer="clm@1", family=DEFAULT_LINE.family, block_ms=1)
consumer = TriggerConsumer(client, queue, SystemClock(), named)
def peak():
    with open("/proc/self/status") as status:  # getrusage would count the parent before the exec
        return next(int(line.split()[1]) // 1024 for line in status if line.startswith("VmHWM"))

start = peak()
while len(queue.inbox) < int(sys.argv[2]):
    consumer.poll_once()
read_telemetry(client, "x", line=DEFAULT_LINE, serving_since=0)
RedisTelemetry(client, DEFAULT_LINE).live_predictions()
print(start, peak())
"""


def fill(plain: redis.Redis, stream: str, n: int, size_bytes: int) -> None:
    for start in range(0, n, 10):
        pipeline = plain.pipeline(transaction=False)
        for at in range(start, min(n, start + 10)):
            pipeline.xadd(stream, {"model": "patchtst", "n": at, "x": "a" * size_bytes})
        pipeline.execute()


def peak_mb(url: str, entries: int) -> tuple[int, int]:
    """Read everything in a process of its own; return its peak memory before and after."""
    command = [sys.executable, "-c", PEAK, url, str(entries)]
    done = subprocess.run(
        command, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr[-2000:]
    start, end = done.stdout.split()
    return int(start), int(end)


@pytest.mark.parametrize(("n", "size_bytes"), [(60, 4_000_000), (1500, 120_000)])
def test_entries_of_any_size_cost_bounded_memory(server, plain, n, size_bytes):
    """Long values are discarded while they are read; many shorter ones exceed the budget of a reply."""
    fill(plain, MODEL_RETRAIN, n, size_bytes)
    fill(plain, INTENT_STREAM, n, size_bytes)
    start, end = peak_mb(server.url, n)
    assert end - start < 60, (start, end)
    assert end < 200
    assert plain.xpending(MODEL_RETRAIN, GROUP)["pending"] == 0
    assert plain.xlen(DLQ) >= min(n, 1000)


def test_c4_an_entry_too_large_to_read_is_buried_by_its_id_and_its_neighbours_are_stored(
    client, plain, queue, make_consumer
):
    """The dead letter names the size; the payload was never in memory."""
    good = [plain.xadd(MODEL_RETRAIN, WISH)]
    bad = plain.xadd(MODEL_RETRAIN, {**WISH, "x": "a" * 4_000_000})
    good.append(plain.xadd(MODEL_RETRAIN, WISH))
    with capture_logs() as lines:
        assert make_consumer(client).poll_once() == 3
    ((_, letter),) = plain.xrange(DLQ)
    assert (letter["orig_id"], letter["sha256"]) == (bad, UNREAD)
    assert "4000000 bytes" in letter["reason"]
    assert "x=(4000000 bytes, not read)" in letter["payload"]
    assert [d.entry_id for d, what in queue.inbox.items() if isinstance(what, int)] == good
    assert [line["entry_id"] for line in lines if line["event"] == "trigger.rejected"] == [bad]
    assert plain.xpending(MODEL_RETRAIN, GROUP)["pending"] == 0


def test_c4_what_had_no_room_in_a_reply_is_read_again_and_stored(
    monkeypatch, client, plain, queue, make_consumer
):
    """An entry of many values uses up the reply's budget; the valid entries after it are not blamed."""
    monkeypatch.setattr(bounded, "REPLY_BYTES", 20_000)
    ids = [plain.xadd(MODEL_RETRAIN, WISH) for _ in range(3)]
    bad = plain.xadd(MODEL_RETRAIN, {**WISH, **{f"x{n}": "a" * 1000 for n in range(40)}})
    ids += [plain.xadd(MODEL_RETRAIN, WISH) for _ in range(30)]
    consumer = make_consumer(client)
    handled = sum(consumer.poll_once() for _ in range(3))
    assert handled == len(ids) + 1
    assert [d.entry_id for d, what in queue.inbox.items() if isinstance(what, int)] == ids
    assert [letter["orig_id"] for _, letter in plain.xrange(DLQ)] == [bad]
    assert plain.xpending(MODEL_RETRAIN, GROUP)["pending"] == 0


def test_c5_an_entry_that_ended_the_process_is_never_read_again(client, plain, queue, make_consumer):
    """It is buried by its id: reading it could end the process before its count is looked at."""
    make_consumer(client).poll_once()
    bad = plain.xadd(MODEL_RETRAIN, WISH)
    plain.xreadgroup(GROUP, "clm@0123abcd", {MODEL_RETRAIN: ">"})
    plain.xclaim(MODEL_RETRAIN, GROUP, "clm@0123abcd", 0, [bad], retrycount=2)
    read, seen = client.xreadgroup, []

    def watched(*args, **named):
        reply = read(*args, **named)
        seen.extend(entry_id for _, page in reply for entry_id, _ in page)
        return reply

    client.xreadgroup = watched
    assert make_consumer(client).poll_once() == 1
    assert seen == []
    ((_, letter),) = plain.xrange(DLQ)
    assert (letter["orig_id"], letter["sha256"]) == (bad, UNREAD)


def test_many_rejected_entries_on_a_slow_disk_do_not_silence_the_bus(client, plain, queue, make_consumer):
    """One transaction records a hundred dead letters, and the thread shows life after each."""
    bury, lives, acknowledged = queue.bury, [], []

    def slow(dead, now):
        time.sleep(0.06)
        bury(dead, now)

    queue.bury = slow
    consumer = make_consumer(client)
    consumer.poll_once(1)
    consumer.sign_of_life = lambda: (
        lives.append(time.monotonic()),
        acknowledged.append(len(queue.buried()) - plain.xpending(MODEL_RETRAIN, GROUP)["pending"]),
    )
    pipeline = plain.pipeline()
    for _ in range(500):
        pipeline.xadd(MODEL_RETRAIN, {"x": "y"})
    pipeline.execute()
    started = time.monotonic()
    with capture_logs():
        while len(queue.buried()) < 500:
            consumer.poll_once(1)
    assert time.monotonic() - started < 5, "one at a time, it is 30 s"
    assert max(after - before for before, after in pairwise(lives)) < 2
    assert plain.xpending(MODEL_RETRAIN, GROUP)["pending"] == 0
    assert len({n for n in acknowledged if n > 0}) >= 5, "acknowledged as they go"


def test_a_freeze_key_of_any_size_freezes(client, plain):
    """A value that is too long to keep is not a release."""
    plain.set(FROZEN_KEY, "x" * 5_000_000)
    assert "5000000 bytes" in RedisBrake(client).frozen_because()


@pytest.mark.parametrize(
    "moment", ["9" * 400, "-1", "1e308", "0001-01-01", "9999-12-31T23:59:59-23:59", "NaN", "[" * 1000, ""]
)
def test_no_moment_of_a_prediction_ends_the_reading_of_the_record(client, plain, moment):
    """`clm gates` and `clm activate` read the record."""
    event = {
        "symbol": "BTCUSDT",
        "side": "BUY",
        "timestamp": moment,
        "model_breakdown": '{"patchtst": {"action": "BUY", "confidence": 0.7, "model": "x"}}',
    }
    for entry_id in ("1-1", "1700000000000-0", "18446744073709551615-18446744073709551615"):
        plain.xadd(INTENT_STREAM, event, id=entry_id)
    found = read_telemetry(client, "x", line=DEFAULT_LINE, serving_since=0)
    record = record_of("x", found.intents, found.outcomes, found.left_out)
    assert len(record) + sum(found.left_out.values()) == 3


def test_pages_shrink_after_large_replies_and_grow_after_small_ones():
    """The first entry of a page is judged although it is incomplete; the others are read again."""
    lost = Discarded(size_bytes=9, alone=False)
    long = Discarded(size_bytes=9, alone=True)
    page = [(b"1-0", {b"a": lost}), (b"2-0", {b"a": long}), (b"3-0", {b"a": b"b"}), (b"4-0", {b"a": lost})]
    assert [entry_id for entry_id, _ in judgeable(page)] == [b"1-0", b"2-0", b"3-0"]
    assert judgeable(page, alone=False) == []
    assert discarded({b"a": b"b"}) is None
    size = PageSize(500)
    counts = []
    for page_read in (page, page, page[2:3], page[2:3], page[2:3]):
        size.note(page_read)
        counts.append(size.count)
    assert counts == [16, 8, 32, 128, 500]
