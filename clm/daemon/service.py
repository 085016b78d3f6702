"""The daemon: signals, one cycle at a time, and the systemd watchdog.

There are three other threads: the bus (reads triggers, publishes events), the schedule (inserts tasks) and,
during a cycle, the learner. Only the main thread pings the watchdog, and only while the other threads show
signs of life, so systemd restarts a daemon that hangs.
"""

import signal
import threading
from collections.abc import Callable
from datetime import datetime
from types import FrameType

import structlog

from clm.bus.service import BusWorker
from clm.cycle import run_cycle
from clm.daemon.freeze_watch import FreezeWatch
from clm.daemon.heap import give_back
from clm.daemon.notify import Notifier
from clm.daemon.pacing import not_before
from clm.daemon.schedule import Schedule
from clm.daemon.waiting_model import take_up
from clm.domain.job import EpochReport
from clm.domain.task import Task
from clm.domain.waiting import WaitingModel
from clm.errors import ClmError, Interrupted, PromotionBusy
from clm.logs import last_line
from clm.ports import Brake, RunStatus
from clm.steps.run import CycleReport
from clm.steps.world import Request
from clm.wiring import Wired

log = structlog.get_logger()

TICK_S = 1.0
MAX_TICK_AGE_S = 30.0
"""Silence after which a thread counts as dead (half of WatchdogSec)."""
LOOK_S = 2.0
"""Interval for checking the queue for tasks of other processes."""
BUSY_S = 10.0
"""Age at which another process's promotion is checked for being orphaned."""
TIDY_S = 3600.0
"""Interval of retention in an idle daemon; it also runs before each cycle."""
RETRY_S = 60.0
"""Delay before retrying a failed task; doubled with each consecutive failure."""
MAX_RETRY_S = 1800.0


class Service:
    """Runs until SIGTERM or SIGINT; unfinished work returns to the queue."""

    def __init__(
        self, wired: Wired, *, bus: BusWorker, schedule: Schedule, brake: Brake, stop: threading.Event
    ) -> None:
        self._wired = wired
        self._clock = wired.clock
        self._bus = bus
        self._schedule = schedule
        self._notify = Notifier()
        self._stop = stop
        self._learner: threading.Thread | None = None
        self._doing = "recovering"
        self._breaks = 0
        self._not_before = 0.0
        self._settlement: Callable[[], None] | None = None
        self._look_at = 0.0
        self._tidy_at = 0.0
        self._freeze = FreezeWatch(brake, wired.clock)
        self._triggers_wait_until: datetime | None = None

    def run(self) -> None:
        """Serve until a stop signal, then stop the child, the threads and the connections in order."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)
        signal.signal(signal.SIGHUP, self._on_hangup)
        # Before any thread starts, so that no new task can be mistaken for one of a crashed daemon.
        for interrupted in self._wired.queue.recover(self._clock.now()):
            log.warning("run.interrupted", run_id=interrupted)
        bus = threading.Thread(target=self._bus.run, args=(self._stop,), name="bus", daemon=True)
        bus.start()
        self._schedule.start()
        self._begin(self._recover_at_start)
        self._notify.ready()
        log.info("daemon.started", store=str(self._wired.settings.store), next_retrain=self._next_due())
        try:
            while not self._stop.wait(TICK_S):
                self._tend()
        finally:
            self._end(bus)

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        log.info("daemon.stopping", signal=signal.Signals(number).name)
        self._stop.set()

    def _on_hangup(self, _number: int, _frame: FrameType | None) -> None:
        # Unhandled, it would end the daemon, and systemd would treat that as a clean stop.
        log.warning("daemon.not_reloaded", reason="settings are read only at start; use `systemctl restart`")

    def _end(self, bus: threading.Thread) -> None:
        self._notify.stopping()
        # The learner may be ending a child process, so ask for more time than the joins below need.
        self._notify.extend_timeout(60)
        self._stop.set()
        self._schedule.stop()
        if self._learner:
            self._learner.join(timeout=45)
        bus.join(timeout=5)
        log.info("daemon.stopped", doing=self._doing if self._busy() else "nothing")

    def _tend(self) -> None:
        if self._alive():
            self._notify.watchdog()
        self._schedule.check_clock()
        if not self._busy():
            self._start_next()
        self._freeze.keep_asking()
        self._notify.status(self.status_text())

    def _alive(self) -> bool:
        ages = {"bus": self._bus.tick_age_s, "schedule": self._schedule.tick_age_s}
        late = {name: age for name, age in ages.items() if age > MAX_TICK_AGE_S}
        if late:
            log.error("daemon.thread_silent", **late)
        return not late

    def _busy(self) -> bool:
        return self._learner is not None and self._learner.is_alive()

    def _begin(self, work: Callable[..., None], *args: object) -> None:
        # A daemon thread: after the join in `_end` times out, it must not keep the process alive.
        self._learner = threading.Thread(target=work, args=args, name="learner", daemon=True)
        self._learner.start()

    def _start_next(self) -> None:
        wait = self._triggers_wait_until
        self._doing = f"idle, triggers wait until {wait:%H:%M} UTC" if wait else "idle"
        now = self._clock.monotonic()
        if now < max(self._not_before, self._look_at):
            return
        # Set before the work, so that an exception cannot turn the loop into a poll every tick.
        self._look_at = now + LOOK_S
        self._settle()
        try:
            task = self._next_task()
        except ClmError as error:
            self._back_off(error)
            return
        except Exception as error:
            log.exception("daemon.bug", error=last_line(error))
            self._back_off(_bug(error))
            return
        if task and task.attempts > self._wired.settings.max_attempts:
            # These retries end in crashes of the daemon, so nothing else would end the task.
            log.error("task.given_up", task_id=task.task_id, attempts=task.attempts)
            reason = f"given up after {task.attempts - 1} tries without a result"
            self._settlement = lambda: self._wired.queue.fail(task.task_id, self._clock.now(), reason)
        elif task:
            self._begin(self._learn, task)

    def _next_task(self) -> Task | None:
        """Claim the next task; if something else comes first, begin that and return None."""
        if self._wired.promoter.is_open():
            self._begin(self._recover_at_start)
            return None
        # An unsettled task still counts as running; starting more work could lose its result.
        waiting = None if self._settlement else self._wired.journal.waiting_model()
        if waiting and not self._freeze.freeze().holds_promotion:
            self._begin(self._take_up, waiting)
            return None
        pending = not self._settlement and self._wired.queue.pending_count()
        if not pending or self._freeze.freeze().stops_because:
            if self._clock.monotonic() >= self._tidy_at:
                self._begin(self._tidy)
            return None
        wait = self._paced_until()
        task = self._wired.queue.claim(self._clock.now(), only_a_persons=wait is not None)
        self._triggers_wait_until = None if task else wait
        return task

    def _paced_until(self) -> datetime | None:
        settings = self._wired.settings
        latest = self._wired.journal.recent_runs(settings.max_runs_a_day)
        return not_before(
            [run.started_at for run in latest],
            self._clock.now(),
            interrupted={run.started_at for run in latest if run.status is RunStatus.INTERRUPTED},
            min_interval_min=settings.min_run_interval_min,
            max_a_day=settings.max_runs_a_day,
        )

    def _take_up(self, model: WaitingModel) -> None:
        """Promote a model that waited for a thaw; if that is not possible now, it keeps waiting."""
        self._doing = f"promoting {model.version}, which waited for the thaw"
        try:
            self._recover_promotion()
            outcome = take_up(self._wired, model)
        except Interrupted as error:
            log.warning("promotion.interrupted", version=model.version, reason=error.message)
        except PromotionBusy:
            self._look_at = self._clock.monotonic() + BUSY_S
        except ClmError as error:
            log.error("promotion.take_up_failed", version=model.version, code=error.code, error=error.message)
            self._back_off(error)
        else:
            if outcome and outcome.code == "PROMOTION_BUSY":
                self._look_at = self._clock.monotonic() + BUSY_S

    def _recover_at_start(self) -> None:
        """Finish a promotion that a dead process left; a failure is retried."""
        try:
            self._wired.registry.sweep()
            self._recover_promotion()
        except PromotionBusy:
            # An operator's command is promoting: the record belongs to its process while it is alive.
            self._look_at = self._clock.monotonic() + BUSY_S
        except ClmError as error:
            log.error("promotion.recovery_failed", code=error.code, error=error.message)
            self._back_off(error)
        except Exception as error:
            log.exception("promotion.recovery_failed", code="BUG", error=last_line(error))
            self._back_off(_bug(error))

    def _tidy(self) -> None:
        """Run retention; items that cannot be removed now are retried in an hour."""
        self._tidy_at = self._clock.monotonic() + TIDY_S
        try:
            self._wired.retention.tidy()
        except ClmError as error:
            log.warning("retention.failed", code=error.code, error=error.message)

    def _recover_promotion(self) -> None:
        if outcome := self._wired.promoter.recover():
            log.warning(
                "promotion.recovered",
                state=outcome.state.value,
                version=outcome.version,
                reason=outcome.reason,
            )
        self._wired.promoter.adopt()

    def _learn(self, task: Task) -> None:
        """Run one cycle for a task; the task is settled even if the store is busy."""
        log.info("cycle.started", task_id=task.task_id, reason=task.trigger.reason, attempt=task.attempts)
        self._doing = f"reading for task {task.task_id}"
        self._settlement = self._outcome_of(task)
        self._settle()
        give_back()

    def _outcome_of(self, task: Task) -> Callable[[], None]:
        """Run the cycle and return how to settle the task."""
        queue, now = self._wired.queue, self._clock.now
        try:
            self._recover_promotion()
            self._tidy()
            request = Request(task=task, reason=task.trigger.reason, stop=self._stop, on_epoch=self._on_epoch)
            report = run_cycle(self._wired.world, self._wired.policies, request)
        except Interrupted as error:
            reason = error.message
            log.warning("cycle.interrupted", task_id=task.task_id, reason=reason)
            return lambda: queue.release(task.task_id, now(), reason, counted=False)
        except ClmError as error:
            return self._broken(task, error)
        except Exception as error:  # the only such place: a bug ends a cycle, never the daemon
            log.exception("cycle.crashed", task_id=task.task_id)
            return self._broken(task, _bug(error))
        self._breaks = 0
        self._log_result(task, report)
        return lambda: queue.complete(task.task_id, now(), report.decision.kind.value)

    def _broken(self, task: Task, error: ClmError) -> Callable[[], None]:
        queue, now, reason = self._wired.queue, self._clock.now, str(error)
        final = task.attempts >= self._wired.settings.max_attempts and not error.transient
        log.error("cycle.failed", task_id=task.task_id, code=error.code, error=error.message, final=final)
        self._back_off(error)
        if final:
            return lambda: queue.fail(task.task_id, now(), reason)
        return lambda: queue.release(task.task_id, now(), reason, counted=not error.transient)

    def _settle(self) -> None:
        """Store the result of the last task; retry on the next tick if the store fails."""
        if self._settlement is None:
            return
        try:
            self._settlement()
        except ClmError as error:
            if error.code == "TASK_NOT_RUNNING":
                # The store was restored or an operator closed the task: there is nothing to settle.
                log.warning("task.changed_meanwhile", error=error.message)
                self._settlement = None
                return
            self._back_off(error)
        else:
            self._settlement = None

    def _back_off(self, error: ClmError) -> None:
        self._breaks += 1
        # Cap the exponent as well: 2 ** 1024 does not fit a float.
        wait_s = min(RETRY_S * 2 ** min(self._breaks - 1, 10), MAX_RETRY_S)
        self._not_before = self._clock.monotonic() + wait_s
        log.info("daemon.waiting", seconds=wait_s, code=error.code)

    def _log_result(self, task: Task, report: CycleReport) -> None:
        for verdict in report.pack.verdicts:
            log.info("gate.answered", gate=verdict.name, status=verdict.status.value, reason=verdict.reason)
        log.info(
            "cycle.completed",
            task_id=task.task_id,
            run_id=report.run_id,
            decision=report.decision.kind.value,
            version=report.version,
            promotion=report.promotion.state.value if report.promotion else None,
            reason=report.decision.reasons[0],
            proof=str(report.proof_dir / "proof.md"),
        )

    def _on_epoch(self, epoch: EpochReport) -> None:
        self._doing = (
            f"training{epoch.network and f' {epoch.network}'}, epoch {epoch.epoch} of {epoch.epochs}, "
            f"validation log loss {epoch.validation_log_loss:.4f}, AUROC {epoch.validation_auroc:.3f}, "
            f"std of P(WIN) {epoch.validation_p_win_std:.3f}"
        )
        log.info(
            "training.epoch_completed",
            network=epoch.network or None,
            epoch=f"{epoch.epoch}/{epoch.epochs}",
            train_loss=epoch.train_loss,
            validation_log_loss=epoch.validation_log_loss,
            auroc=epoch.validation_auroc,
            p_win_std=epoch.validation_p_win_std,
            best=epoch.best,
            seconds=epoch.seconds,
        )

    def _next_due(self) -> str:
        due: datetime | None = self._schedule.next_due()
        return f"{due:%Y-%m-%d %H:%M} UTC" if due else "none"

    def status_text(self) -> str:
        """Return one line for `systemctl status`."""
        doing = self._freeze.status_text(self._doing, is_busy=self._busy())
        return f"{doing}; next retrain {self._next_due()}; {self._bus.status_text()}"


def _bug(error: Exception) -> ClmError:
    return ClmError("BUG", last_line(error))
