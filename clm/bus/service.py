"""The bus thread: read triggers, publish events, send heartbeats, and back off while Redis is unavailable.

An unexpected exception is a bug: it is logged once, and the thread waits and continues. The watchdog restarts
the daemon only if the thread is dead or hangs.
"""

import random
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog

from clm.bus.confirm import Confirmation
from clm.bus.inbox import TriggerConsumer
from clm.bus.relay import BATCH, Heartbeat, OutboxRelay
from clm.clock import iso
from clm.errors import BusUnavailable, ClmError
from clm.events import PerformanceAlert
from clm.logs import last_line, raised_at
from clm.ports import Clock, Outbox, StopSignal

log = structlog.get_logger()

FIRST_WAIT_S = 0.1
LONGEST_WAIT_S = 30.0
SLICE_S = 1.0
BEAT_EVERY_S = 10.0
LOG_EVERY_S = 30.0
PRUNE_EVERY_S = 3600.0
INBOX_DAYS = 30
"""A dump of Redis that is older than this may repeat triggers."""
INBOX_KEPT = 10_000
"""Rows of each stream that stay whatever their age: the clock may jump."""
BUG = "BUG"
"""Code of an exception that is not a ClmError."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BusStatus:
    """State of the bus, for STATUS and `clm status`."""

    connected: bool
    since: datetime
    waiting: int | None
    """Events in the outbox; None if the store cannot be read."""
    last_error: str | None
    """One line; None while there is no error."""
    tick_age_s: float

    @property
    def text(self) -> str:
        """Return `redis up` or `redis down since 14:02, 37 events waiting`."""
        state = "redis up" if self.connected else f"redis down since {self.since:%H:%M}"
        if self.waiting is None:
            return f"{state}, outbox unreadable"
        if not self.waiting and self.connected:
            return state
        return f"{state}, {self.waiting} event{'' if self.waiting == 1 else 's'} waiting"


class Backoff:
    """Backoff from 0.1 s, doubled up to 30 s, with jitter between half and the full delay."""

    def __init__(self, first_s: float = FIRST_WAIT_S, longest_s: float = LONGEST_WAIT_S) -> None:
        self._first_s = first_s
        self._longest_s = longest_s
        self._failures = 0

    def next_s(self) -> float:
        """Return the next wait in seconds."""
        ceiling = min(self._longest_s, self._first_s * 2.0 ** min(self._failures, 16))
        self._failures += 1
        return ceiling * random.uniform(0.5, 1.0)  # noqa: S311  # jitter needs no cryptographic randomness

    def reset(self) -> None:
        """Reset after a success."""
        self._failures = 0


class BusWorker:
    """The body of the bus thread; its status may be read from any thread."""

    def __init__(
        self,
        consumer: TriggerConsumer,
        relay: OutboxRelay,
        confirmation: Confirmation,
        heartbeat: Heartbeat,
        outbox: Outbox,
        clock: Clock,
        *,
        backoff: Backoff | None = None,
    ) -> None:
        self._consumer = consumer
        self._relay = relay
        self._confirmation = confirmation
        self._heartbeat = heartbeat
        self._outbox = outbox
        self._clock = clock
        self._backoff = backoff or Backoff()
        self._lock = threading.Lock()
        self._connected = False
        self._since = clock.now()
        self._waiting: int | None = 0
        self._last_error: str | None = None
        self._ticked = clock.monotonic()
        self._beat_at = 0.0
        self._log_at = 0.0
        self._bugs: set[str] = set()
        """Bugs already logged; cleared after the first round without one."""
        self._behind = False
        self._prune_at = 0.0
        consumer.sign_of_life = self._tick

    @property
    def status(self) -> BusStatus:
        """Return the current state of the bus."""
        with self._lock:
            return BusStatus(
                connected=self._connected,
                since=self._since,
                waiting=self._waiting,
                last_error=self._last_error,
                tick_age_s=self._clock.monotonic() - self._ticked,
            )

    @property
    def tick_age_s(self) -> float:
        """Return seconds since the thread's last sign of life; a dead network blocks it for up to 13 s."""
        with self._lock:
            return self._clock.monotonic() - self._ticked

    def status_text(self) -> str:
        """Return the bus's part of the daemon's status line."""
        return self.status.text

    def run(self, stop: StopSignal) -> None:
        """Run until `stop` is set; return within the blocking time of a read (2 s) plus one batch."""
        while not stop.is_set():
            if self._round_survived():
                self._backoff.reset()
            else:
                self._wait(stop, self._backoff.next_s())
        self._tick()

    def _round_survived(self) -> bool:
        try:
            return self._round()
        except Exception as exc:  # noqa: BLE001  # a bug between the steps must not end the thread
            self._note_failure(self._bug(exc))
            return False

    def _round(self) -> bool:
        """Run each step once; return True if triggers could be read and stored."""
        read = self._attempt(self._consume)
        if isinstance(read, BusUnavailable) and read.code not in _PARTIAL:
            self._note_lost(read)
            return False
        self._note_connected()
        steps = (self._confirm, self._publish, self._beat, self._prune)
        failures = [read, *(self._attempt(step) for step in steps), *self._blocked()]
        if down := next((failure for failure in failures if failure and failure.code == "REDIS_DOWN"), None):
            self._note_lost(down)
            return False
        self._note_failure(next((failure for failure in failures if failure), None))
        if any(failure and failure.code == BUG for failure in failures):
            return False
        self._bugs.clear()
        return read is None

    def _attempt(self, step: Callable[[], object]) -> ClmError | None:
        self._tick()
        try:
            step()
        except ClmError as exc:
            return exc
        except Exception as exc:  # noqa: BLE001  # a bug in one step must not stop the others
            return self._bug(exc)
        finally:
            self._tick()
        return None

    def _bug(self, exc: Exception) -> ClmError:
        """Log an unexpected exception, once for each place that raises it, and return it as an error."""
        error, at = last_line(exc), raised_at(exc)
        if at not in self._bugs:
            self._bugs.add(at)
            log.error("bus.bug", error=error, at=at)
        return ClmError(BUG, f"{error} ({at}); please report it with the log event bus.bug")

    def _consume(self) -> None:
        try:
            self._consumer.poll_once(block_ms=1 if self._behind else None)
        finally:
            self._report_lost()

    def _report_lost(self) -> None:
        """Alert an operator: retrain requests were lost in Redis."""
        lost = self._consumer.losses.lost
        if not lost:
            return
        alerts = [
            PerformanceAlert(
                model_id=self._consumer.family,
                severity="warning",
                message=f"{n} triggers on {stream} were trimmed before they were read; the schedule runs on",
                timestamp=iso(self._clock.now()),
                metadata={"code": "TRIGGER_LOST", "stream": stream, "n": n},
            )
            for stream, n in lost.items()
        ]
        self._outbox.append(alerts, "trigger.lost")
        lost.clear()

    def _confirm(self) -> None:
        flushed = self._consumer.streams_gone
        self._confirmation.look(flushed=flushed)
        self._consumer.streams_gone = False

    def _publish(self) -> None:
        self._behind = False
        try:
            self._behind = self._relay.drain_once() >= BATCH
        finally:
            self._tick()
            self._count_waiting()

    def _beat(self) -> None:
        if self._clock.monotonic() >= self._beat_at:
            self._heartbeat.beat()
            self._beat_at = self._clock.monotonic() + BEAT_EVERY_S

    def _prune(self) -> None:
        """Delete inbox rows that no redelivery needs; a store that fails is retried in an hour."""
        if self._clock.monotonic() < self._prune_at:
            return
        self._prune_at = self._clock.monotonic() + PRUNE_EVERY_S
        until = self._clock.now() - timedelta(days=INBOX_DAYS)
        if gone := self._consumer.forget_old_deliveries(until, keep=INBOX_KEPT):
            log.info("inbox.pruned", n=gone)

    def _blocked(self) -> list[ClmError]:
        return list(self._consumer.blocked.values())

    def _count_waiting(self) -> None:
        try:
            waiting = self._outbox.waiting_count()
        except ClmError:
            waiting = None
        with self._lock:
            self._waiting = waiting

    def _tick(self) -> None:
        with self._lock:
            self._ticked = self._clock.monotonic()

    def _note_connected(self) -> None:
        if self._connected:
            return
        with self._lock:
            self._connected, self._since, self._last_error = True, self._clock.now(), None
        self._beat_at = 0.0
        self._count_waiting()
        log.info("bus.connected", waiting=self._waiting)

    def _note_lost(self, exc: ClmError) -> None:
        was_connected = self._connected
        with self._lock:
            if was_connected:
                self._connected, self._since = False, self._clock.now()
            self._last_error = exc.message
        self._count_waiting()
        self._consumer.forget()
        self._confirmation.forget()
        self._log_limited("bus.lost", exc, at_once=was_connected)

    def _note_failure(self, exc: ClmError | None) -> None:
        with self._lock:
            self._last_error = exc.message if exc else None
        if exc and exc.code != BUG:
            self._log_limited("bus.step_failed", exc)

    def _log_limited(self, event: str, exc: ClmError, *, at_once: bool = False) -> None:
        """Log at most one line in 30 s; a lost connection is logged immediately."""
        now = self._clock.monotonic()
        if not at_once and now < self._log_at:
            return
        self._log_at = now + LOG_EVERY_S
        log.warning(event, code=exc.code, error=exc.message, waiting=self._waiting)

    def _wait(self, stop: StopSignal, seconds: float) -> None:
        """Wait in slices, so that a long wait still shows signs of life."""
        end = self._clock.monotonic() + seconds
        while (left := end - self._clock.monotonic()) > 0 and not stop.wait(min(SLICE_S, left)):
            self._tick()


_PARTIAL = frozenset({"REDIS_WRONGTYPE", "REDIS_OOM"})
"""Errors of one command or key: the connection works, so the other steps still run."""
