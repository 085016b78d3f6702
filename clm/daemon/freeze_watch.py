"""The daemon's view of the freeze: read regularly, each change logged once."""

import structlog

from clm.domain.freeze import THAWED, Freeze, FreezeState
from clm.errors import ClmError
from clm.ports import Brake, Clock

log = structlog.get_logger()

ASK_S = 10.0
"""Interval for reading the freeze keys while idle, or while Redis does not reply."""
_EVENTS = {
    FreezeState.FROZEN: "daemon.frozen",
    FreezeState.HALTED: "daemon.frozen",
    FreezeState.UNKNOWN: "daemon.freeze_unknown",
    FreezeState.UNHEARD: "daemon.freeze_unheard",
}


class FreezeWatch:
    """Remembers the last freeze; for the daemon's main thread."""

    def __init__(self, brake: Brake, clock: Clock) -> None:
        self._brake = brake
        self._clock = clock
        self._ask_at = 0.0
        self._seen = THAWED

    def freeze(self) -> Freeze:
        """Return the freeze and log a change; if Redis does not reply, read again after ASK_S.

        Raises:
            StoreBusy: a pause cannot be read now.
        """
        before = self._seen
        # Each read of an unreachable Redis blocks until its time-out. Without this pause, the main loop
        # would spend its time there and miss the watchdog.
        if not before.is_current and self._clock.monotonic() < self._ask_at:
            return before
        self._seen = seen = self._brake.freeze()
        self._ask_at = self._clock.monotonic() + ASK_S
        # Compare without the reason: its text contains times that change on each read.
        if (seen.state, seen.cause, seen.is_current) != (before.state, before.cause, before.is_current):
            if seen.state is FreezeState.THAWED:
                log.info("daemon.thawed")
            else:
                log.warning(_EVENTS[seen.state], reason=seen.reason)
        return seen

    def keep_asking(self) -> None:
        """Read the freeze while idle and during training, so that the last known state is recent."""
        if self._clock.monotonic() < self._ask_at:
            return
        try:
            self.freeze()
        except ClmError as error:
            self._ask_at = self._clock.monotonic() + ASK_S
            # Debug only: a busy store is normal, and the next read comes in ASK_S.
            log.debug("daemon.freeze_not_asked", code=error.code, error=error.message)

    def status_text(self, doing: str, *, is_busy: bool) -> str:
        """Return what the daemon does, with the freeze if it stops or holds something."""
        seen = self._seen
        if seen.stops_because and not is_busy:
            return f"frozen: {seen.reason}"
        if seen.state is FreezeState.UNKNOWN:
            return f"{doing}; no automatic promotion: {seen.reason}"
        return doing
