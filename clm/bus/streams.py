"""Stream and key names, and the envelope of published events."""

from clm.ports import OutboxRow

PREFIX = "quantum:stream:"
MODEL_RETRAIN = f"{PREFIX}model.retrain"
MANUAL_RETRAIN = f"{PREFIX}manual.retrain_request"
TRIGGER_STREAMS: tuple[str, ...] = (MODEL_RETRAIN, MANUAL_RETRAIN)
"""Streams on which other services request a retrain; we never trim them."""

HEARTBEAT_KEY = "quantum:svc:quantum-clm:heartbeat"
FROZEN_KEY = "quantum:learning:frozen"
MODE_KEY = "quantum:system:mode"

OWN_STREAM_MAXLEN = 10_000
DEAD_LETTER_MAXLEN = 1_000


def event_stream(event_type: str) -> str:
    """Return the stream of an event type."""
    return PREFIX + event_type


def dead_letter_stream(stream: str) -> str:
    """Return the dead-letter stream for invalid entries of `stream`."""
    return f"{stream}:dlq"


def envelope(row: OutboxRow, *, source: str, host: str) -> dict[str, str]:
    """Return the fields of the stream entry: the common envelope plus `event_id`, `seq` and `host`.

    A repeat has the same `event_id`. Order the events of one store by `seq`, not by time.
    """
    return {
        "event_type": row.event_type,
        "payload": row.payload_json,
        "trace_id": row.trace_id,
        "correlation_id": row.correlation_id,
        "timestamp": row.created_at,
        "source": source,
        "event_id": row.event_id,
        "seq": str(row.seq),
        "host": host,
    }
