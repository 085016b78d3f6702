"""From the outbox to the streams, against a real redis-server."""

import json

import pytest
import redis
from structlog.testing import capture_logs

from clm.bus.relay import Heartbeat, OutboxRelay
from clm.bus.streams import HEARTBEAT_KEY
from clm.errors import BusUnavailable, StoreBusy

pytestmark = pytest.mark.needs_redis

COMPLETED = "quantum:stream:learning.retraining.completed"


@pytest.fixture
def relay(client, outbox):
    return OutboxRelay(client, outbox, host="test-host")


def test_an_event_travels_in_the_common_envelope(relay, outbox, plain):
    """Existing readers depend on these names and shapes; our fields are additional."""
    outbox.add(1)
    assert relay.drain_once() == 1
    [(_, fields)] = plain.xrange(COMPLETED)
    assert json.loads(fields.pop("payload")) == {"event_type": "learning.retraining.completed", "n": 1}
    assert fields == {
        "event_type": "learning.retraining.completed",
        "trace_id": "run-1",
        "correlation_id": "task-1",
        "timestamp": outbox.rows[0].created_at,
        "source": "quantum-clm",
        "event_id": "e1",
        "seq": "1",
        "host": "test-host",
    }
    assert outbox.waiting_count() == 0


def test_k4_events_are_published_in_the_order_of_seq_and_no_more_than_asked(relay, outbox, plain):
    """Clocks may jump; seq never does."""
    outbox.add(25)
    assert [relay.drain_once(10) for _ in range(4)] == [10, 10, 5, 0]
    assert [fields["seq"] for _, fields in plain.xrange(COMPLETED)] == [str(n) for n in range(1, 26)]


def test_a_crash_between_xadd_and_the_mark_repeats_the_event_with_the_same_id(relay, outbox, plain):
    """Delivery is at least once: consumers deduplicate by event_id."""
    outbox.add(2)
    outbox.fail_mark = StoreBusy("STORE_BUSY", "somebody holds the lock")
    with pytest.raises(StoreBusy):
        relay.drain_once()
    assert relay.drain_once() == 2
    assert [fields["event_id"] for _, fields in plain.xrange(COMPLETED)] == ["e1", "e2", "e1", "e2"]


def test_our_own_streams_are_trimmed(client, outbox, plain):
    """Old events must not fill the memory of Redis."""
    outbox.add(700)
    OutboxRelay(client, outbox, host="h", maxlen=100).drain_once(1000)
    assert 100 <= plain.xlen(COMPLETED) < 400


def test_i5_without_memory_events_wait_and_nothing_is_marked(relay, outbox, plain):
    """Redis rejects XADD; the outbox keeps its events."""
    outbox.add(3)
    plain.config_set("maxmemory", 1)
    with pytest.raises(BusUnavailable) as caught:
        relay.drain_once()
    assert caught.value.code == "REDIS_OOM"
    assert outbox.waiting_count() == 3
    plain.config_set("maxmemory", 0)
    assert relay.drain_once() == 3
    assert [fields["seq"] for _, fields in plain.xrange(COMPLETED)] == ["1", "2", "3"]


def test_i4_a_server_that_cannot_save_is_as_good_as_down(make_server, make_client, outbox):
    """MISCONF names its cause and ends when saving works again."""
    server = make_server("--save", "3600 1")
    with redis.Redis(unix_socket_path=str(server.socket)) as plain:
        plain.set("x", "1")
        (server.directory / "dump.rdb").mkdir()  # also refused to root
        with pytest.raises(redis.RedisError):
            plain.save()
        plain.bgsave()
        while plain.info("persistence")["rdb_bgsave_in_progress"]:
            pass
        outbox.add(1)
        relay = OutboxRelay(make_client(server.url), outbox, host="h")
        with pytest.raises(BusUnavailable) as caught:
            relay.drain_once()
        assert caught.value.code == "REDIS_MISCONF"
        (server.directory / "dump.rdb").rmdir()
        plain.save()
        assert relay.drain_once() == 1


def test_c14_one_stream_of_another_type_keeps_only_its_own_events_back(relay, outbox, plain):
    """The key belongs to another program: it is never deleted, and the error names it."""
    plain.set("quantum:stream:model.promoted", "x")
    outbox.add(1)
    outbox.add(1, "model.promoted")
    outbox.add(1)
    with pytest.raises(BusUnavailable) as caught:
        relay.drain_once()
    assert caught.value.code == "REDIS_WRONGTYPE"
    assert "quantum:stream:model.promoted" in caught.value.message
    assert [row.event_type for row in outbox.unpublished(10)] == ["model.promoted"]
    assert plain.xlen(COMPLETED) == 2
    assert plain.get("quantum:stream:model.promoted") == "x"


def test_i1_a_server_killed_while_events_come_gets_all_of_them_afterwards(make_server, make_client, outbox):
    """No event leaves the outbox before Redis has replied."""
    server = make_server("--appendonly", "yes", "--appendfsync", "always")
    relay = OutboxRelay(make_client(server.url), outbox, host="h")
    outbox.add(50)
    relay.drain_once(20)
    server.kill()
    for _ in range(3):
        with pytest.raises(BusUnavailable):
            relay.drain_once(20)
    server.start()
    with capture_logs():
        while relay.drain_once(20):
            pass
    with redis.Redis(unix_socket_path=str(server.socket), decode_responses=True, protocol=2) as plain:
        seqs = [int(fields["seq"]) for _, fields in plain.xrange(COMPLETED)]
    assert sorted(set(seqs)) == list(range(1, 51))


def test_the_heartbeat_is_a_time_that_goes_away_by_itself(client, plain, clock):
    """A dead daemon must not look alive."""
    Heartbeat(client, clock).beat()
    assert plain.get(HEARTBEAT_KEY) == "2026-01-10T14:02:00.000000Z"
    assert 50 < plain.ttl(HEARTBEAT_KEY) <= 60
