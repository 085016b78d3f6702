"""The freeze and the daemon: real Redis, store, environment file and engine; the training is a fake."""

import contextlib
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import redis
from structlog.testing import capture_logs

from clm.bus.brake import RedisBrake
from clm.bus.client import connect
from clm.bus.streams import FROZEN_KEY, MODE_KEY
from clm.daemon.freeze_watch import FreezeWatch
from clm.daemon.service import Service
from clm.domain.freeze import Freeze, FreezeState
from clm.domain.task import Trigger
from clm.domain.waiting import WaitsFor
from clm.engine.directory_lock import directory_lock
from clm.errors import PromotionError
from clm.ports import Control, PromotionState
from clm.upkeep.brakes import Brakes, PauseBrake
from clm.verbs import operate
from clm.verbs.doctor import CheckStatus, examine
from clm.verbs.overview import overview
from clm.verbs.run import run_once
from clm.wiring import Wired, wire
from tests import builders
from tests.bus.conftest import RedisServer
from tests.daemon.test_service import Silent
from tests.fakes import FakeBrake, FakeClock, FakeSource, FakeTrainer, oracle
from tests.promotion.server import NEW, OLD, Server, wait_until

pytestmark = pytest.mark.needs_redis


class Machine:
    """A server with its Redis, and a daemon on it that can be restarted."""

    def __init__(self, server: Server, bus: RedisServer) -> None:
        self.server = server
        self.bus = bus
        self.trainer = FakeTrainer(oracle(1.2), predict_champion=oracle(0.1, seed=5))
        self.settings = server.settings(
            redis_url=bus.url, train_min_free_mb=0, train_min_free_share=0.0, min_run_interval_min=0
        )
        self.start()

    def start(self) -> None:
        """Start the daemon, or start it again: nothing is kept but what is on the disk."""
        wired = wire(self.settings)
        world = replace(
            wired.world,
            source=FakeSource(builders.raw_samples()),
            trainer=self.trainer,
        )
        policies = replace(
            wired.policies,
            floor=None,
            load_check=False,
            data=builders.data_policy(),
            audit=builders.audit_policy(),
            training=builders.training_spec(),
            evaluation=builders.evaluation_policy(),
            gates=builders.gate_policy(),
        )
        self.wired: Wired = replace(wired, world=world, policies=policies)
        self.service = Service(
            self.wired, bus=Silent(), schedule=Silent(), brake=world.brake, stop=threading.Event()
        )

    def submit(self) -> int:
        trigger = Trigger(model="patchtst", reason="a test", requested_by="test", source="cli")
        return self.wired.queue.submit(trigger, self.wired.clock.now())

    def tick(self) -> None:
        """Let the loop look once, and wait for the work it may have begun."""
        self.service._look_at = self.service._not_before = self.service._freeze._ask_at = 0.0
        self.service._tidy_at = float("inf")
        self.service._start_next()
        if self.service._learner:
            self.service._learner.join(60)
            self.service._learner = None

    def learn(self) -> None:
        self.submit()
        self.tick()

    @contextlib.contextmanager
    def silence(self) -> Iterator[None]:
        """Stop redis-server: it accepts connections and never answers."""
        assert self.bus.process
        os.kill(self.bus.process.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(self.bus.process.pid, signal.SIGCONT)

    @property
    def plain(self) -> redis.Redis:
        return redis.Redis(unix_socket_path=str(self.bus.socket), decode_responses=True, protocol=2)

    def key(self, name: str, value: str | None) -> None:
        with self.plain as client:
            client.set(name, value) if value is not None else client.delete(name)

    @property
    def trained(self) -> int:
        return len(self.trainer.jobs)

    def served_version(self) -> str:
        return Path(str(self.server.served())).stem

    def tasks(self) -> list[str]:
        return [str(row[0]) for row in self.server.query("SELECT status FROM clm_tasks ORDER BY id")]


@pytest.fixture
def bus() -> Iterator[RedisServer]:
    directory = Path(tempfile.mkdtemp(prefix="clm-redis-"))
    made = RedisServer(directory)
    made.start()
    yield made
    made.stop()
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture
def machine(server: Server, bus: RedisServer) -> Machine:  # the fixture of the promotions
    return Machine(server, bus)


def names(lines: list[dict[str, object]], prefix: str = "daemon.") -> list[object]:
    return [line["event"] for line in lines if str(line["event"]).startswith(prefix)]


def test_i16_a_redis_that_stops_while_frozen_leaves_it_frozen(machine: Machine) -> None:
    """The fault that was seen: SIGSTOP during a freeze, and the daemon trained and promoted."""
    machine.key(FROZEN_KEY, "1")
    machine.submit()
    with capture_logs() as lines:
        machine.tick()
        with machine.silence():
            for _ in range(3):
                machine.tick()
            assert f"frozen: learning is frozen: {FROZEN_KEY} = 1, last seen" in machine.service.status_text()
            assert "no valid answer since" in machine.service.status_text()
    assert (machine.trained, machine.tasks()) == (0, ["pending"])
    assert machine.served_version() == OLD
    assert names(lines) == ["daemon.frozen", "daemon.frozen"], "once with the key, once for the silence"
    machine.key(FROZEN_KEY, None)
    machine.tick()
    assert machine.trained == 1


def test_i16_a_redis_that_stops_while_thawed_lets_train_and_holds_the_promotion(machine: Machine) -> None:
    """The model waits, `clm status` says why, and the answer brings it in without a second training."""
    machine.service._freeze.keep_asking()
    with machine.silence(), capture_logs() as lines:
        machine.learn()
        machine.tick()
        status = machine.service.status_text()
    assert (machine.trained, machine.tasks()) == (1, ["completed"])
    assert machine.served_version() == OLD
    assert names(lines) == ["daemon.freeze_unknown"]
    assert "no automatic promotion: the freeze keys cannot be read (thawed, last seen" in status
    facts = overview(machine.settings)
    assert "while the freeze is unknown" in str(facts["waiting_because"])
    assert "takes it up once Redis says thawed" in str(facts["waiting_because"])
    with capture_logs() as lines:
        machine.tick()
    assert names(lines) == ["daemon.thawed"]
    assert machine.trained == 1
    assert machine.served_version() == facts["candidate_waiting"]
    assert machine.server.terminal_events() == ["model.promoted"]
    assert machine.server.events().count("model.promotion_started") == 1
    for _ in range(3):
        machine.tick()
    assert machine.server.states().count("COMMITTED") == 2, "the adopted champion and this one, no more"
    assert overview(machine.settings)["candidate_waiting"] is None


@pytest.mark.parametrize(("key", "value"), [(FROZEN_KEY, "1"), (MODE_KEY, "lockdown")])
def test_i16_a_freeze_that_begins_during_the_training_holds_the_promotion(
    machine: Machine, key: str, value: str
) -> None:
    """The model waits over a restart of the daemon, and goes in once when the key is gone."""
    predict = machine.trainer.predict
    machine.trainer.predict = lambda dataset: machine.key(key, value) or predict(dataset)
    machine.learn()
    assert (machine.trained, machine.served_version()) == (1, OLD)
    assert key in str(overview(machine.settings)["waiting_because"])
    machine.start()
    machine.tick()
    assert machine.served_version() == OLD
    machine.key(key, None)
    machine.tick()
    machine.tick()
    assert machine.trained == 1
    assert machine.served_version() != OLD
    assert machine.server.terminal_events() == ["model.promoted"]


def test_i16_a_freeze_that_begins_after_the_cycle_asked_is_seen_right_before_the_switch(
    machine: Machine,
) -> None:
    """The engine's health is asked before a promotion, which takes its time."""
    promoter = machine.wired.promoter
    promote = promoter.promote

    def late(*arguments: object) -> object:
        machine.key(FROZEN_KEY, "1")
        return promote(*arguments)  # type: ignore[arg-type]

    promoter.promote = late  # type: ignore[method-assign,assignment]
    before = machine.server.files()
    machine.learn()
    assert machine.server.files() == before
    assert machine.server.events().count("model.promotion_started") == 0
    assert FROZEN_KEY in str(overview(machine.settings)["waiting_because"])


@pytest.mark.parametrize("point", ["prepared", "installed", "staged"])
def test_i16_a_freeze_that_begins_during_the_promotion_is_seen_before_the_switch(
    machine: Machine, point: str
) -> None:
    """A large file takes a while to copy; up to the rename nothing has been switched."""
    artefact, request = machine.server.artefact(), machine.server.cycle_wish()
    before = machine.server.files()
    promoter = machine.server.promoter(
        lambda passed: machine.key(FROZEN_KEY, "1") if passed == point else None
    )
    promoter._freeze = machine.wired.world.brake.freeze
    ended = promoter.promote(artefact, "run-1", request)
    assert ended.state is PromotionState.ABORTED
    assert ended.waiting is not None
    assert ended.waiting.waits_for is WaitsFor.THAW
    assert FROZEN_KEY in ended.reason
    assert machine.server.files() == before
    assert machine.server.terminal_events() == ["model.promotion_ended"]
    machine.key(FROZEN_KEY, None)
    assert machine.wired.promoter.promote(artefact, "run-1", request).state is PromotionState.COMMITTED


def test_i16_a_freeze_that_comes_between_thaw_and_take_up_lets_the_model_wait_on(machine: Machine) -> None:
    """It is taken up again at the next thaw."""
    machine.wired.world.brake.freeze()
    with machine.silence():
        machine.learn()
    promoter = machine.wired.promoter
    promote = promoter.promote

    def late(*arguments: object) -> object:
        machine.key(FROZEN_KEY, "1")
        return promote(*arguments)  # type: ignore[arg-type]

    promoter.promote = late  # type: ignore[method-assign,assignment]
    machine.tick()
    machine.tick()
    assert machine.wired.journal.waiting_model() is not None
    assert machine.served_version() == OLD
    promoter.promote = promote  # type: ignore[method-assign]
    machine.key(FROZEN_KEY, None)
    machine.tick()
    assert machine.server.terminal_events() == ["model.promoted"]


def test_i16_a_model_waits_on_while_another_process_promotes(machine: Machine) -> None:
    """A person holds the lock of the models directory; the model is taken up after them."""
    machine.wired.world.brake.freeze()
    with machine.silence():
        machine.learn()
    with directory_lock(machine.server.models, missing="MODELS_MISSING", busy="PROMOTION_BUSY"):
        machine.tick()
        assert machine.wired.journal.waiting_model() is not None
    machine.tick()
    assert machine.server.terminal_events() == ["model.promoted"]


def test_i16_a_mode_that_wants_a_person_is_not_overruled_by_a_thaw(machine: Machine) -> None:
    """The alert says that the model now waits for a person, and why."""
    machine.settings = machine.settings.model_copy(update={"promotion_mode": "manual"})
    machine.start()
    machine.wired.world.brake.freeze()
    with machine.silence():
        machine.learn()
    for _ in range(2):
        machine.tick()
    assert machine.served_version() == OLD
    assert machine.wired.journal.waiting_model() is None
    assert "the mode is manual" in str(overview(machine.settings)["waiting_because"])


def test_i16_a_freeze_outlives_its_redis_and_a_restart_of_the_daemon(machine: Machine) -> None:
    """Frozen, Redis killed, daemon restarted: still frozen, and a person still needs --override."""
    machine.key(FROZEN_KEY, "1")
    machine.service._freeze.keep_asking()
    machine.bus.kill()
    machine.start()
    machine.submit()
    for _ in range(2):
        machine.tick()
    assert (machine.trained, machine.tasks()) == (0, ["pending"])
    assert overview(machine.settings)["freeze"].startswith(f"frozen: learning is frozen: {FROZEN_KEY} = 1")
    machine.server.artefact()
    with pytest.raises(PromotionError, match="FROZEN") as refused:
        operate.promote_version(machine.settings, NEW, override=None, stop=threading.Event())
    assert "last seen" in refused.value.message
    ended = operate.promote_version(machine.settings, NEW, override="now", stop=threading.Event())
    assert ended.state is PromotionState.COMMITTED


def test_i16_a_person_promotes_while_the_freeze_is_unknown_and_the_record_says_so(machine: Machine) -> None:
    """Unknown holds back the machine, never a person; the line and the row say what was not known."""
    machine.wired.world.brake.freeze()
    machine.bus.kill()
    machine.server.artefact()
    with capture_logs() as lines:
        ended = operate.promote_version(machine.settings, NEW, override=None, stop=threading.Event())
    assert ended.state is PromotionState.COMMITTED
    assert "promotion.freeze_unknown" in names(lines, "promotion.")
    (asked,) = machine.server.query("SELECT asked FROM clm_promotions WHERE kind = 'PROMOTE'")
    assert "although the freeze keys cannot be read" in str(asked[0])


@pytest.mark.parametrize("how", ["by a person", "by hand", "same name, other bytes"])
def test_i16_a_model_that_waits_does_not_replace_another_champion(machine: Machine, how: str) -> None:
    """It was judged against the champion of then; an alert says why it does not go in by itself."""
    machine.wired.world.brake.freeze()
    with machine.silence():
        machine.learn()
    waiting = str(overview(machine.settings)["candidate_waiting"])
    if how == "by a person":
        machine.server.artefact()
        operate.promote_version(machine.settings, NEW, override="a test", stop=threading.Event())
    elif how == "by hand":
        machine.server.new_path.write_bytes(b"good other")
        text = machine.server.env_path.read_text().replace(OLD, NEW)
        machine.server.env_path.write_text(text)
    else:
        machine.server.old_path.write_bytes(b"good other bytes")
    before = machine.server.named()
    with capture_logs() as lines:
        for _ in range(3):
            machine.tick()
    assert machine.server.named() == before
    assert names(lines, "promotion.not_taken_up") == ["promotion.not_taken_up"]
    alerts = machine.server.query(
        "SELECT payload FROM clm_outbox WHERE event_type = 'learning.performance.alert'"
    )
    assert sum("judged against" in str(payload) and waiting in str(payload) for (payload,) in alerts) == 1
    (reason,) = machine.server.query(f"SELECT reason FROM clm_runs WHERE version = '{waiting}'")
    assert "the champion is now" in str(reason[0])
    assert machine.trained == 1


def test_i16_a_model_that_a_person_brought_in_meanwhile_no_longer_waits(machine: Machine) -> None:
    """It is promoted once, by the person or by the daemon."""
    machine.wired.world.brake.freeze()
    machine.bus.kill()
    machine.learn()
    waiting = str(overview(machine.settings)["candidate_waiting"])
    operate.promote_version(machine.settings, waiting, override=None, stop=threading.Event())
    machine.bus.start()
    for _ in range(3):
        machine.tick()
    assert machine.served_version() == waiting
    assert machine.server.terminal_events() == ["model.promoted"]
    assert machine.wired.journal.waiting_model() is None


def test_i16_a_crash_of_the_take_up_promotes_no_second_time(machine: Machine) -> None:
    """The daemon dies between the switch and the note that nothing waits any more."""
    machine.wired.world.brake.freeze()
    with machine.silence():
        machine.learn()
    waiting = overview(machine.settings)["candidate_waiting"]
    machine.wired.journal.end_waiting = lambda *_: None  # type: ignore[method-assign,assignment]
    machine.tick()
    assert machine.served_version() == waiting
    machine.start()
    for _ in range(3):
        machine.tick()
    assert machine.server.terminal_events() == ["model.promoted"]
    assert machine.wired.journal.waiting_model() is None


def test_i16_a_model_that_waited_and_was_rolled_back_is_never_tried_again(machine: Machine) -> None:
    """The same rule as for any model."""
    machine.trainer.weights = b"crash at once"
    machine.wired.world.brake.freeze()
    with machine.silence():
        machine.learn()
    for _ in range(3):
        machine.tick()
    assert machine.server.terminal_events() == ["model.rolled_back"]
    assert machine.served_version() == OLD
    assert machine.wired.journal.waiting_model() is None


def test_i16_a_pause_still_leaves_the_model_to_a_person(machine: Machine) -> None:
    """What a person stopped, a thaw does not start."""
    controls = machine.server.controls
    predict = machine.trainer.predict
    machine.trainer.predict = lambda dataset: (
        controls.set(Control.PAUSE, reason="we move house") or predict(dataset)
    )
    machine.learn()
    controls.clear(Control.PAUSE)
    machine.tick()
    assert machine.served_version() == OLD
    assert machine.wired.journal.waiting_model() is None
    brakes = Brakes(PauseBrake(controls), RedisBrake(connect(machine.bus.url)))
    assert brakes.freeze().state is FreezeState.THAWED


def test_i16_recovery_goes_on_while_frozen(machine: Machine) -> None:
    """An engine between two models is worse than a promotion during a freeze."""
    artefact = machine.server.artefact()
    request = machine.server.cycle_wish()
    assert machine.server.killed_at("pointed", lambda promoter: promoter.promote(artefact, "run-1", request))
    machine.key(FROZEN_KEY, "1")
    machine.tick()
    assert machine.server.open_record() is None
    assert machine.server.states()[-1] in {"COMMITTED", "ROLLED_BACK"}


def test_i16_a_rollback_goes_on_while_frozen(machine: Machine) -> None:
    """The way back is never blocked."""
    machine.server.artefact()
    operate.promote_version(machine.settings, NEW, override=None, stop=threading.Event())
    machine.key(FROZEN_KEY, "1")
    ended = operate.roll_back(machine.settings, None, reason="it trades badly", stop=threading.Event())
    assert ended.state is PromotionState.COMMITTED
    assert machine.served_version() == OLD


def test_i16_without_any_redis_promotion_goes_on_and_the_doctor_warns(
    server: Server,  # the fixture of the promotions
    bus: RedisServer,
) -> None:
    """A new machine, or `make run` without Redis."""
    bus.kill()
    machine = Machine(server, bus)
    with capture_logs() as lines:
        machine.learn()
        machine.tick()
    assert (machine.trained, machine.served_version() != OLD) == (1, True)
    assert names(lines) == ["daemon.freeze_unheard"]
    (check,) = [check for check in examine(machine.settings) if check.name == "freeze"]
    assert check.status is CheckStatus.WARN
    assert "no Redis has ever answered" in check.message
    assert "promotion goes on" in check.message


def test_i16_the_doctor_says_what_the_freeze_is_and_records_nothing(machine: Machine) -> None:
    """A person may run it at any time."""

    def said() -> tuple[CheckStatus, str]:
        (check,) = [check for check in examine(machine.settings) if check.name == "freeze"]
        return check.status, check.message

    assert said() == (CheckStatus.OK, "the freeze keys do not freeze learning")
    assert not machine.settings.freeze_file.exists()
    machine.key(FROZEN_KEY, "1")
    machine.wired.world.brake.freeze()
    machine.bus.kill()
    before = machine.settings.freeze_file.read_bytes()
    status, message = said()
    assert status is CheckStatus.WARN
    assert f"nothing is trained or promoted: learning is frozen: {FROZEN_KEY} = 1, last seen" in message
    assert machine.settings.freeze_file.read_bytes() == before


def test_i16_the_keys_are_read_during_a_training_and_while_idle(machine: Machine) -> None:
    """The last known state has to be a recent one when Redis goes."""
    machine.service._freeze.keep_asking()
    machine.key(FROZEN_KEY, "1")
    machine.service._freeze.keep_asking()
    machine.service._freeze._ask_at = 0.0
    machine.service._freeze.keep_asking()
    machine.bus.kill()
    machine.learn()
    assert machine.trained == 0


def test_i16_a_redis_that_does_not_answer_is_asked_every_ten_seconds_an_answering_one_at_each_look() -> None:
    """Each question to a silent Redis costs the main thread two seconds, which also pings the watchdog."""
    unknown = Freeze(state=FreezeState.UNKNOWN, reason="no answer", cause="no answer", is_current=False)
    for answer, expected in ((unknown, 6), (None, 30)):
        clock, asked = FakeClock(), []
        brake = FakeBrake([answer])
        freeze = brake.freeze
        brake.freeze = lambda ask=freeze, asked=asked: asked.append(1) or ask()  # type: ignore[method-assign]
        watch = FreezeWatch(brake, clock)
        for _ in range(30):
            watch.freeze()
            watch.keep_asking()
            clock.pass_by(2.0)
        assert len(asked) == expected


def test_i16_a_run_at_the_command_line_asks_the_same_record(machine: Machine) -> None:
    """What the daemon saw holds for `clm run`, too."""
    machine.key(FROZEN_KEY, "1")
    machine.service._freeze.keep_asking()
    machine.bus.kill()
    answer = run_once(
        machine.settings, lambda _line: None, stop=threading.Event(), on_epoch=lambda _: None, promote=True
    )
    assert answer["decision"] == "REFUSED"
    assert "last seen" in str(answer["reasons"])


@pytest.mark.slow
def test_i16_the_daemon_itself_stays_frozen_over_sigstop_kill_and_restart(machine: Machine) -> None:
    """The whole program as a user has it: `clm serve`, a trigger, a freeze, and a Redis that goes."""
    machine.key(FROZEN_KEY, "1")
    machine.submit()
    environment = machine.server.environment() | {
        "CLM_REDIS_URL": machine.bus.url,
        "CLM_DISK__MIN_FREE_MB": "0",
        "CLM_TRAIN_MIN_FREE_SHARE": "0",
        "PYTHONPATH": str(Path(__file__).parents[2]),
    }
    log = machine.server.root / "daemon.log"

    def serve() -> subprocess.Popen[bytes]:
        with log.open("ab") as output:
            command = [sys.executable, "-m", "clm", "serve"]
            return subprocess.Popen(command, env=environment, stdout=output, stderr=output)

    def logged(text: str, times: int = 1) -> bool:
        return log.read_text().count(text) >= times

    daemon = serve()
    try:
        wait_until(lambda: logged("daemon.frozen"), 30)
        with machine.silence():
            wait_until(lambda: logged("no valid answer since"), 30)
            time.sleep(3)
            daemon.kill()
            daemon.wait(10)
        machine.bus.kill()
        daemon = serve()
        wait_until(lambda: logged("last seen", 2), 30)
        time.sleep(3)
    finally:
        daemon.kill()
        daemon.wait(10)
    assert not logged("cycle.started")
    assert not logged("daemon.thawed")
    assert log.read_text().count("daemon.frozen") <= 3, "no flood"
    with contextlib.closing(sqlite3.connect(machine.server.store)) as connection:
        assert connection.execute("SELECT count(*) FROM clm_runs").fetchone() == (0,)
