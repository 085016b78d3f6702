"""From the outbox to the streams: in the order of `seq`, at least once, the same event_id on a repeat."""

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
    """Publishes what the outbox holds; a crash between XADD and the mark repeats, never loses."""

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
        """Publish up to `limit` waiting events and return how many Redis took.

        Events that Redis refused stay in the outbox; those it took are marked before the refusal is raised.

        Raises:
            BusUnavailable: Redis is away or refused at least one event.
            StoreBusy, DataError: the outbox could not be read or marked; what was sent is sent again.
        """
        rows = self._outbox.unpublished(limit)
        if not rows:
            return 0
        with talking_to(self._client):
            pipeline = self._client.pipeline(transaction=False)
            pipeline.info("server")  # on the same connection: it names the server that takes the events
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
    """The key by which the trading system sees that the daemon lives."""

    def __init__(self, client: redis.Redis, clock: Clock) -> None:
        self._client = client
        self._clock = clock

    def beat(self) -> None:
        """Write the time; the key is gone a minute after the last beat."""
        with talking_to(self._client):
            self._client.set(HEARTBEAT_KEY, iso(self._clock.now()), ex=HEARTBEAT_S)
