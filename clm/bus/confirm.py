"""Confirm that Redis has saved published events: a reply to XADD does not survive a restart.

With RDB alone, a killed server restarts from its last save. Each server process has a run id. An event
published to an earlier process and not confirmed as saved is sent again with the same event_id. An event is
confirmed after two later saves, because the first may have forked before our XADD.
"""

import redis
import structlog

from clm.bus.client import refused, talking_to
from clm.logs import last_line
from clm.ports import BusState, Clock, Outbox

log = structlog.get_logger()

LOOK_EVERY_S = 5.0


class Confirmation:
    """Reads the server's run id and last save time; not thread-safe."""

    def __init__(
        self, client: redis.Redis, outbox: Outbox, clock: Clock, *, every_s: float = LOOK_EVERY_S
    ) -> None:
        self._client = client
        self._outbox = outbox
        self._clock = clock
        self._every_s = every_s
        self._look_at = 0.0
        self._saved_at: tuple[str, int] | None = None
        self._refused = False
        self._odd = False

    def forget(self) -> None:
        """Check again immediately: after a lost connection, the server may be a different one."""
        self._look_at = 0.0

    def look(self, *, flushed: bool = False) -> int:
        """Confirm published events and return how many must be sent again.

        Checks every few seconds, or immediately if a stream was `flushed`.

        Raises:
            BusUnavailable: Redis is unavailable.
            StoreBusy, DataError: the outbox could not be read or written.
        """
        if self._refused or (self._clock.monotonic() < self._look_at and not flushed):
            return 0
        with talking_to(self._client):
            try:
                facts = {**self._client.info("server"), **self._client.info("persistence")}
            except redis.exceptions.NoPermissionError as exc:
                # The ACL lacks +info: events are still published, but cannot be confirmed.
                self._refused = True
                log.warning("events.unconfirmed", error=refused(exc, "the server").message)
                return 0
        self._look_at = self._clock.monotonic() + self._every_s
        try:
            server, saved_at = str(facts["run_id"]), int(str(facts["rdb_last_save_time"]))
        except (KeyError, ValueError) as exc:
            self._note_odd(exc)
            return 0
        again = self._outbox.settle(self._state(facts, server, saved_at, flushed))
        if again:
            log.warning("events.sent_again", n=again, server=server, flushed=flushed)
        return again

    def _note_odd(self, exc: Exception) -> None:
        """Log once that this server does not report its saves; a later server may."""
        if not self._odd:
            log.warning("events.unconfirmed", error=f"INFO of the server is incomplete: {last_line(exc)}")
        self._odd = True

    def _state(self, facts: dict[str, object], server: str, saved_at: int, flushed: bool) -> BusState:
        before, self._saved_at = self._saved_at, (server, saved_at)
        return BusState(
            server=server,
            saved=before is not None and before[0] == server and saved_at > before[1],
            appends=bool(facts.get("aof_enabled")),
            flushed=flushed,
        )
