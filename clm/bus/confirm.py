"""Whether Redis still has what it took: an answer to XADD is no promise over a restart.

With RDB alone a killed server comes back with what it saved last. Each server life has a run id; an
event that was published to another life, and not surely saved by then, is sent again with the same
event_id. Sure is what two saves were seen after: the first may have forked before our XADD.
"""

import redis
import structlog

from clm.bus.client import refused, talking_to
from clm.logs import last_line
from clm.ports import BusState, Clock, Outbox

log = structlog.get_logger()

LOOK_EVERY_S = 5.0


class Confirmation:
    """Asks the server who it is and what it saved; for one thread."""

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
        """Look again at once: the connection was lost, and what answers next may be another server."""
        self._look_at = 0.0

    def look(self, *, flushed: bool = False) -> int:
        """Settle what was published, and return how many events are to be sent again.

        Asks every few seconds, and at once where a stream was `flushed`.

        Raises:
            BusUnavailable: Redis is away.
            StoreBusy, DataError: the outbox could not be read or written.
        """
        if self._refused or (self._clock.monotonic() < self._look_at and not flushed):
            return 0
        with talking_to(self._client):
            try:
                facts = {**self._client.info("server"), **self._client.info("persistence")}
            except redis.exceptions.NoPermissionError as exc:
                # A smaller ACL than ours: events are published all the same, and nobody can vouch for them.
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
        """Log once that this server does not report what it saved; it may be another one later."""
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
