"""Publish outbox events to the streams: in order of `seq`, at least once, with a stable event_id."""

import redis
import structlog

from clm.bus.client import address, refused, talking_to
from clm.bus.streams import HEARTBEAT_KEY, OWN_STREAM_MAXLEN, envelope, event_stream
from clm.clock import iso
from clm.errors import BusUnavailable
from clm.ports import Clock, Outbox

log = structlog.get_logger()

SOURCE = "quantum-clm"
BATCH = 200
HEARTBEAT_S = 60


class OutboxRelay:
    """Publishes outbox events; a crash between XADD and the mark repeats an event and never loses one."""

    def __init__(
        self,
        client: redis.Redis,
        outbox: Outbox,
        *,
        host: str,
        source: str = SOURCE,
        maxlen: int = OWN_STREAM_MAXLEN,
    ) -> None:
        self._client = client
        self._outbox = outbox
        self._host = host
        self._source = source
        self._maxlen = maxlen

    def drain_once(self, limit: int = BATCH) -> int:
        """Publish up to `limit` waiting events and return how many Redis accepted.

        Rejected events stay in the outbox; accepted ones are marked before the error is raised.

        Raises:
            BusUnavailable: Redis is unavailable or rejected at least one event.
            StoreBusy, DataError: the outbox could not be read or marked; sent events are sent again.
        """
        rows = self._outbox.unpublished(limit)
        if not rows:
            return 0
        with talking_to(self._client):
            pipeline = self._client.pipeline(transaction=False)
            pipeline.info("server")  # on the same connection: it identifies the server that gets the events
            for row in rows:
                fields = envelope(row, source=self._source, host=self._host)
                pipeline.xadd(event_stream(row.event_type), fields, maxlen=self._maxlen, approximate=True)  # type: ignore[arg-type]
            about, *replies = pipeline.execute(raise_on_error=False)
        answered = list(zip(rows, replies, strict=True))
        taken = [row for row, reply in answered if not isinstance(reply, Exception)]
        if taken:
            server = str(about.get("run_id", "")) if isinstance(about, dict) else ""
            self._outbox.mark_published([row.seq for row in taken], server)
        for row in taken:
            log.info("event.published", type=row.event_type, seq=row.seq, event_id=row.event_id)
        refusal = next(
            (self._refusal(row.event_type, r) for row, r in answered if isinstance(r, Exception)), None
        )
        if refusal:
            raise refusal
        return len(taken)

    def _refusal(self, event_type: str, reply: Exception) -> BusUnavailable:
        return refused(reply, address(self._client), key=event_stream(event_type))


class Heartbeat:
    """The heartbeat key that shows the trading system that the daemon is alive."""

    def __init__(self, client: redis.Redis, clock: Clock) -> None:
        self._client = client
        self._clock = clock

    def beat(self) -> None:
        """Write the current time; the key expires one minute after the last heartbeat."""
        with talking_to(self._client):
            self._client.set(HEARTBEAT_KEY, iso(self._clock.now()), ex=HEARTBEAT_S)
