"""The daemon's loop: one cycle at a time, and every task settled, whatever happens meanwhile."""

import os
import signal
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from clm.artefacts.registry import DirectoryRegistry
from clm.daemon.freeze_watch import FreezeWatch
from clm.daemon.service import Service
from clm.domain.line import DEFAULT_LINE
from clm.domain.task import Trigger
from clm.errors import PromotionBusy, PromotionError, StoreBusy, TrainingError
from clm.ports import Control
from clm.settings import load_settings
from clm.steps.world import Policies, World
from clm.store.controls import SqliteControls
from clm.store.create import create_store
from clm.store.migrate import migrate
from clm.store.outbox import SqliteOutbox
from clm.store.promotions import SqlitePromotionLog
from clm.store.runs import SqliteJournal
from clm.store.tasks import SqliteTaskQueue
from clm.upkeep.brakes import Brakes, PauseBrake
from clm.wiring import Wired
from tests import builders
from tests.fakes import FakeBrake, FakeClock, FakePromoter, FakeSource, FakeTrainer, ScriptedAsker, oracle


class Silent:
    """A bus and a schedule that are well and have nothing to say."""

    tick_age_s = 0.0

    def run(self, _stop: threading.Event) -> None: ...

    def start(self) -> None: ...

    def stop(self) -> None: ...

    def status_text(self) -> str:
        return "redis up"

    def next_due(self) -> None:
        return None

    def check_clock(self) -> None:
        return None


class Tidier:
    """Counts how often it is asked to make room."""

    def __init__(self) -> None:
        self.asked = 0

    def tidy(self) -> tuple[str, ...]:
        self.asked += 1
        return ()


class Notified:
    """Collects notifications to the service manager."""

    def __init__(self) -> None:
        self.pings = 0

    def watchdog(self) -> None:
        self.pings += 1

    def status(self, _text: str) -> None:
        return


class Daemon:
    """A service on a real store, with a world in memory around it."""

    def __init__(self, directory: Path) -> None:
        self.store = directory / "store.db"
        create_store(self.store)
        migrate(self.store)
        self.clock = FakeClock()
        self.trainer = FakeTrainer(oracle(1.2))
        self.promoter = FakePromoter()
        self.brake = FakeBrake()
        self.retention = Tidier()
        self.queue = SqliteTaskQueue(self.store, self.clock)
        journal = SqliteJournal(self.store, self.clock)
        world = World(
            line=DEFAULT_LINE,
            clock=self.clock,
            source=FakeSource(builders.raw_samples()),
            trainer=self.trainer,
            asker=ScriptedAsker(),
            registry=DirectoryRegistry(directory / "artefacts"),
            promoter=self.promoter,
            journal=journal,
            brake=self.brake,
            runs_dir=directory / "runs",
            code_version="test",
        )
        policies = Policies(
            history_days=0,
            max_rows=100_000,
            data=builders.data_policy(),
            audit=builders.audit_policy(),
            training=builders.training_spec(),
            train_timeout_s=60,
            evaluation=builders.evaluation_policy(),
            gates=builders.gate_policy(),
            promote=True,
            load_check=False,
        )
        wired = Wired(
            settings=load_settings(None, {"store": self.store}),
            clock=self.clock,
            queue=self.queue,
            outbox=SqliteOutbox(self.store, self.clock),
            journal=journal,
            registry=world.registry,
            log=SqlitePromotionLog(self.store, self.clock),
            promoter=self.promoter,
            retention=self.retention,
            world=world,
            policies=policies,
        )
        self.stop = threading.Event()
        self.service = Service(wired, bus=Silent(), schedule=Silent(), brake=self.brake, stop=self.stop)

    def submit(self, source: str = "cli") -> int:
        trigger = Trigger(model="patchtst", reason="a test", requested_by="test", source=source)
        return self.queue.submit(trigger, self.clock.now())

    def tick(self) -> None:
        """Let the loop look once, and wait for the cycle it may have begun."""
        self.clock.waited_s += 10_000
        self.service._start_next()
        if self.service._learner:
            self.service._learner.join(60)

    def status(self, task_id: int) -> tuple[str, int]:
        with sqlite3.connect(self.store) as connection:
            row = connection.execute(
                "SELECT status, attempts FROM clm_tasks WHERE id=?", (task_id,)
            ).fetchone()
        connection.close()
        return row


class Notifications:
    """Notifications to the service manager, in order."""

    def __init__(self) -> None:
        self.words: list[str] = []

    def ready(self) -> None:
        self.words.append("READY")

    def watchdog(self) -> None:
        self.words.append("WATCHDOG")

    def stopping(self) -> None:
        self.words.append("STOPPING")

    def status(self, _text: str) -> None: ...

    def extend_timeout(self, _seconds: int) -> None: ...


@pytest.fixture
def daemon(tmp_path: Path) -> Daemon:
    """A daemon with an empty queue."""
    return Daemon(tmp_path)


def test_a_task_leads_to_a_cycle_and_is_completed(daemon):
    """The whole point of the loop."""
    task = daemon.submit()
    daemon.tick()
    assert daemon.status(task) == ("completed", 1)
    assert len(daemon.promoter.promoted) == 1


def test_e1_a_task_whose_training_breaks_is_tried_again_and_then_given_up(daemon):
    """A child that is killed each time would be trained for ever."""
    daemon.trainer.error = TrainingError("CHILD_KILLED", "killed by SIGKILL")
    task = daemon.submit()
    daemon.tick()
    assert daemon.status(task) == ("pending", 1)
    daemon.tick()
    assert daemon.status(task) == ("failed", 2)


def test_a_bug_in_a_cycle_ends_the_task_never_the_daemon(daemon):
    """The next task may be a better one."""
    daemon.trainer.error = ZeroDivisionError("oops")
    task = daemon.submit()
    for _ in range(2):
        daemon.tick()
    assert daemon.status(task) == ("failed", 2)
    daemon.trainer.error = None
    again = daemon.submit()
    daemon.tick()
    assert daemon.status(again)[0] == "completed"


def test_a16_a_task_that_kills_the_daemon_each_time_is_given_up(daemon):
    """A crash leaves no answer; what counts is how often it was begun."""
    task = daemon.submit()
    for _ in range(2):
        daemon.queue.claim(daemon.clock.now())
        daemon.queue.recover(daemon.clock.now())
    daemon.tick()
    daemon.tick()
    assert daemon.status(task)[0] == "failed"
    assert daemon.trainer.jobs == []


def test_e11_a_stop_in_order_is_no_attempt_of_the_task(daemon):
    """Two restarts of the service must not use up the tries of a task."""
    task = daemon.submit()
    daemon.trainer.predict = lambda dataset: daemon.stop.set() or oracle(1.2)(dataset)
    daemon.tick()
    assert daemon.status(task) == ("pending", 0)
    assert daemon.promoter.promoted == [], "a stop after the training leaves the engine alone"


def test_m9_a_task_that_was_changed_meanwhile_does_not_wedge_the_daemon(daemon):
    """A restored store knows nothing of the task; the next one must still run."""
    task = daemon.submit()

    def restore(dataset):
        with sqlite3.connect(daemon.store) as connection:
            connection.execute("UPDATE clm_tasks SET status='failed' WHERE id=?", (task,))
        connection.close()
        return oracle(1.2)(dataset)

    daemon.trainer.predict = restore
    daemon.tick()
    daemon.trainer.predict = oracle(1.2)
    again = daemon.submit()
    daemon.tick()
    assert daemon.status(again)[0] == "completed"


def test_an_open_promotion_is_brought_to_its_end_before_the_next_cycle(daemon):
    """A store that was busy for a moment at the start must not leave the engine between two models."""
    asked = []
    daemon.promoter.recover = lambda: asked.append(len(daemon.trainer.jobs))
    daemon.submit()
    daemon.tick()
    assert asked == [0]


def test_a_promotion_that_cannot_be_recovered_keeps_the_task_in_the_queue(daemon):
    """Nothing is trained on top of an engine in an unknown state."""

    def unreachable() -> None:
        raise PromotionError("ENGINE_UNREACHABLE", "systemd does not answer")

    daemon.promoter.recover = unreachable
    task = daemon.submit()
    daemon.tick()
    assert daemon.status(task) == ("pending", 1)
    assert daemon.trainer.jobs == []


def test_a_frozen_system_leaves_the_task_where_it_is_and_says_so(daemon):
    """Who froze it wants to find everything as it was."""
    daemon.brake.answers = ["quantum:learning:frozen is 1"]
    task = daemon.submit()
    daemon.tick()
    assert daemon.status(task) == ("pending", 0)
    assert "quantum:learning:frozen is 1" in daemon.service.status_text()


def test_a_promotion_that_a_dead_process_left_is_taken_up_before_any_task(daemon):
    """A person at the command line pressed Ctrl-C: the engine must not stay between two models for a day."""
    task = daemon.submit()
    daemon.promoter.open = True
    daemon.tick()
    assert daemon.promoter.open is False
    assert daemon.status(task) == ("pending", 0)
    daemon.tick()
    assert daemon.status(task) == ("completed", 1)


def test_a_promotion_that_is_under_way_elsewhere_is_left_alone_and_costs_no_attempt(daemon):
    """The lock says that its owner lives; the task waits."""
    task = daemon.submit()
    daemon.promoter.open = True

    def busy():
        raise PromotionBusy("PROMOTION_BUSY", "another program is at work")

    daemon.promoter.recover = busy
    for _ in range(3):
        daemon.tick()
    assert daemon.status(task) == ("pending", 0)
    daemon.promoter.open = False
    daemon.promoter.recover = lambda: None
    daemon.tick()
    assert daemon.status(task) == ("completed", 1)


def test_a_pause_is_seen_at_the_next_look_and_ends_with_resume(daemon):
    """`clm pause` is a row in the store: the daemon needs no signal to see it."""
    controls = SqliteControls(daemon.store, daemon.clock)
    daemon.service._freeze = FreezeWatch(Brakes(PauseBrake(controls), daemon.brake), daemon.clock)
    controls.set(Control.PAUSE, reason="we move house")
    task = daemon.submit()
    daemon.tick()
    assert daemon.status(task) == ("pending", 0)
    assert "we move house" in daemon.service.status_text()
    controls.clear(Control.PAUSE)
    daemon.tick()
    assert daemon.status(task) == ("completed", 1)


def test_j2_room_is_made_before_a_cycle_and_while_the_disk_is_too_full_for_one(daemon):
    """Retention comes first; a full disk must not keep itself full."""
    daemon.submit()
    daemon.tick()
    assert daemon.retention.asked == 1
    daemon.brake.answers = ["the disk is full"]
    daemon.submit()
    daemon.tick()
    assert daemon.retention.asked == 2


def test_f16_a_recovery_that_raises_backs_off_and_leaves_the_promotion_open(daemon):
    """Whatever the exception: half an hour apart at most, and no task is begun meanwhile."""
    daemon.promoter.open, asked = True, []

    def bug() -> None:
        asked.append(daemon.clock.monotonic())
        raise UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte")

    daemon.promoter.recover = bug
    task, waits = daemon.submit(), []
    for _ in range(8):
        daemon.tick()
        waits.append(daemon.service._not_before - daemon.clock.monotonic())
    assert waits == [60, 120, 240, 480, 960, 1800, 1800, 1800]
    assert len(asked) == 8
    assert daemon.status(task) == ("pending", 0)
    daemon.promoter.recover = lambda: setattr(daemon.promoter, "open", False)
    daemon.tick()
    daemon.tick()
    assert daemon.status(task) == ("completed", 1)


def test_f16_a_look_at_the_promotions_that_raises_ends_no_daemon(daemon):
    """A row of a later version may hold a state that this one does not know."""
    daemon.submit()

    def bug() -> bool:
        raise ValueError("'HALF' is not a valid PromotionState")

    daemon.promoter.is_open = bug
    daemon.tick()
    assert daemon.service._not_before - daemon.clock.monotonic() == 60
    assert daemon.trainer.jobs == []


@pytest.mark.parametrize("thread", ["_bus", "_schedule"])
def test_d3_h11_a_thread_that_fell_silent_stops_the_ping(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, thread: str
) -> None:
    """A daemon with one dead part must be restarted, even if the main loop is healthy."""
    daemon = Daemon(tmp_path)
    notified = Notified()
    monkeypatch.setattr(daemon.service, "_notify", notified)
    daemon.service._tend()
    assert notified.pings == 1
    getattr(daemon.service, thread).tick_age_s = 31.0
    daemon.service._tend()
    assert notified.pings == 1
    getattr(daemon.service, thread).tick_age_s = 1.0
    daemon.service._tend()
    assert notified.pings == 2


@pytest.fixture
def handlers() -> Iterator[None]:
    """Put back the signal handlers that a running service takes over."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("handlers")
def test_h12_ready_is_said_last_and_never_by_a_daemon_that_cannot_work(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A unit that reports READY and then fails looks healthy to units that wait for it."""
    notified = daemon.service._notify = Notifications()
    monkeypatch.setattr(
        daemon.queue, "recover", lambda _now: pytest.fail(notified.words) if notified.words else []
    )
    daemon.stop.set()
    daemon.service.run()
    assert notified.words == ["READY", "STOPPING"]

    def busy(_now: object) -> list[str]:
        raise StoreBusy("STORE_BUSY", "somebody holds the lock")

    notified.words.clear()
    monkeypatch.setattr(daemon.queue, "recover", busy)
    with pytest.raises(StoreBusy):
        daemon.service.run()
    assert notified.words == []


@pytest.mark.usefixtures("handlers")
def test_h14_a_hangup_is_answered_and_ends_nothing(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Settings are read at the start; a SIGHUP that ended the daemon would leave it down."""
    notified = daemon.service._notify = Notifications()
    monkeypatch.setattr(notified, "ready", lambda: (os.kill(os.getpid(), signal.SIGHUP), daemon.stop.set()))
    daemon.service.run()
    assert notified.words == ["STOPPING"]
    assert "systemctl restart" in capsys.readouterr().out


def test_c18_a_storm_of_triggers_is_one_cycle_a_quarter_of_an_hour(daemon):
    """For an hour: each is counted in the task that waits, and the status says until when."""
    for _ in range(30):
        daemon.submit("redis:model.retrain")
        daemon.clock.pass_by(120.0)
        daemon.service._start_next()
        if daemon.service._learner:
            daemon.service._learner.join(60)
            daemon.service._learner = None
    with sqlite3.connect(daemon.store) as connection:
        runs = [row[0] for row in connection.execute("SELECT started_at FROM clm_runs ORDER BY started_at")]
        triggers = connection.execute("SELECT sum(triggers) FROM clm_tasks").fetchone()[0]
    connection.close()
    assert len(runs) == 4
    assert triggers == 30
    assert "triggers wait until" in daemon.service.status_text()


def test_c18_a_person_does_not_wait_for_the_storm_to_end(daemon):
    """Also where their trigger joined one that waits."""
    daemon.submit("redis:model.retrain")
    daemon.tick()
    joined = daemon.submit("redis:model.retrain")
    daemon.tick()
    assert daemon.status(joined) == ("pending", 0)
    assert daemon.submit("cli") == joined
    daemon.tick()
    assert daemon.status(joined) == ("completed", 1)
