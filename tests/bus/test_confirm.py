"""Events lost by a Redis restart are sent again: real servers, real saves, a real outbox."""

from pathlib import Path

import pytest
import redis
from structlog.testing import capture_logs

from clm.bus.confirm import Confirmation
from clm.bus.relay import OutboxRelay
from clm.bus.streams import MODEL_RETRAIN
from clm.events import RetrainingStarted
from clm.store.create import create_store
from clm.store.migrate import migrate
from clm.store.outbox import SqliteOutbox
from tests.bus.conftest import RedisServer

pytestmark = pytest.mark.needs_redis

STREAM = "quantum:stream:learning.retraining.started"


class Bus:
    """A server with options, an outbox in a real store, and both sides of publishing."""

    def __init__(self, server: RedisServer, client: redis.Redis, outbox: SqliteOutbox, clock) -> None:
        self.server = server
        self.client = client
        self.outbox = outbox
        self.relay = OutboxRelay(client, outbox, host="h")
        self.confirmation = Confirmation(client, outbox, clock, every_s=0.0)

    def publish(self, *names: str) -> None:
        self.outbox.append(
            [RetrainingStarted(model="m", timestamp="t", job_id=name, trigger_reason="") for name in names],
            "t",
        )
        self.relay.drain_once()

    def on_stream(self) -> list[bytes]:
        return [fields[b"seq"] for _, fields in self.client.xrange(STREAM)]

    def save(self, clock) -> None:
        """Save at least one second after the last save: LASTSAVE has a resolution of one second."""
        before = self.client.info("persistence")["rdb_last_save_time"]
        while self.client.info("persistence")["rdb_last_save_time"] == before:
            self.client.save()
        self.confirmation.look()

    def restart(self) -> None:
        """Kill the server as in a power loss: unsaved data is lost."""
        self.server.kill()
        self.server.start()


@pytest.fixture
def make_bus(make_server, make_client, tmp_path: Path, clock):
    def make(*options: str) -> Bus:
        store = tmp_path / "store.db"
        create_store(store)
        migrate(store)
        server = make_server(*options)
        return Bus(server, make_client(server.url), SqliteOutbox(store, clock), clock)

    return make


def test_i13_a_restarted_server_gets_again_what_it_had_not_saved(make_bus, clock):
    """With the same event ids and order, so readers can deduplicate."""
    bus = make_bus()
    bus.publish("a", "b")
    ids = [fields[b"event_id"] for _, fields in bus.client.xrange(STREAM)]
    assert bus.confirmation.look() == 0
    bus.restart()
    assert bus.on_stream() == []
    bus.publish("c")
    assert bus.on_stream() == [b"3"]
    with capture_logs() as lines:
        assert bus.confirmation.look() == 2
    assert [line["n"] for line in lines if line["event"] == "events.sent_again"] == [2]
    assert bus.relay.drain_once() == 2
    assert bus.on_stream() == [b"3", b"1", b"2"]
    assert [fields[b"event_id"] for _, fields in bus.client.xrange(STREAM)][1:] == ids
    assert bus.confirmation.look() == 0


def test_i13_one_save_is_no_promise_and_two_are(make_bus, clock):
    """The first save to finish may have started before our XADD."""
    bus = make_bus()
    bus.publish("a")
    bus.confirmation.look()
    bus.save(clock)
    bus.restart()
    assert bus.confirmation.look() == 1, "one save"
    bus.relay.drain_once()
    bus.confirmation.look()
    bus.save(clock)
    bus.save(clock)
    bus.publish("b")
    bus.restart()
    assert bus.confirmation.look() == 1, "only the event after the saves"
    bus.relay.drain_once()
    assert set(bus.on_stream()) == {b"1", b"2"}


def test_i13_with_an_append_only_file_nothing_is_sent_twice(make_bus, clock):
    """After the one-second sync interval."""
    bus = make_bus("--appendonly", "yes", "--appendfsync", "always")
    bus.publish("a")
    clock.sleep(3)
    bus.confirmation.look()
    bus.restart()
    assert bus.confirmation.look() == 0
    assert bus.on_stream() == [b"1"]


def test_i3_a_flushed_server_gets_again_what_it_had_not_saved(make_bus, clock):
    """The run id is unchanged; the reader detects that the streams are gone."""
    bus = make_bus()
    bus.publish("a", "b")
    bus.confirmation.look()
    bus.client.flushall()
    assert bus.confirmation.look(flushed=True) == 2
    bus.relay.drain_once()
    assert bus.on_stream() == [b"1", b"2"]


def test_i6_a_stream_that_was_evicted_is_found_gone_and_its_events_are_sent_again(
    make_bus, make_consumer, clock
):
    """An allkeys policy evicts streams with unread triggers; `clm doctor` warns about it."""
    bus = make_bus("--maxmemory-policy", "allkeys-random")
    consumer = make_consumer(bus.client)
    consumer.poll_once(1)
    bus.publish("a")
    bus.confirmation.look()
    used = bus.client.info("memory")["used_memory"]
    bus.client.config_set("maxmemory", used + 200_000)
    for n in range(400):
        bus.client.set(f"other:{n}", b"x" * 5000)
        if not bus.client.exists(STREAM) and not bus.client.exists(MODEL_RETRAIN):
            break
    bus.client.config_set("maxmemory", 0)
    assert not bus.client.exists(STREAM)
    consumer.poll_once(1)
    assert consumer.streams_gone
    assert bus.confirmation.look(flushed=True) == 1
    bus.relay.drain_once()
    assert bus.on_stream() == [b"1"]


def test_i12_a_server_with_an_older_dump_gets_again_what_the_dump_lacks(make_bus, clock):
    """A server restored from a backup counts as a new server."""
    bus = make_bus()
    bus.publish("a")
    bus.client.save()
    bus.publish("b")
    bus.restart()
    assert bus.on_stream() == [b"1"]
    assert bus.confirmation.look() == 2
    bus.relay.drain_once()
    assert set(bus.on_stream()) == {b"1", b"2"}


def test_without_the_right_to_ask_events_are_published_and_it_is_said_once(make_bus, make_client, clock):
    """An older ACL must not stop publishing."""
    bus = make_bus()
    acl = "on nopass ~quantum:stream:* -@all +xadd +ping +select"
    bus.client.execute_command("ACL", "SETUSER", "small", *acl.split())
    small = make_client(bus.server.url.replace("unix://", "unix://small:x@"))
    confirmation = Confirmation(small, bus.outbox, clock, every_s=0.0)
    bus.outbox.append([RetrainingStarted(model="m", timestamp="t", job_id="a", trigger_reason="")], "t")
    with capture_logs() as lines:
        assert OutboxRelay(small, bus.outbox, host="h").drain_once() == 1
        assert [confirmation.look(), confirmation.look()] == [0, 0]
    assert [line["event"] for line in lines].count("events.unconfirmed") == 1
    assert bus.on_stream() == [b"1"]
