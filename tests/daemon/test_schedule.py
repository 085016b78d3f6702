"""The schedule, on APScheduler's own thread."""

import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from structlog.testing import capture_logs

from clm.clock import SystemClock
from clm.daemon.schedule import Schedule, Timing
from clm.errors import ConfigError, StoreBusy
from clm.settings.cron import parse_cron

SECOND_H = 1 / 3600


def until(true: Callable[[], object], seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "did not come true in time"
        time.sleep(0.01)


class Kept:
    """The one date that lasts, and what was handed in."""

    def __init__(self, last_fired: datetime | None = None) -> None:
        self.last_fired = last_fired
        self.reasons: list[str] = []
        self.at: list[float] = []
        self.failures: list[Exception] = []
        self.hold = threading.Event()
        self.hold.set()

    def load(self) -> datetime | None:
        return self.last_fired

    def save(self, moment: datetime) -> None:
        self.last_fired = moment

    def submit(self, reason: str) -> None:
        self.hold.wait(10)
        if self.failures:
            raise self.failures.pop()
        self.reasons.append(reason)
        self.at.append(time.monotonic())


@pytest.fixture
def make() -> Iterator[Callable[..., Schedule]]:
    made: list[Schedule] = []

    def begin(kept: Kept, *, interval_h: float = 0.0, cron: str = "", **options: object) -> Schedule:
        schedule = Schedule(
            kept.submit,
            options.pop("clock", SystemClock()),  # type: ignore[arg-type]
            Timing(interval_h=interval_h, cron=cron, **options),  # type: ignore[arg-type]
            load_last_fired=kept.load,
            save_last_fired=kept.save,
        )
        made.append(schedule)
        return schedule

    yield begin
    for schedule in made:
        schedule.stop()


def ago(**span: float) -> datetime:
    return SystemClock().now() - timedelta(**span)


def test_a_first_start_waits_one_interval_and_remembers_that_it_began(make):
    """A daemon that is restarted every hour would otherwise never come to its day."""
    kept = Kept()
    schedule = make(kept, interval_h=24)
    schedule.start()
    assert abs(schedule.next_due() - ago(hours=-24)) < timedelta(seconds=10)
    assert abs(kept.last_fired - ago()) < timedelta(seconds=10)
    assert kept.reasons == []


def test_a_restart_does_not_put_the_next_run_off(make):
    """The interval counts from the last run, not from the start of the daemon."""
    kept = Kept(ago(hours=20))
    schedule = make(kept, interval_h=24)
    schedule.start()
    assert abs(schedule.next_due() - ago(hours=-4)) < timedelta(seconds=10)
    assert kept.reasons == []


@pytest.mark.parametrize("rule", [{"interval_h": 1.0}, {"cron": "7 * * * *"}])
def test_d4_twenty_six_missed_hours_are_caught_up_by_exactly_one_run(make, rule):
    """It is flagged, and the next one is due in the future."""
    kept = Kept(ago(hours=26))
    schedule = make(kept, **rule)
    schedule.start()
    until(lambda: kept.reasons)
    time.sleep(0.5)
    assert len(kept.reasons) == 1
    assert "catch_up" in kept.reasons[0]
    assert schedule.next_due() > SystemClock().now()
    assert kept.last_fired > ago(minutes=1)
    schedule.stop()
    again = make(kept, **rule)
    again.start()
    time.sleep(0.3)
    assert len(kept.reasons) == 1, "a second restart has nothing left to catch up"


def test_an_interval_fires_again_and_again_and_says_its_rule(make):
    """Each run is saved, only the first after a gap is a catch-up."""
    kept = Kept(ago(seconds=100))
    make(kept, interval_h=0.3 * SECOND_H).start()
    until(lambda: len(kept.reasons) >= 3)
    assert "catch_up" in kept.reasons[0]
    assert all("catch_up" not in reason for reason in kept.reasons[1:])
    assert kept.reasons[1].startswith("schedule: every ")


def test_without_interval_and_cron_there_is_no_schedule_but_a_tick(make):
    """The watchdog asks for the tick, whatever the schedule."""
    kept = Kept(ago(days=365))
    schedule = make(kept, tick_s=0.1)
    schedule.start()
    assert schedule.next_due() is None
    time.sleep(0.5)
    assert schedule.tick_age_s < 0.4
    assert kept.reasons == []


def test_d3_a_scheduler_that_stopped_is_seen_by_its_tick(make):
    """The watchdog ping depends on it."""
    schedule = make(Kept(), tick_s=0.1)
    schedule.start()
    time.sleep(0.3)
    schedule.stop()
    time.sleep(0.6)
    assert schedule.tick_age_s > 0.5


def test_d1_a_run_that_comes_due_while_the_pool_is_busy_is_not_dropped(make):
    """APScheduler's default forgets what is a second late."""
    kept = Kept(ago(seconds=100))
    kept.hold.clear()
    schedule = make(kept, interval_h=0.2 * SECOND_H)
    schedule.start()
    time.sleep(1.5)
    assert kept.reasons == []
    kept.hold.set()
    until(lambda: len(kept.reasons) >= 2)


def test_d1_jobs_are_kept_however_late_and_run_once_for_many_misses(make):
    """The two options that make it so."""
    schedule = make(Kept(), interval_h=24)
    schedule.start()
    job = schedule._scheduler.get_job("retrain")
    assert (job.misfire_grace_time, job.coalesce, job.max_instances) == (None, True, 1)


def test_d2_an_overlap_is_counted_and_stops_nothing(make):
    """One at a time; the counter is for people."""
    kept = Kept(ago(seconds=100))
    kept.hold.clear()
    schedule = make(kept, interval_h=0.1 * SECOND_H)
    with capture_logs() as lines:
        schedule.start()
        until(lambda: schedule.overlaps >= 2)
    kept.hold.set()
    until(lambda: len(kept.reasons) >= 2)
    assert "schedule.overlapped" in {line["event"] for line in lines}


def test_d6_a_failing_job_stays_scheduled_and_is_tried_again_soon(make):
    """A store that was locked for a moment must not cost a day."""
    kept = Kept(ago(hours=25))
    kept.failures = [StoreBusy("STORE_BUSY", "locked"), RuntimeError("a bug")]
    schedule = make(kept, interval_h=24, first_retry_s=0.1)
    with capture_logs() as lines:
        schedule.start()
        until(lambda: kept.reasons)
    assert [line["event"] for line in lines].count("schedule.job_failed") == 2
    assert len(kept.reasons) == 1
    assert "catch_up" in kept.reasons[0]
    assert abs(schedule.next_due() - ago(hours=-24)) < timedelta(seconds=30)
    assert kept.last_fired > ago(minutes=1)


def test_d6_what_could_not_be_handed_in_is_not_remembered_as_done(make):
    """After a restart it is caught up."""
    before = ago(hours=25)
    kept = Kept(before)
    kept.failures = [StoreBusy("STORE_BUSY", "locked")]
    schedule = make(kept, interval_h=24, first_retry_s=60)
    schedule.start()
    until(lambda: not kept.failures)
    time.sleep(0.1)
    assert kept.last_fired == before


def test_a_clock_that_ran_ahead_when_the_date_was_saved_does_not_stop_the_schedule(make):
    """A last run in the future counts as a first start."""
    kept = Kept(ago(days=-3650))
    schedule = make(kept, interval_h=24)
    schedule.start()
    assert abs(schedule.next_due() - ago(hours=-24)) < timedelta(seconds=10)


@pytest.mark.parametrize(
    "text",
    ["", "x", "61 * * * *", "* * * *", "0 0 * * * *", "0 3 31 2 *", "0 3 1 * 1", "0 3 * * 5-1", "0 3 * * 8"],
)
def test_d9_a_bad_cron_text_is_a_config_error_that_quotes_it(make, text):
    """Exit 78: systemd does not try again."""
    with pytest.raises(ConfigError) as caught:
        parse_cron(text, now=SystemClock().now())
    assert caught.value.code == "CRON_INVALID"
    assert repr(text) in caught.value.message
    assert "CLM_SCHEDULE" in caught.value.message
    if text:
        with pytest.raises(ConfigError):
            make(Kept(), cron=text)


def test_d9_a_bad_time_zone_is_a_config_error(make):
    """Named, before anything starts."""
    with pytest.raises(ConfigError) as caught:
        make(Kept(), interval_h=1, zone="Mars/Olympus")
    assert caught.value.code == "TIMEZONE_INVALID"


@pytest.mark.parametrize(
    ("weekdays", "days"),
    [
        ("0", {"Sun"}),
        ("7", {"Sun"}),
        ("1", {"Mon"}),
        ("1-5", {"Mon", "Tue", "Wed", "Thu", "Fri"}),
        ("0-6", {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"}),
        ("5-7", {"Fri", "Sat", "Sun"}),
        ("6,0", {"Sat", "Sun"}),
        ("*/2", {"Sun", "Tue", "Thu", "Sat"}),
        ("1-5/2", {"Mon", "Wed", "Fri"}),
        ("mon-fri", {"Mon", "Tue", "Wed", "Thu", "Fri"}),
        ("sun", {"Sun"}),
    ],
)
def test_weekdays_are_those_of_crontab(weekdays, days):
    """APScheduler 3 counts from Monday; an operator who writes 0 means Sunday."""
    trigger = parse_cron(f"0 3 * * {weekdays}")
    found, moment = set(), datetime(2026, 1, 1, tzinfo=UTC)
    for _ in range(14):
        moment = trigger.get_next_fire_time(moment, moment)
        found.add(f"{moment:%a}")
    assert found == days


@pytest.mark.parametrize(("day", "runs"), [("2026-03-29", 1), ("2026-10-25", 2), ("2026-10-26", 1)])
def test_d5_a_night_in_which_the_clock_changes_is_neither_a_loop_nor_a_gap(day, runs):
    """In a local zone 02:30 does not exist in March and exists twice in October; the default is UTC."""
    zone = ZoneInfo("Europe/Oslo")
    trigger = parse_cron("30 2 * * *", zone)
    start = datetime.fromisoformat(f"{day}T00:00").replace(tzinfo=zone)
    moment, times = start, []
    for _ in range(4):
        moment = trigger.get_next_fire_time(moment, moment)
        times.append(moment)
    assert [f"{time:%Y-%m-%d}" for time in times].count(day) == runs
    assert times == sorted(times)


class MovedClock(SystemClock):
    """A wall clock that somebody puts back or forward."""

    moved = timedelta()

    def now(self) -> datetime:
        return super().now() + self.moved


@pytest.fixture
def moved(monkeypatch) -> MovedClock:
    """Move the clock that APScheduler reads, too."""
    clock = MovedClock()

    class Moved(datetime):
        @classmethod
        def now(cls, tz=None) -> datetime:
            return datetime.now(tz) + clock.moved

    monkeypatch.setattr("apscheduler.schedulers.base.datetime", Moved)
    return clock


def test_k1_a_clock_that_is_put_back_an_hour_puts_nothing_off(make, moved):
    """What is due in two seconds runs in two seconds, and the tick goes on: the watchdog hangs on it."""
    kept = Kept(moved.now())
    schedule = make(kept, interval_h=2 * SECOND_H, clock=moved, tick_s=0.1)
    schedule.start()
    moved.moved = timedelta(hours=-1)
    schedule.check_clock()
    until(lambda: len(kept.reasons) >= 2)
    until(lambda: schedule.tick_age_s < 0.5)
    assert schedule.next_due() - moved.now() < timedelta(seconds=3)


def test_k1_a_cron_expression_follows_the_new_time_of_day(make, moved):
    """Three in the morning is three in the morning by the clock that is right now."""
    kept = Kept(moved.now())
    schedule = make(kept, cron="0 3 * * *", clock=moved)
    schedule.start()
    moved.moved = timedelta(days=-400)
    schedule.check_clock()
    due = schedule.next_due()
    assert (due.hour, due.minute) == (3, 0)
    assert timedelta() < due - moved.now() <= timedelta(days=1)


@pytest.mark.parametrize("forward", [timedelta(hours=1), timedelta(days=3652)])
def test_k2_a_clock_that_is_put_forward_gives_one_run_and_not_many(make, moved, forward):
    """And a clock that is put right again afterwards does not wait for ten years."""
    kept = Kept(moved.now())
    schedule = make(kept, interval_h=0.1, clock=moved, tick_s=0.1)
    schedule.start()
    moved.moved = forward
    schedule.check_clock()
    until(lambda: kept.reasons)
    assert len(kept.reasons) == 1
    moved.moved = timedelta()
    schedule.check_clock()
    assert schedule.next_due() - moved.now() <= timedelta(hours=0.1)
    assert len(kept.reasons) == 1
