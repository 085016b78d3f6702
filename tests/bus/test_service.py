"""The bus thread, against a redis-server that stops and restarts."""

import threading
import time

import pytest
from structlog.testing import capture_logs

from clm.bus.brake import RedisBrake
from clm.bus.client import talking_to
from clm.bus.confirm import Confirmation
from clm.bus.inbox import TriggerConsumer
from clm.bus.relay import Heartbeat, OutboxRelay
from clm.bus.service import Backoff, BusStatus, BusWorker
from clm.bus.streams import HEARTBEAT_KEY, MODEL_RETRAIN, TRIGGER_STREAMS
from clm.clock import SystemClock
from clm.errors import BusUnavailable, StoreBusy
from tests.bus.conftest import MemoryOutbox

WISH = {"model": "patchtst"}


def until(true, seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "did not come true in time"
        time.sleep(0.01)


class Running:
    """A worker on its own thread."""

    def __init__(self, worker: BusWorker) -> None:
        self.worker = worker
        self.stop = threading.Event()
        self.thread = threading.Thread(target=worker.run, args=(self.stop,))
        self.thread.start()

    def end(self) -> float:
        started = time.monotonic()
        self.stop.set()
        self.thread.join(10)
        assert not self.thread.is_alive()
        return time.monotonic() - started


@pytest.fixture
def start(client, outbox, make_consumer):
    running = []

    def begin(**options: object) -> Running:
        consumer = make_consumer(client, **options)
        clock = SystemClock()
        worker = BusWorker(
            consumer,
            OutboxRelay(client, outbox, host="h"),
            Confirmation(client, outbox, clock),
            Heartbeat(client, clock),
            outbox,
            clock,
            backoff=Backoff(0.02, 0.2),
        )
        running.append(Running(worker))
        return running[-1]

    yield begin
    for one in running:
        one.stop.set()
        one.thread.join(10)


@pytest.mark.needs_redis
def test_the_worker_reads_publishes_and_shows_life(start, queue, outbox, plain):
    """One thread handles all Redis work."""
    outbox.add(3)
    one = start()
    plain.xadd(MODEL_RETRAIN, WISH)
    until(lambda: queue.triggers and not outbox.waiting_count() and plain.exists(HEARTBEAT_KEY))
    until(lambda: one.worker.status_text() == "redis up")
    assert one.worker.status.connected
    assert one.worker.status.last_error is None
    assert one.worker.tick_age_s < 3
    assert one.end() < 2.5


@pytest.mark.needs_redis
def test_the_worker_ends_within_one_blocking_read(start):
    """systemctl stop must not wait for a new entry."""
    one = start(block_ms=2000)
    until(lambda: one.worker.status.connected)
    time.sleep(0.2)
    assert one.end() < 2.5


@pytest.mark.needs_redis
def test_i2_events_wait_while_redis_is_away_and_are_drained_in_order(start, server, outbox, queue, plain):
    """STATUS shows the time and the number of waiting events; the log reports the loss once."""
    with capture_logs() as lines:
        one = start()
        until(lambda: one.worker.status.connected)
        server.kill()
        until(lambda: not one.worker.status.connected)
        outbox.add(37)
        until(lambda: one.worker.status.waiting == 37)
        since = one.worker.status.since
        assert one.worker.status_text() == f"redis down since {since:%H:%M}, 37 events waiting"
        assert "cannot be reached" in one.worker.status.last_error
        time.sleep(0.6)
        assert one.worker.status.since == since
        assert one.worker.tick_age_s < 3
        server.start()
        until(lambda: outbox.waiting_count() == 0)
        plain.xadd(MODEL_RETRAIN, WISH)
        until(lambda: len(queue.triggers) == 1)
        one.end()
    entries = plain.xrange("quantum:stream:learning.retraining.completed")
    assert [fields["seq"] for _, fields in entries] == [str(n) for n in range(1, 38)]
    events = [line["event"] for line in lines if line["event"].startswith("bus.")]
    assert events == ["bus.connected", "bus.lost", "bus.connected"]


@pytest.mark.needs_redis
def test_i5_a_redis_without_memory_still_gives_triggers(start, plain, outbox, queue):
    """Writes are rejected, reads are not; the status names the cause."""
    one = start()
    until(lambda: one.worker.status.connected)
    plain.xadd(MODEL_RETRAIN, WISH)
    plain.config_set("maxmemory", 1)
    outbox.add(2)
    until(lambda: len(queue.triggers) == 1)
    until(lambda: one.worker.status.last_error and "OOM" in one.worker.status.last_error)
    assert one.worker.status_text() == "redis up, 2 events waiting"
    plain.config_set("maxmemory", 0)
    until(lambda: one.worker.status_text() == "redis up")
    assert one.worker.status.last_error is None


@pytest.mark.needs_redis
def test_c14_trigger_streams_of_another_type_do_not_keep_events_back(start, plain, outbox):
    """Triggers cannot be read, but events can be published."""
    for stream in TRIGGER_STREAMS:
        plain.set(stream, "x")
    outbox.add(2)
    one = start()
    until(lambda: not outbox.waiting_count())
    until(lambda: one.worker.status.last_error and "WRONGTYPE" in one.worker.status.last_error)
    assert one.worker.status.connected


@pytest.mark.needs_redis
def test_a_store_that_is_busy_costs_a_wait_and_no_trigger(start, plain, queue):
    """The trigger stays pending in Redis and is read again."""
    queue.fail_before = StoreBusy("STORE_BUSY", "somebody holds the lock")
    plain.xadd(MODEL_RETRAIN, WISH)
    one = start()
    until(lambda: len(queue.triggers) == 1)
    until(lambda: plain.xpending(MODEL_RETRAIN, "clm")["pending"] == 0)
    assert one.worker.status.connected


@pytest.mark.needs_redis
@pytest.mark.parametrize(
    ("broken", "name"),
    [
        (TriggerConsumer, "poll_once"),
        (Confirmation, "look"),
        (OutboxRelay, "drain_once"),
        (Heartbeat, "beat"),
        (MemoryOutbox, "waiting_count"),
    ],
)
def test_i15_a_bug_in_any_step_is_logged_once_and_ends_nothing(
    start, plain, queue, outbox, monkeypatch, broken, name
):
    """The thread backs off, shows signs of life, and recovers when the cause is gone."""
    raised = []

    def bug(*_args, **_options):
        raised.append(time.monotonic())
        raise TypeError("must be real number,\nnot NoneType")

    with capture_logs() as lines, monkeypatch.context() as patch:
        patch.setattr(broken, name, bug)
        one = start()
        until(lambda: len(raised) >= 8)
        assert one.thread.is_alive()
        assert one.worker.tick_age_s < 3
        assert "TypeError: must be real number" in (one.worker.status.last_error or "")
        assert raised[-1] - raised[0] > 0.1, "no spin"
    outbox.add(1)
    plain.xadd(MODEL_RETRAIN, WISH)
    until(lambda: queue.triggers and not outbox.waiting_count() and plain.exists(HEARTBEAT_KEY))
    until(lambda: one.worker.status.last_error is None)
    bugs = [line for line in lines if line["event"] == "bus.bug"]
    assert [(line["error"], line["log_level"]) for line in bugs] == [
        ("TypeError: must be real number,\\nnot NoneType", "error")
    ]


@pytest.mark.needs_redis
@pytest.mark.parametrize("what", ["dead", "hung"])
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_i15_h11_a_thread_that_is_dead_or_hangs_shows_no_life(start, monkeypatch, what):
    """Surviving every exception is no sign of life: the watchdog uses this age."""
    released = threading.Event()

    def poll(*_args, **_options):
        if what == "dead":
            raise SystemExit
        released.wait(10)

    monkeypatch.setattr(TriggerConsumer, "poll_once", poll)
    one = start()
    until(lambda: one.worker.tick_age_s > 0.5)
    assert one.thread.is_alive() is (what == "hung")
    released.set()


@pytest.mark.needs_redis
def test_i7_a_refusal_that_lasts_is_one_log_line_and_no_spin(start, plain, server):
    """At least 30 s between two lines, however many retries there are."""
    with capture_logs() as lines:
        one = start()
        until(lambda: one.worker.status.connected)
        plain.execute_command("REPLICAOF", "127.0.0.1", "1")
        until(lambda: not one.worker.status.connected)
        before = plain.info("stats")["total_reads_processed"]
        time.sleep(1.0)
        spent = plain.info("stats")["total_reads_processed"] - before
        one.end()
    assert spent < 100
    assert [line["event"] for line in lines].count("bus.lost") == 1
    assert len(lines) <= 3, "the blocked read may be said to have been ended"


@pytest.mark.needs_redis
def test_i10_a_wrong_password_is_safe_and_heals_when_the_password_does(start, plain, client):
    """The daemon survives: the engine and the schedule continue."""
    plain.config_set("requirepass", "right")
    one = start()
    until(lambda: one.worker.status.last_error is not None)
    assert "password file" in one.worker.status.last_error
    assert not one.worker.status.connected
    plain.execute_command("AUTH", "right")
    plain.config_set("requirepass", "")
    until(lambda: one.worker.status.connected)


ACL = (
    "~quantum:stream:* ~quantum:svc:quantum-clm:* %R~quantum:learning:frozen %R~quantum:system:mode -@all "
    "+xadd +xreadgroup +xack +xautoclaim +xclaim +xpending +xgroup|create +xinfo|stream +xinfo|groups "
    "+get +set +ping +info +select"
)


@pytest.mark.needs_redis
def test_i10_l9_the_smallest_acl_is_enough_for_all_we_do(
    server, plain, make_client, make_consumer, outbox, queue
):
    """With these permissions, the user cannot flush, configure, trim or read other keys."""
    plain.execute_command("ACL", "SETUSER", "clm", "on", ">pw", "resetkeys", *ACL.split())
    client = make_client(server.url.replace("unix://", "unix://clm@") + "?db=0", "pw")
    clock = SystemClock()
    outbox.add(2)
    plain.xadd(MODEL_RETRAIN, WISH)
    plain.xadd(MODEL_RETRAIN, {"x": "poison"})
    assert make_consumer(client, claim_every_s=0).poll_once() == 2
    assert OutboxRelay(client, outbox, host="h").drain_once() == 2
    assert Confirmation(client, outbox, clock).look() == 0
    assert len(outbox.states) == 1
    Heartbeat(client, clock).beat()
    brake = RedisBrake(client)
    assert brake.frozen_because() is None
    assert brake.unknown_because is None
    for command in ("FLUSHALL", "CONFIG GET *", f"XTRIM {MODEL_RETRAIN} MAXLEN 0", "GET other"):
        with pytest.raises(BusUnavailable) as caught, talking_to(client):
            client.execute_command(*command.split())
        assert caught.value.code == "REDIS_AUTH"


def talk(client) -> int:
    with talking_to(client):
        client.ping()
    return 0


@pytest.mark.needs_redis
def test_i2_a_server_that_goes_away_between_two_steps_is_a_lost_connection(
    server, client, start, plain, monkeypatch
):
    """This is not a failed step: the status must not report that Redis is up."""
    one = start()
    until(lambda: one.worker.status.connected)
    monkeypatch.setattr(Confirmation, "look", lambda self, **_: server.kill() or talk(client))
    with capture_logs() as lines:
        until(lambda: not one.worker.status.connected)
        one.end()
    assert [line["event"] for line in lines][:1] == ["bus.lost"]


def test_i2_the_wait_grows_from_a_tenth_of_a_second_to_thirty_with_jitter():
    """Waits are neither zero nor a minute long, and daemons do not retry at the same time."""
    waits = [[backoff.next_s() for _ in range(12)] for backoff in (Backoff(), Backoff())]
    for one in waits:
        ceilings = [min(30.0, 0.1 * 2**n) for n in range(12)]
        assert all(c / 2 <= wait <= c for wait, c in zip(one, ceilings, strict=True))
    assert waits[0] != waits[1]
    backoff = Backoff()
    for _ in range(2000):
        backoff.next_s()
    backoff.reset()
    assert backoff.next_s() <= 0.1


@pytest.mark.parametrize(
    ("connected", "waiting", "text"),
    [
        (True, 0, "redis up"),
        (True, 1, "redis up, 1 event waiting"),
        (False, 37, "redis down since 14:02, 37 events waiting"),
        (False, 0, "redis down since 14:02, 0 events waiting"),
        (False, None, "redis down since 14:02, outbox unreadable"),
    ],
)
def test_the_status_says_since_when_and_how_many(clock, connected, waiting, text):
    """The text that an operator reads in systemctl status."""
    status = BusStatus(
        connected=connected, since=clock.now(), waiting=waiting, last_error=None, tick_age_s=0.0
    )
    assert status.text == text


@pytest.mark.needs_redis
def test_c11_a_loss_of_triggers_is_an_alert_on_the_bus(start, plain, outbox, queue):
    """The schedule continues; an operator has to find out what trims the stream."""
    plain.xadd(MODEL_RETRAIN, WISH)
    one = start()
    until(lambda: len(queue.triggers) == 1)
    with plain.pipeline() as at_once:
        at_once.xadd(MODEL_RETRAIN, WISH)
        at_once.xadd(MODEL_RETRAIN, WISH, maxlen=1, approximate=False)
        at_once.execute()
    until(lambda: outbox.appended)
    one.end()
    (alert,) = outbox.appended
    assert (alert.metadata["code"], alert.metadata["n"]) == ("TRIGGER_LOST", 1)
    assert MODEL_RETRAIN in alert.message
