"""The retraining schedule. Jobs only insert a task; these threads never train."""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo

import structlog
from apscheduler.events import EVENT_JOB_ERROR, EVENT_JOB_MAX_INSTANCES, JobEvent
from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.base import BaseTrigger
from apscheduler.triggers.interval import IntervalTrigger
from apscheduler.util import astimezone

from clm.clock import iso
from clm.errors import ConfigError
from clm.ports import Clock
from clm.settings.cron import parse_cron

log = structlog.get_logger()

TICK_S = 5.0
FIRST_RETRY_S = 30.0
LONGEST_RETRY_S = 900.0
CLOCK_MOVED_S = 30.0
"""A wall clock that lost this much against the monotonic clock was set back."""
_RETRAIN, _AGAIN, _TICK = "retrain", "retrain-again", "tick"


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """When a retrain is due. A cron expression replaces the interval; without both, none is due."""

    interval_h: float = 0.0
    """0 for no interval."""
    cron: str = ""
    zone: str = "UTC"
    """Time zone of the cron expression."""
    tick_s: float = TICK_S
    """Interval between heartbeats of the scheduler thread."""
    first_retry_s: float = FIRST_RETRY_S
    """Delay after a task could not be inserted; doubled with each consecutive failure."""


class Schedule:
    """Inserts a task at each interval or cron time; the due time survives restarts.

    The job store is in memory: a database store uses pickle, and a locked one ends the thread (D3, D7). Only
    one date must persist; the two callables store it.
    """

    def __init__(
        self,
        submit: Callable[[str], None],
        clock: Clock,
        timing: Timing,
        *,
        load_last_fired: Callable[[], datetime | None],
        save_last_fired: Callable[[datetime], None],
    ) -> None:
        """Connect the parts; nothing runs before `start`.

        Raises:
            ConfigError: CRON_INVALID, TIMEZONE_INVALID.
        """
        self._submit = submit
        self._clock = clock
        self._zone = _zone(timing.zone)
        self._trigger, self._name = _trigger(timing.interval_h, timing.cron, self._zone, clock.now())
        self._load_last_fired = load_last_fired
        self._save_last_fired = save_last_fired
        self._tick_s = timing.tick_s
        self._first_retry_s = timing.first_retry_s
        self._retry_s = timing.first_retry_s
        self._catch_up_from: datetime | None = None
        self._ticked = clock.monotonic()
        self._offset = self._clock_offset()
        self._lock = threading.Lock()
        self.overlaps = 0
        """Number of times a job came due during its last run; informational only."""
        self._scheduler = BackgroundScheduler(
            timezone=self._zone,
            # APScheduler skips a job that is late by more than its grace time (1 s by default). None runs it
            # at any delay; coalesce merges several missed times into one run.
            job_defaults={"misfire_grace_time": None, "coalesce": True, "max_instances": 1},
        )
        self._scheduler.add_listener(self._on_error, EVENT_JOB_ERROR)
        self._scheduler.add_listener(self._on_overlap, EVENT_JOB_MAX_INSTANCES)

    @property
    def tick_age_s(self) -> float:
        """Return the seconds since the last heartbeat of the scheduler thread."""
        return self._clock.monotonic() - self._ticked

    def next_due(self) -> datetime | None:
        """Return when the next task is due, or None without a schedule."""
        job = self._scheduler.get_job(_RETRAIN)
        due: datetime | None = job.next_run_time if job else None
        return due

    def start(self) -> None:
        """Start; if due times were missed while the daemon was down, insert exactly one task now."""
        self._tick()
        self._scheduler.add_job(
            self._tick, _OnceForAll(IntervalTrigger(seconds=self._tick_s, timezone=self._zone)), id=_TICK
        )
        if self._trigger:
            due = self._first_due(self._trigger)
            self._scheduler.add_job(self._fire, self._trigger, id=_RETRAIN, next_run_time=due)
            log.info(
                "schedule.started", rule=self._name, next_due=iso(due), catch_up=bool(self._catch_up_from)
            )
        self._scheduler.start()

    def stop(self) -> None:
        """Stop without waiting for a running job."""
        if self._scheduler.running:
            self._scheduler.shutdown(wait=False)

    def check_clock(self) -> None:
        """Keep the remaining time to the next due time after the clock was set back; called every second.

        APScheduler waits for wall-clock times: after one hour back, nothing would run for an hour. A clock
        set forward needs no action: missed jobs run once.
        """
        offset = self._clock_offset()
        moved = offset - self._offset
        if moved > -CLOCK_MOVED_S:
            # Set forward or slewed: the new time is correct.
            self._offset = max(offset, self._offset)
            return
        self._offset = offset
        log.warning("clock.put_back", seconds=round(-moved, 1))
        for job in self._scheduler.get_jobs() if self._scheduler.running else ():
            due = job.next_run_time + timedelta(seconds=moved)
            # A cron time is a wall-clock time, so it is computed again; an interval only shifts with the
            # clock.
            if job.id == _RETRAIN and not isinstance(job.trigger.rule, IntervalTrigger):
                due = _next_after(job.trigger, self._clock.now().astimezone(self._zone))
            self._scheduler.modify_job(job.id, next_run_time=due)

    def _clock_offset(self) -> float:
        return self._clock.now().timestamp() - self._clock.monotonic()

    def _first_due(self, trigger: BaseTrigger) -> datetime:
        now = self._clock.now().astimezone(self._zone)
        last_fired = self._load_last_fired()
        if last_fired is None or last_fired > now:
            # First start, or the clock was ahead: count from now, also across restarts.
            self._save_last_fired(now)
            last_fired = now
        due = _next_after(trigger, last_fired.astimezone(self._zone))
        if due <= now:
            self._catch_up_from = due
            return now
        return due

    def _fire(self) -> None:
        reason = f"schedule: {self._name}"
        if self._catch_up_from:
            reason += f", catch_up of {iso(self._catch_up_from)}"
        fired_at = self._clock.now()
        # Submit before saving the time: a crash in between causes one extra task, which merges with a
        # pending one. The other order would lose a task.
        self._submit(reason)
        self._save_last_fired(fired_at)
        self._catch_up_from = None
        self._retry_s = self._first_retry_s
        log.info("schedule.fired", reason=reason)

    def _tick(self) -> None:
        self._ticked = self._clock.monotonic()

    def _on_error(self, event: JobEvent) -> None:
        """Keep the schedule and retry soon: a lock must not delay the task by an interval."""
        log.error("schedule.job_failed", job=event.job_id, error=repr(event.exception), retry_s=self._retry_s)
        if event.job_id == _TICK or not self._scheduler.running:
            return
        # APScheduler calls listeners from its pool threads, possibly two at once.
        with self._lock:
            again = self._clock.now() + timedelta(seconds=self._retry_s)
            self._retry_s = min(LONGEST_RETRY_S, self._retry_s * 2)
        # A separate job with a fixed id: the regular job keeps its times, and failures do not pile up
        # retries.
        self._scheduler.add_job(self._fire, "date", run_date=again, id=_AGAIN, replace_existing=True)

    def _on_overlap(self, event: JobEvent) -> None:
        self.overlaps += 1
        log.warning("schedule.overlapped", job=event.job_id, count=self.overlaps)


class _OnceForAll(BaseTrigger):  # type: ignore[misc]  # APScheduler has no types
    """Trigger that replaces all missed times with one run.

    APScheduler steps through missed times one by one. After a clock jump of years, this takes minutes in
    which nothing else runs.
    """

    def __init__(self, rule: BaseTrigger) -> None:
        self.rule = rule

    def get_next_fire_time(self, previous: datetime | None, now: datetime) -> datetime | None:
        """Return the first due time after the later of the two."""
        due: datetime | None = self.rule.get_next_fire_time(
            now if previous and previous < now else previous, now
        )
        return due


def _zone(name: str) -> tzinfo:
    try:
        zone: tzinfo = astimezone(name)
    except (ValueError, OSError, LookupError) as exc:
        raise ConfigError(
            "TIMEZONE_INVALID", f"{name!r} is not a time zone; use a name like UTC or Europe/Oslo"
        ) from exc
    return zone


def _trigger(interval_h: float, cron: str, zone: tzinfo, now: datetime) -> tuple[BaseTrigger | None, str]:
    if cron.strip():
        return _OnceForAll(parse_cron(cron, zone, now=now)), f"cron {' '.join(cron.split())}"
    if interval_h > 0:
        return _OnceForAll(
            IntervalTrigger(seconds=interval_h * 3600, timezone=zone)
        ), f"every {interval_h:g} h"
    return None, ""


def _next_after(trigger: BaseTrigger, moment: datetime) -> datetime:
    """Return the first due time later than `moment`."""
    due: datetime = trigger.get_next_fire_time(moment, moment)
    return due
