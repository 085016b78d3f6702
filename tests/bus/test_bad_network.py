"""A network that is slow, delivers single bytes or breaks within a reply adds only latency."""

from collections.abc import Iterator

import pytest
from structlog.testing import capture_logs

from clm.bus.confirm import Confirmation
from clm.bus.entries import GROUP
from clm.bus.inbox import TriggerConsumer
from clm.bus.relay import OutboxRelay
from clm.bus.streams import MODEL_RETRAIN
from clm.errors import BusUnavailable
from tests.bus.proxies import Proxy

pytestmark = pytest.mark.needs_redis

WISH = {"model": "patchtst", "source": "test"}
COMPLETED = "quantum:stream:learning.retraining.completed"


@pytest.fixture
def proxy(server) -> Iterator[Proxy]:
    made = Proxy(server.directory / "proxy.sock", server.socket)
    yield made
    made.close()


def poll_three_times(consumer: TriggerConsumer) -> None:
    for _ in range(3):
        consumer.poll_once(1)


@pytest.mark.parametrize("trouble", ["a byte at a time", "late"])
def test_i9_a_slow_network_costs_time_and_nothing_else(
    proxy, make_client, make_consumer, plain, queue, outbox, trouble
):
    """Triggers are stored and acknowledged, events published, once each."""
    proxy.slice_bytes, proxy.delay_s = (1, 0.0) if trouble == "a byte at a time" else (65536, 0.2)
    client = make_client(proxy.url)
    for n in range(3):
        plain.xadd(MODEL_RETRAIN, {**WISH, "n": n})
    outbox.add(3)
    assert make_consumer(client).poll_once() == 3
    assert OutboxRelay(client, outbox, host="h").drain_once() == 3
    assert plain.xpending(MODEL_RETRAIN, GROUP)["pending"] == 0
    assert [fields["seq"] for _, fields in plain.xrange(COMPLETED)] == ["1", "2", "3"]
    assert len(queue.triggers) == 3


@pytest.mark.parametrize("cut_after", [0, 1, 7, 60])
def test_i9_a_reply_that_ends_in_the_middle_is_a_lost_connection_and_is_asked_again(
    proxy, make_client, make_consumer, plain, queue, cut_after
):
    """Entries read but not stored are in the pending list: no trigger is lost or stored twice."""
    client = make_client(proxy.url)
    consumer = make_consumer(client)
    consumer.poll_once(1)
    plain.xadd(MODEL_RETRAIN, WISH)
    proxy.cut_after = cut_after
    with pytest.raises(BusUnavailable):
        poll_three_times(consumer)
    consumer.forget()
    poll_three_times(consumer)
    assert len(queue.triggers) == 1
    assert plain.xpending(MODEL_RETRAIN, GROUP)["pending"] == 0


def test_c9_i9_an_answer_to_xadd_that_is_lost_is_a_second_entry_with_the_same_event_id(
    proxy, make_client, plain, outbox
):
    """The client never retries; our loop does, and readers deduplicate."""
    client = make_client(proxy.url)
    relay = OutboxRelay(client, outbox, host="h")
    client.ping()
    outbox.add(1)
    proxy.cut_after = 0
    with pytest.raises(BusUnavailable):
        relay.drain_once()
    assert relay.drain_once() == 1
    assert [fields["event_id"] for _, fields in plain.xrange(COMPLETED)] == ["e1", "e1"]


@pytest.mark.parametrize(
    ("piece", "other"),
    [
        (b"run_id", b"run_ie"),
        (b"rdb_last_save_time:", b"rdb_last_save_tame:"),
        (b"rdb_last_save_time:1", b"rdb_last_save_time:x"),
        (b"entries-added", b"entries-odder"),
        (b"last-delivered-id", b"last-delivered-ie"),
        (b"consumers", b"consumerz"),
        (b"first-entry", b"first-entrz"),
        (b"last-entry", b"lost-entry"),
    ],
)
def test_i14_a_server_whose_reports_are_odd_still_gives_triggers_and_takes_events(
    proxy, make_client, make_consumer, plain, queue, outbox, clock, piece, other
):
    """With a server that only resembles Redis, missing values are unknown and nothing crashes."""
    proxy.rewritten = {piece: other}
    client = make_client(proxy.url)
    consumer, confirmation = make_consumer(client), Confirmation(client, outbox, clock)
    relay = OutboxRelay(client, outbox, host="h")
    with capture_logs() as lines:
        for _ in range(3):
            plain.xadd(MODEL_RETRAIN, {"model": "patchtst"})
            outbox.add(1)
            assert consumer.poll_once() == 1
            assert relay.drain_once() == 1
            confirmation.look()
            clock.sleep(10)
    assert len(queue.triggers) == 3
    assert outbox.waiting_count() == 0
    unseen = [one for one in lines if one["event"] in {"events.unconfirmed", "trigger.losses_unseen"}]
    assert len(unseen) <= 1, "said once"
