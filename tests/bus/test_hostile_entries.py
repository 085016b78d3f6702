"""Every field of both trigger streams with every kind of value, through the real consumer and store."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from clm.bus.entries import GROUP
from clm.bus.streams import FROZEN_KEY, TRIGGER_STREAMS, dead_letter_stream
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
    """The fields as arguments of XADD: a name may occur twice."""
    text = value[1:-1] if value[:1] == value[-1:] == b'"' and len(value) > 1 else value
    return [b"model", b"patchtst", name, text]


def inside(container: bytes, name: bytes, value: bytes) -> list[bytes]:
    """The request as JSON in one field; its names may occur twice."""
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
    """Each entry is accepted, ignored or dead-lettered; a valid one between two bad ones is accepted."""
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


def states_in(store: Path) -> list[str]:
    """Return the states of the inbox in the order of the stream: as text, entry 10 would precede entry 2."""
    with closing(sqlite3.connect(store)) as connection:
        found = connection.execute("SELECT entry_id, state FROM clm_inbox").fetchall()
    return [state for _, state in sorted(found, key=lambda row: [int(part) for part in row[0].split("-")])]


def test_c4_a_running_daemon_outlives_hostile_entries(server, plain, tmp_path: Path):
    """The whole process, as the unit starts it, with a freeze so that it does not train."""
    store, stream = tmp_path / "store.db", TRIGGER_STREAMS[0]
    create_store(store)
    migrate(store)
    for directory in ("models", "etc"):
        (tmp_path / directory).mkdir()
    (tmp_path / "etc" / "engine.env").write_text("A=b\n")
    settings = {
        "STORE": store,
        "STATE_DIR": tmp_path / "state",
        "MODELS_DIR": tmp_path / "models",
        "ENGINE_ENV_FILE": tmp_path / "etc" / "engine.env",
        "ENGINE__CONTROL": "process",
        "ENGINE__COMMAND": "/bin/false",
        "REDIS_URL": server.url,
    }
    environment = {
        "PATH": os.environ["PATH"],
        **{f"CLM_{name}": str(value) for name, value in settings.items()},
    }
    plain.set(FROZEN_KEY, "1")
    bad = [flat(b"learning_rate", value) for value in (b"None", b"", b" ", b"null", b"\xff", b"1e999")]
    for arguments in bad:
        plain.execute_command("XADD", stream, "*", *arguments)
        plain.xadd(stream, {"model": "patchtst"})
    command = [sys.executable, "-m", "clm", "serve"]
    with (tmp_path / "log").open("wb") as log:
        daemon = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + 60
        while len(states_in(store)) < 2 * len(bad):
            assert daemon.poll() is None, (tmp_path / "log").read_text(errors="replace")
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert states_in(store) == ["accepted"] * 8 + ["dead", "accepted", "dead", "accepted"]
        assert daemon.poll() is None
    finally:
        daemon.send_signal(signal.SIGTERM)
        daemon.wait(60)
    assert daemon.returncode == 0
    assert plain.xpending(stream, GROUP)["pending"] == 0
    assert "bus.bug" not in (tmp_path / "log").read_text()
