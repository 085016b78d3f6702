"""Names of streams and keys, and the envelope of what we publish."""

from clm.ports import OutboxRow

PREFIX = "quantum:stream:"
MODEL_RETRAIN = f"{PREFIX}model.retrain"
MANUAL_RETRAIN = f"{PREFIX}manual.retrain_request"
TRIGGER_STREAMS: tuple[str, ...] = (MODEL_RETRAIN, MANUAL_RETRAIN)
"""Streams on which others ask for a retrain; never trimmed by us."""

HEARTBEAT_KEY = "quantum:svc:quantum-clm:heartbeat"
FROZEN_KEY = "quantum:learning:frozen"
MODE_KEY = "quantum:system:mode"

OWN_STREAM_MAXLEN = 10_000
DEAD_LETTER_MAXLEN = 1_000


def event_stream(event_type: str) -> str:
    """Return the stream of an event type."""
    return PREFIX + event_type


def dead_letter_stream(stream: str) -> str:
    """Return where entries of `stream` go that can never be a trigger."""
    return f"{stream}:dlq"


def envelope(row: OutboxRow, *, source: str, host: str) -> dict[str, str]:
    """Return the fields of the stream entry: the common envelope, and what tells a repeat from a new event.

    A repeat carries the same `event_id`; `seq` orders the events of one store, times do not.
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
