"""Every field of both trigger streams with every kind of value, through the real consumer and store."""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from clm.bus.entries import GROUP
from clm.bus.streams import TRIGGER_STREAMS, dead_letter_stream
from clm.clock import SystemClock
from clm.store.create import create_store
from clm.store.migrate import migrate
from clm.store.tasks import SqliteTaskQueue
from tests.bus.hostile import LONG, VALUES

pytestmark = pytest.mark.needs_redis

FIELDS = (
    *("model", "model_type", "reason", "requested_by", "source", "priority", "timestamp", "optimizer"),
    *("learning_rate", "dropout_rate", "mutation_strength", "batch_size", "hidden_units"),
    *("payload", "data", "event_type", "trace_id", "correlation_id", "symbols", "limit", "x"),
)


def flat(name: bytes, value: bytes) -> list[bytes]:
    """The fields as arguments of XADD: a name may come twice."""
    text = value[1:-1] if value[:1] == value[-1:] == b'"' and len(value) > 1 else value
    return [b"model", b"patchtst", name, text]


def inside(container: bytes, name: bytes, value: bytes) -> list[bytes]:
    """The request as JSON in one field; its names may come twice."""
    request = b'{"model":"patchtst",' + json.dumps(name.decode()).encode() + b":" + value + b"}"
    return [b"event_type", b"model.retrain", container, request, b"source", b"ui"]


def hostile() -> Iterator[list[bytes]]:
    for number, name in enumerate(text.encode() for text in FIELDS):
        forms = [
            lambda value, name=name: flat(name, value),
            lambda value, name=name: inside(b"payload", name, value),
            lambda value, name=name: inside(b"data", name, value),
        ]
        for form in forms:
            yield from (form(value) for value in VALUES)
            yield form(b"1") + form(b"null")
        yield forms[number % 3](LONG)
    yield [b"\xff", b"\xff"]
    yield [b"", b""]
    yield [part for n in range(5000) for part in (str(n).encode(), b"1")]


@pytest.mark.parametrize("stream", TRIGGER_STREAMS)
def test_c4_c16_no_value_of_any_field_stops_the_consumer_or_loses_an_entry(
    stream, client, plain, tmp_path: Path, make_consumer
):
    """Each entry is accepted, ignored or buried, and a good one between two bad ones is accepted."""
    store = tmp_path / "store.db"
    create_store(store)
    migrate(store)
    consumer = make_consumer(client, queue=SqliteTaskQueue(store, SystemClock()), block_ms=1)
    entries = list(hostile())
    good = []
    with plain.pipeline(transaction=False) as pipeline:
        for arguments in entries:
            pipeline.execute_command("XADD", stream, "*", *arguments)
            pipeline.execute_command("XADD", stream, "*", "model", "patchtst", "reason", "good")
        good = pipeline.execute()[1::2]
    sent, handled = 2 * len(entries), 0
    with capture_logs() as lines:
        while read := consumer.poll_once():
            handled += read
    with closing(sqlite3.connect(store)) as connection:
        states = dict(connection.execute("SELECT entry_id, state FROM clm_inbox").fetchall())
        tasks = connection.execute("SELECT count(*), sum(triggers) FROM clm_tasks").fetchone()
    ignored = [line["entry_id"] for line in lines if line["event"] == "trigger.ignored"]
    assert handled == sent
    assert not set(states) & set(ignored)
    assert len(states) + len(ignored) == sent
    assert {states[entry_id] for entry_id in good} == {"accepted"}
    assert list(states.values()).count("dead") > len(entries) / 4
    assert tasks == (1, list(states.values()).count("accepted"))
    assert plain.xpending(stream, GROUP)["pending"] == 0
    assert plain.xlen(dead_letter_stream(stream)) >= min(1000, list(states.values()).count("dead"))
    assert not [line for line in lines if line["log_level"] == "error"], "each is refused on purpose"
