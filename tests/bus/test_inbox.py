"""From a stream to the queue, against a real redis-server."""

import configparser
import threading
import time
from datetime import timedelta
from pathlib import Path

import pytest
import redis
from redis.exceptions import ConnectionError as Lost
from structlog.testing import capture_logs

from clm.bus import entries
from clm.bus.entries import GROUP, MAX_DELIVERIES
from clm.bus.inbox import BATCH, consumer_name
from clm.bus.streams import MANUAL_RETRAIN, MODEL_RETRAIN
from clm.errors import BusUnavailable, ConfigError, StoreBusy

pytestmark = pytest.mark.needs_redis

UNIT = Path(__file__).parents[2] / "deploy" / "systemd" / "quantum-clm.service"
WISH = {"model": "patchtst", "source": "test"}
SMALL_PAGES = 2
"""The first pages are small: the size of the entries is not known yet."""
DLQ = f"{MODEL_RETRAIN}:dlq"


def pending(plain: redis.Redis, stream: str = MODEL_RETRAIN) -> int:
    return plain.xpending(stream, GROUP)["pending"]


def test_a_trigger_on_either_stream_becomes_a_task_and_is_acknowledged(client, plain, queue, make_consumer):
    """This includes triggers sent before the group existed: the group starts at 0."""
    plain.xadd(MODEL_RETRAIN, WISH)
    plain.xadd(MANUAL_RETRAIN, {"model_type": "patchtst", "reason": "by hand", "requested_by": "anna"})
    consumer = make_consumer(client)
    assert consumer.poll_once() == 2
    assert {trigger.reason for trigger in queue.triggers} == {f"requested on {MODEL_RETRAIN}", "by hand"}
    assert pending(plain) == pending(plain, MANUAL_RETRAIN) == 0
    assert consumer.poll_once() == 0


def test_c1_what_was_read_and_not_stored_is_read_again_after_a_restart(client, plain, queue, make_consumer):
    """After a crash between read and insert, the entry is still pending."""
    make_consumer(client).poll_once()
    plain.xadd(MODEL_RETRAIN, WISH)
    plain.xreadgroup(GROUP, "clm@0123abcd", {MODEL_RETRAIN: ">"})
    assert pending(plain) == 1
    assert make_consumer(client).poll_once() == 1
    assert len(queue.triggers) == 1
    assert pending(plain) == 0


def test_c2_what_was_stored_and_not_acknowledged_makes_no_second_task(client, plain, queue, make_consumer):
    """After a crash between insert and XACK, the entry is redelivered, recognised and acknowledged."""
    plain.xadd(MODEL_RETRAIN, WISH)
    queue.fail_after = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        make_consumer(client).poll_once()
    assert (len(queue.triggers), pending(plain)) == (1, 1)
    assert make_consumer(client).poll_once() == 1
    assert (len(queue.triggers), pending(plain)) == (1, 0)


def test_a5_a_store_that_takes_nothing_leaves_the_trigger_unacknowledged(client, plain, queue, make_consumer):
    """An acknowledged trigger is always in the store."""
    plain.xadd(MODEL_RETRAIN, WISH)
    consumer = make_consumer(client)
    queue.fail_before = StoreBusy("STORE_BUSY", "somebody holds the lock")
    with pytest.raises(StoreBusy):
        consumer.poll_once()
    assert (len(queue.triggers), pending(plain)) == (0, 1)
    assert consumer.poll_once() == 1
    assert (len(queue.triggers), pending(plain)) == (1, 0)


def test_c3_restarts_leave_one_consumer_and_nothing_pending(client, plain, queue, make_consumer):
    """A consumer named after its pid would strand its pending entries."""
    make_consumer(client).poll_once()
    plain.xadd(MODEL_RETRAIN, WISH)
    for _ in range(MAX_DELIVERIES - 1):
        plain.xadd(MODEL_RETRAIN, WISH)
        queue.fail_before = KeyboardInterrupt()
        with pytest.raises(KeyboardInterrupt):
            make_consumer(client, consumer=consumer_name("0123abcdef99")).poll_once()
    make_consumer(client).poll_once()
    assert pending(plain) == 0
    assert [c["name"] for c in plain.xinfo_consumers(MODEL_RETRAIN, GROUP)] == ["clm@0123abcd"]
    assert len(queue.triggers) == MAX_DELIVERIES


def test_c3_what_another_machine_left_behind_is_claimed_when_it_is_idle(
    client, plain, queue, clock, make_consumer
):
    """Entries are claimed every 30 s, but not while the other consumer may still handle them."""
    consumer = make_consumer(client, clock=clock, claim_idle_ms=150)
    consumer.poll_once()
    plain.xadd(MODEL_RETRAIN, WISH)
    plain.xreadgroup(GROUP, "clm@other", {MODEL_RETRAIN: ">"})
    clock.sleep(31)
    assert consumer.poll_once() == 0, "not idle for long enough"
    time.sleep(0.2)
    assert consumer.poll_once() == 0, "claimed less than 30 s ago"
    clock.sleep(31)
    assert consumer.poll_once() == 1
    assert (len(queue.triggers), pending(plain)) == (1, 0)


def test_c4_poison_goes_to_the_dead_letters_at_once_and_stops_nobody(client, plain, queue, make_consumer):
    """Deterministic failures are not retried; valid entries of the batch are stored."""
    plain.xadd(MODEL_RETRAIN, {"payload": "{broken"})
    plain.xadd(MODEL_RETRAIN, WISH)
    bad_id = plain.xadd(MODEL_RETRAIN, {"model": "patchtst", "x": "a" * 8000})
    assert make_consumer(client).poll_once() == 3
    assert len(queue.triggers) == 1
    assert len(queue.buried()) == 2
    assert pending(plain) == 0
    letters = [fields for _, fields in plain.xrange(DLQ)]
    assert [set(letter) for letter in letters] == [{"orig_id", "reason", "sha256", "payload"}] * 2
    assert letters[1]["orig_id"] == bad_id
    assert "8000 bytes" in letters[1]["reason"]
    assert len(letters[1]["payload"]) == 4096


def test_c4_the_dead_letters_are_bounded(client, plain, queue, make_consumer):
    """A broken producer must not fill Redis with dead letters."""
    pipeline = plain.pipeline()
    for _ in range(2500):
        pipeline.xadd(MODEL_RETRAIN, {"x": "y"})
    pipeline.execute()
    consumer = make_consumer(client)
    with capture_logs():
        while consumer.poll_once(1):
            pass
    assert len(queue.buried()) == 2500
    assert 1000 <= plain.xlen(DLQ) < 1200


def test_a_request_for_another_model_is_acknowledged_and_makes_no_dead_letter(
    client, plain, queue, make_consumer
):
    """Other services have their own groups on this stream."""
    plain.xadd(MODEL_RETRAIN, {"model": "xgboost"})
    with capture_logs() as lines:
        assert make_consumer(client).poll_once() == 1
    assert (queue.inbox, pending(plain), plain.exists(DLQ)) == ({}, 0, 0)
    assert [line["event"] for line in lines] == ["trigger.ignored"]


def test_c6_ten_thousand_triggers_are_one_task_and_nothing_is_left_pending(
    client, plain, queue, make_consumer
):
    """A page of five hundred needs one transaction and one XACK."""
    pipeline = plain.pipeline(transaction=False)
    for n in range(10_000):
        pipeline.xadd(MODEL_RETRAIN, {**WISH, "n": n})
    pipeline.execute()
    consumer = make_consumer(client)
    before = plain.info("commandstats")
    started, handled = time.monotonic(), 0
    with capture_logs() as lines:
        while handled < 10_000:
            handled += consumer.poll_once()
    assert time.monotonic() - started < 20
    assert len(queue.open) == 1
    assert queue.batches <= 10_000 / BATCH + SMALL_PAGES
    assert pending(plain) == 0
    calls = plain.info("commandstats")["cmdstat_xack"]["calls"]
    assert calls - before.get("cmdstat_xack", {"calls": 0})["calls"] <= 10_000 / BATCH + SMALL_PAGES
    assert len(lines) <= 10_000 / BATCH + SMALL_PAGES


def test_c5_an_entry_that_ends_the_process_each_time_is_put_aside_unread(client, plain, queue, make_consumer):
    """The parser accepts the entry, but it crashes the process: the dead letter has the delivery count."""
    bad = plain.xadd(MODEL_RETRAIN, WISH)
    for _ in range(MAX_DELIVERIES):
        queue.fail_before = KeyboardInterrupt()
        with pytest.raises(KeyboardInterrupt):
            make_consumer(client).poll_once()
    good = plain.xadd(MODEL_RETRAIN, WISH)
    queue.fail_before = None
    assert make_consumer(client).poll_once() == 2
    assert [(letter["orig_id"], "2 times" in letter["reason"]) for _, letter in plain.xrange(DLQ)] == [
        (bad, True)
    ]
    assert [delivery.entry_id for delivery, what in queue.inbox.items() if isinstance(what, int)] == [good]
    assert pending(plain) == 0


def test_c5_a_store_that_refuses_makes_no_poison_of_what_it_refuses(client, plain, queue, make_consumer):
    """A valid trigger waits while the store is busy, also across restarts."""
    plain.xadd(MODEL_RETRAIN, WISH)
    for _ in range(3 * MAX_DELIVERIES):
        queue.fail_before = StoreBusy("STORE_BUSY", "somebody holds the lock")
        with pytest.raises(StoreBusy):
            make_consumer(client).poll_once()
    assert make_consumer(client).poll_once() == 1
    assert (len(queue.triggers), queue.buried(), plain.exists(DLQ)) == (1, [], 0)


def test_c5_a_store_that_refuses_the_first_of_a_page_makes_no_poison_of_the_others(
    client, plain, queue, make_consumer
):
    """Two crashes with a long store failure between them do not dead-letter a valid entry."""
    make_consumer(client).poll_once()
    ids = [plain.xadd(MODEL_RETRAIN, WISH) for _ in range(3)]
    queue.fail_before = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        make_consumer(client).poll_once()
    consumer = make_consumer(client)
    for _ in range(3 * MAX_DELIVERIES):
        queue.fail_before = StoreBusy("STORE_BUSY", "somebody holds the lock")
        with pytest.raises(StoreBusy):
            consumer.poll_once()
    die_of(queue, {ids[1]})
    with pytest.raises(KeyboardInterrupt):
        consumer.poll_once()
    del queue.accept
    make_consumer(client).poll_once()
    assert (len(queue.triggers), queue.buried(), plain.exists(DLQ), pending(plain)) == (3, [], 0, 0)


def test_c5_what_another_machine_died_of_is_not_taken_over_for_ever(client, plain, queue, make_consumer):
    """A claim counts as a delivery: two machines must not pass the poison entry back and forth."""
    make_consumer(client).poll_once()
    bad = plain.xadd(MODEL_RETRAIN, WISH)
    plain.xreadgroup(GROUP, "clm@other", {MODEL_RETRAIN: ">"})
    plain.xclaim(MODEL_RETRAIN, GROUP, "clm@other", 0, [bad], retrycount=MAX_DELIVERIES)
    assert make_consumer(client, claim_idle_ms=0).poll_once() == 1
    assert [letter["orig_id"] for _, letter in plain.xrange(DLQ)] == [bad]
    assert queue.triggers == []


def test_c5_a_deadly_entry_is_buried_before_the_service_manager_gives_up():
    """Each delivery costs one start, and the next start dead-letters the entry; two starts are spare."""
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.read(UNIT)
    assert unit.getint("Unit", "StartLimitBurst") - 2 >= MAX_DELIVERIES + 1


def die_of(queue, ids: set[str]) -> None:
    """Let the queue crash the process when it gets one of these entries."""
    accept = type(queue).accept

    def deadly(deliveries, now):
        if ids & {delivery.entry_id for delivery, _ in deliveries}:
            raise KeyboardInterrupt
        return accept(queue, deliveries, now)

    queue.accept = deadly


def starts_until_read(client, make_consumer) -> int:
    """Start the consumer until one survives, and return the number of starts."""
    for start in range(1, 20):
        try:
            make_consumer(client).poll_once()
        except KeyboardInterrupt:
            continue
        return start
    raise AssertionError("never survives")


def test_c5_one_deadly_entry_takes_no_neighbour_of_its_batch_with_it(client, plain, queue, make_consumer):
    """Entries are then handled one at a time, so the oldest pending entry is the culprit."""
    make_consumer(client).poll_once()
    ids = [plain.xadd(MODEL_RETRAIN, WISH) for _ in range(7)]
    die_of(queue, {ids[3]})
    assert starts_until_read(client, make_consumer) == 3
    assert [letter["orig_id"] for _, letter in plain.xrange(DLQ)] == [ids[3]]
    assert [d.entry_id for d, what in queue.inbox.items() if isinstance(what, int)] == ids[:3] + ids[4:]
    assert pending(plain) == 0


def test_c5_several_deadly_entries_cost_no_more_starts_than_the_service_manager_grants(
    client, plain, queue, make_consumer
):
    """A producer may send several poison entries; each start counts against the limit."""
    make_consumer(client).poll_once()
    ids = [plain.xadd(MODEL_RETRAIN, WISH) for _ in range(40)]
    die_of(queue, set(ids[3:30:3]))
    assert starts_until_read(client, make_consumer) <= 4
    assert {letter["orig_id"] for _, letter in plain.xrange(DLQ)} >= set(ids[3:30:3])
    assert pending(plain) == 0


def test_c5_a_connection_that_is_lost_again_and_again_buries_nothing(client, plain, queue, make_consumer):
    """Redis counts each read as a delivery, even if only the reply to XACK was lost."""
    consumer = make_consumer(client)
    consumer.poll_once()
    acknowledge = client.xack

    def lost(*_args):
        raise Lost("connection closed by server")

    plain.xadd(MODEL_RETRAIN, WISH)
    client.xack = lost
    for _ in range(3 * MAX_DELIVERIES):
        with pytest.raises(BusUnavailable):
            consumer.poll_once()
        consumer.forget()
    client.xack = acknowledge
    assert consumer.poll_once() == 1
    assert (len(queue.triggers), queue.buried(), plain.exists(DLQ), pending(plain)) == (1, [], 0, 0)


def test_c4_an_entry_that_the_store_cannot_take_is_buried_alone(client, plain, queue, make_consumer):
    """A bug triggered by one entry in the store must not lose the rest of the batch or end the thread."""
    ids = [plain.xadd(MODEL_RETRAIN, WISH) for _ in range(5)]
    accept = type(queue).accept

    def picky(deliveries, now):
        if ids[2] in {delivery.entry_id for delivery, _ in deliveries}:
            raise RecursionError("too deep\nfor us\x1b[2J" + "x" * 5000)
        return accept(queue, deliveries, now)

    queue.accept = picky
    assert make_consumer(client).poll_once() == 5
    ((_, letter),) = plain.xrange(DLQ)
    assert letter["orig_id"] == ids[2]
    assert "RecursionError: too deep\\nfor us\\x1b[2J" in letter["reason"]
    assert letter["reason"].isprintable()
    assert len(letter["reason"]) < 400
    assert [d.entry_id for d, what in queue.inbox.items() if isinstance(what, int)] == ids[:2] + ids[3:]
    assert pending(plain) == 0


def test_c4_a_store_that_is_busy_while_a_batch_is_taken_apart_acknowledges_nothing_of_the_rest(
    client, plain, queue, make_consumer
):
    """After StoreBusy, entries stay pending, and only the culprit is dead-lettered."""
    ids = [plain.xadd(MODEL_RETRAIN, WISH) for _ in range(3)]
    accept = type(queue).accept

    def picky(deliveries, now):
        if ids[0] in {delivery.entry_id for delivery, _ in deliveries}:
            raise ValueError("no")
        raise StoreBusy("STORE_BUSY", "somebody holds the lock")

    queue.accept = picky
    consumer = make_consumer(client)
    for _ in range(3 * MAX_DELIVERIES):
        with pytest.raises(StoreBusy):
            consumer.poll_once()
    assert (queue.triggers, pending(plain)) == ([], 2)
    queue.accept = lambda deliveries, now: accept(queue, deliveries, now)
    assert consumer.poll_once() == 2
    assert [letter["orig_id"] for _, letter in plain.xrange(DLQ)] == [ids[0]]
    assert (len(queue.triggers), pending(plain)) == (2, 0)


@pytest.mark.parametrize("error", [RecursionError("deep"), MemoryError(), TypeError("not None")])
def test_c4_an_entry_whose_reading_raises_is_buried_alone(
    monkeypatch, client, plain, queue, make_consumer, error
):
    """A bug in the parser stops neither the thread nor the batch; the dead letter names the exception."""
    read = entries.read_trigger

    def broken(stream, fields, family):
        if fields.get(b"reason") == b"bad":
            raise error
        return read(stream, fields, family)

    monkeypatch.setattr(entries, "read_trigger", broken)
    for reason in ("good", "bad", "good"):
        plain.xadd(MODEL_RETRAIN, {**WISH, "reason": reason})
    assert make_consumer(client).poll_once() == 3
    ((_, letter),) = plain.xrange(DLQ)
    assert type(error).__name__ in letter["reason"]
    assert (len(queue.triggers), pending(plain)) == (2, 0)


def test_c4_a_dead_letter_that_the_store_cannot_note_is_still_a_dead_letter(
    client, plain, queue, make_consumer
):
    """The store's row is only for the list of entries; the entry itself is safe in Redis."""

    def broken(*_args):
        raise RuntimeError("a bug")

    queue.bury = broken
    plain.xadd(MODEL_RETRAIN, {"payload": "{broken"})
    plain.xadd(MODEL_RETRAIN, WISH)
    assert make_consumer(client).poll_once() == 2
    assert (plain.xlen(DLQ), len(queue.triggers), pending(plain)) == (1, 1, 0)


def test_c11_triggers_that_were_trimmed_unread_are_counted_and_said_once(client, plain, queue, make_consumer):
    """A producer sets MAXLEN; the lag of Redis would be 6 here."""
    consumer = make_consumer(client)
    plain.xadd(MODEL_RETRAIN, WISH)
    consumer.poll_once()
    for _ in range(6):
        plain.xadd(MODEL_RETRAIN, WISH)
    plain.xtrim(MODEL_RETRAIN, maxlen=3, approximate=False)
    with capture_logs() as lines:
        assert consumer.poll_once() == 3
        consumer.poll_once()
    assert [line["n"] for line in lines if line["event"] == "trigger.lost"] == [3]
    assert consumer.losses.lost == {MODEL_RETRAIN: 3}


def test_c11_a_stream_that_was_trimmed_to_nothing_is_told_once_and_more_of_it_again(
    client, plain, make_consumer
):
    """Nothing is left to read, so the counters do not change."""
    consumer = make_consumer(client)
    plain.xadd(MODEL_RETRAIN, WISH)
    consumer.poll_once()
    with capture_logs() as lines:
        for n in (2, 0, 4):
            for _ in range(n):
                plain.xadd(MODEL_RETRAIN, WISH)
            plain.xtrim(MODEL_RETRAIN, maxlen=0, approximate=False)
            consumer.poll_once(1)
    assert [line["n"] for line in lines if line["event"] == "trigger.lost"] == [2, 4]


def test_c11_what_was_read_before_it_was_trimmed_is_no_loss(client, plain, make_consumer):
    """In the usual case, the stream is bounded and the reader keeps up."""
    consumer = make_consumer(client)
    with capture_logs() as lines:
        for _ in range(5):
            plain.xadd(MODEL_RETRAIN, WISH, maxlen=2, approximate=False)
            consumer.poll_once()
    assert [line["event"] for line in lines if line["event"] == "trigger.lost"] == []


def test_c7_the_same_wish_twice_is_one_open_task(client, plain, queue, make_consumer):
    """Two ids have one dedupe key."""
    plain.xadd(MODEL_RETRAIN, WISH)
    plain.xadd(MODEL_RETRAIN, WISH)
    assert make_consumer(client).poll_once() == 2
    assert len(queue.inbox) == 2
    assert set(queue.inbox.values()) == {1}


def test_c10_a_block_as_long_as_the_socket_timeout_is_refused_at_the_start(make_client, make_consumer):
    """Otherwise every read without entries looks like a dead server."""
    client = make_client("redis://localhost:6379")
    make_consumer(client, block_ms=4000)
    for block_ms in (4001, 10_000, 0):
        with pytest.raises(ConfigError) as caught:
            make_consumer(client, block_ms=block_ms)
        assert (caught.value.code, caught.value.exit_code) == ("REDIS_TIMEOUTS", 78)


def test_c12_a_pending_entry_that_was_trimmed_is_acknowledged_and_said(client, plain, queue, make_consumer):
    """The pending list returns an id without fields."""
    make_consumer(client).poll_once()
    gone = plain.xadd(MODEL_RETRAIN, WISH)
    plain.xreadgroup(GROUP, "clm@0123abcd", {MODEL_RETRAIN: ">"})
    plain.xtrim(MODEL_RETRAIN, maxlen=0, approximate=False)
    plain.xadd(MODEL_RETRAIN, WISH)
    with capture_logs() as lines:
        assert make_consumer(client).poll_once() == 2
    assert [line["entry_id"] for line in lines if line["event"] == "trigger.trimmed"] == [gone]
    assert (len(queue.triggers), pending(plain)) == (1, 0)


def test_c12_an_abandoned_entry_that_was_trimmed_is_dropped_by_claiming(client, plain, queue, make_consumer):
    """XAUTOCLAIM reports it as deleted."""
    make_consumer(client).poll_once()
    gone = plain.xadd(MODEL_RETRAIN, WISH)
    plain.xreadgroup(GROUP, "clm@other", {MODEL_RETRAIN: ">"})
    plain.xtrim(MODEL_RETRAIN, maxlen=0, approximate=False)
    with capture_logs() as lines:
        make_consumer(client, claim_idle_ms=0).poll_once()
    assert [line["entry_id"] for line in lines if line["event"] == "trigger.trimmed"] == [gone]
    assert (queue.triggers, pending(plain)) == ([], 0)


@pytest.mark.parametrize("destroy", ["flushall", "delete", "group"])
def test_c13_a_group_that_vanished_is_made_again_from_the_beginning(
    client, plain, queue, make_consumer, destroy
):
    """The new group starts at 0, not at $, to include entries sent before the loss was noticed."""
    consumer = make_consumer(client)
    consumer.poll_once()
    if destroy == "group":
        plain.xgroup_destroy(MODEL_RETRAIN, GROUP)
    elif destroy == "delete":
        plain.delete(MODEL_RETRAIN)
    else:
        plain.flushall()
    plain.xadd(MODEL_RETRAIN, WISH)
    handled = sum(consumer.poll_once() for _ in range(3))
    assert (handled, len(queue.triggers), pending(plain)) == (1, 1, 0)


def test_c13_a_flush_while_the_read_blocks_is_survived(client, plain, queue, make_consumer):
    """Redis replies UNBLOCKED or NOGROUP to the blocked read."""
    consumer = make_consumer(client, block_ms=3000)
    consumer.poll_once(1)
    flush = threading.Timer(0.2, plain.flushall)
    flush.start()
    started = time.monotonic()
    assert consumer.poll_once() == 0
    waited = time.monotonic() - started
    flush.join()
    assert waited < 2.5, "the read was woken by the flush"
    plain.xadd(MODEL_RETRAIN, WISH)
    assert consumer.poll_once() == 1
    assert len(queue.triggers) == 1


def test_c14_a_key_of_another_type_is_never_deleted_and_blocks_only_itself(
    client, plain, queue, clock, make_consumer
):
    """The key belongs to another program; the other stream is still read; retry every 30 s."""
    plain.set(MODEL_RETRAIN, "somebody's")
    consumer = make_consumer(client, clock=clock)
    plain.xadd(MANUAL_RETRAIN, WISH)
    with capture_logs() as lines:
        assert consumer.poll_once() == 1
        consumer.poll_once()
    assert [line["stream"] for line in lines if line["event"] == "trigger.stream_blocked"] == [MODEL_RETRAIN]
    assert consumer.blocked[MODEL_RETRAIN].code == "REDIS_WRONGTYPE"
    assert MODEL_RETRAIN in consumer.blocked[MODEL_RETRAIN].message
    assert plain.get(MODEL_RETRAIN) == "somebody's"
    plain.delete(MODEL_RETRAIN)
    plain.xadd(MODEL_RETRAIN, WISH)
    assert consumer.poll_once() == 0
    clock.sleep(31)
    assert consumer.poll_once() == 1
    assert consumer.blocked == {}


def test_c14_a_stream_that_becomes_another_type_later_is_noticed(client, plain, queue, make_consumer):
    """An operator replaces the key by mistake with DEL and SET."""
    consumer = make_consumer(client)
    consumer.poll_once()
    plain.set(MODEL_RETRAIN, "x")
    plain.xadd(MANUAL_RETRAIN, WISH)
    assert sum(consumer.poll_once() for _ in range(3)) == 1
    assert set(consumer.blocked) == {MODEL_RETRAIN}


def test_c14_without_any_usable_stream_the_poll_refuses_instead_of_spinning(client, plain, make_consumer):
    """The caller backs off after an error; an immediate empty result would cause a busy loop."""
    for stream in (MODEL_RETRAIN, MANUAL_RETRAIN):
        plain.set(stream, "x")
    consumer = make_consumer(client)
    for _ in range(2):
        with pytest.raises(BusUnavailable) as caught:
            consumer.poll_once()
        assert caught.value.code == "REDIS_WRONGTYPE"


def test_c16_what_is_logged_of_a_trigger_is_one_line(client, plain, make_consumer):
    """Newlines and escapes in a reason must not forge a journal line."""
    plain.xadd(MODEL_RETRAIN, {**WISH, "reason": "a\nforged\x1b[2J", "x": "a" * 2000})
    plain.xadd(MODEL_RETRAIN, {**WISH, "reason": "a\nforged\x1b[2J"})
    plain.xadd(MODEL_RETRAIN, {"model": "a\nforged"})
    with capture_logs() as lines:
        make_consumer(client).poll_once()
    texts = [str(value) for line in lines for value in line.values()]
    assert any("forged" in text for text in texts)
    assert all(text.isprintable() for text in texts)


def test_i5_without_memory_triggers_are_still_read_and_acknowledged(
    make_server, make_client, queue, make_consumer
):
    """Redis rejects XADD and XGROUP CREATE, even for an existing group, but allows reads."""
    server = make_server()
    with redis.Redis(unix_socket_path=str(server.socket), decode_responses=True, protocol=2) as plain:
        client = make_client(server.url)
        make_consumer(client).poll_once()
        plain.xadd(MODEL_RETRAIN, WISH)
        bad = plain.xadd(MODEL_RETRAIN, {"payload": "{broken"})
        plain.config_set("maxmemory", 1)
        consumer = make_consumer(client, claim_idle_ms=0, claim_every_s=0)
        assert consumer.poll_once() == 1
        assert len(queue.triggers) == 1
        assert pending(plain) == 1, "a dead letter that Redis cannot take now waits"
        plain.config_set("maxmemory", 0)
        assert consumer.poll_once() == 1
        assert [f["orig_id"] for _, f in plain.xrange(DLQ)] == [bad]
        assert pending(plain) == 0


def test_i5_without_memory_and_without_a_group_the_poll_refuses(server, plain, client, make_consumer):
    """The operator must see OOM, not NOGROUP, and there is no busy loop."""
    plain.config_set("maxmemory", 1)
    consumer = make_consumer(client)
    for _ in range(2):
        with pytest.raises(BusUnavailable) as caught:
            consumer.poll_once()
        assert caught.value.code == "REDIS_OOM"


def test_i1_a_server_killed_with_unsaved_triggers_loses_only_those_never_read(
    make_server, make_client, queue, make_consumer
):
    """Entries read earlier are in the store; after the restart, the consumer recovers by itself."""
    server = make_server()
    client = make_client(server.url)
    consumer = make_consumer(client)
    with redis.Redis(unix_socket_path=str(server.socket)) as plain:
        plain.xadd(MODEL_RETRAIN, WISH)
    assert consumer.poll_once() == 1
    server.kill()
    with pytest.raises(BusUnavailable):
        consumer.poll_once()
    server.start()
    consumer.forget()
    with redis.Redis(unix_socket_path=str(server.socket)) as plain:
        plain.xadd(MODEL_RETRAIN, WISH)
    assert sum(consumer.poll_once() for _ in range(3)) == 1
    assert len(queue.triggers) == 2


def test_c12_a_ghost_of_redis_6_2_is_acknowledged_and_said(client, plain, queue, clock, make_consumer):
    """Redis 6.2 claims the id of a trimmed entry and reports it only when the pending list is read."""
    consumer = make_consumer(client, clock=clock)
    consumer.poll_once()
    gone = plain.xadd(MODEL_RETRAIN, WISH)
    plain.xreadgroup(GROUP, "clm@0123abcd", {MODEL_RETRAIN: ">"})
    plain.xtrim(MODEL_RETRAIN, maxlen=0, approximate=False)
    execute = client.execute_command

    def as_redis_6_2(*command, **options):
        if command[0] != "XAUTOCLAIM" or command[1] != MODEL_RETRAIN:
            return execute(*command, **options)
        return [b"0-0", [gone.encode()]]

    client.execute_command = as_redis_6_2
    clock.sleep(31)
    with capture_logs() as lines:
        consumer.poll_once()
    assert [line["entry_id"] for line in lines if line["event"] == "trigger.trimmed"] == [gone]
    assert (queue.triggers, pending(plain)) == ([], 0)


def test_the_inbox_forgets_what_redis_cannot_deliver_again(client, plain, queue, clock, make_consumer):
    """Rows of entries that are still in the stream or pending stay: a new group delivers those again."""
    consumer = make_consumer(client, clock=clock)
    for n in (100, 200, 300):
        plain.xadd(MODEL_RETRAIN, WISH, id=f"{n}-0")
    consumer.poll_once()
    later = clock.now() + timedelta(days=31)
    assert consumer.forget_old_deliveries(later, keep=0) == 0, "all of them are in the stream"
    plain.xtrim(MODEL_RETRAIN, minid="300-0", approximate=False)
    assert consumer.forget_old_deliveries(later, keep=10) == 0, "the newest stay"
    assert consumer.forget_old_deliveries(later, keep=0) == 2
    plain.xgroup_destroy(MODEL_RETRAIN, GROUP)
    consumer.forget()
    while consumer.poll_once():
        pass
    assert len(queue.triggers) == 3, "the entry that is read again makes no second task"
    plain.delete(MODEL_RETRAIN)
    consumer.poll_once()
    consumer.poll_once()
    assert consumer.forget_old_deliveries(later, keep=0) == 1
