"""Gates 3 and 4 end to end: events in a real Redis, outcomes in a real store, the command in a process."""

import json
import sqlite3
from datetime import UTC, datetime
from pathlib import Path

import pytest

from clm.bus.telemetry import INTENT_STREAM
from clm.clock import SystemClock
from clm.data.simulator import simulate
from clm.ports import PromotionState
from clm.store.create import create_store, insert_samples
from clm.store.migrate import migrate
from clm.store.promotions import SqlitePromotionLog
from clm.store.service import serving_since
from tests.builders import NOW, promotion_start
from tests.cli.test_verbs import clm

VERSION = "patchtst_v20260109_233444"
pytestmark = pytest.mark.needs_redis


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A store with one trade at each full hour."""
    path = tmp_path / "store.db"
    create_store(path)
    insert_samples(path, (s.as_row() for s in simulate(seed=3, n_samples=900, until=NOW, n_symbols=2)))
    return path


def events(store: Path) -> list[dict[str, object]]:
    """One event for each closed trade: the higher the confidence, the more often the model is right."""
    with sqlite3.connect(store) as connection:
        rows = connection.execute(
            "SELECT symbol, timestamp, exit_price > entry_price FROM ai_training_samples "
            "WHERE outcome_known GROUP BY symbol, timestamp ORDER BY timestamp"
        ).fetchall()
    connection.close()
    intents = []
    for n, (symbol, timestamp, rose) in enumerate(rows):
        confidence = (0.55, 0.62, 0.67, 0.75)[n % 4]
        right = (n // 4) % 10 < (4, 5, 7, 9)[n % 4]
        action = "BUY" if bool(rose) is right else "SELL"
        ensemble = action if n % 3 else "HOLD"
        ours = {"action": action, "confidence": confidence, "model": VERSION, "shadow": True}
        intents.append(
            {
                "event_type": "trade.intent",
                "symbol": symbol,
                "side": ensemble,
                "timestamp": timestamp,
                "model_breakdown": {"patchtst": ours},
            }
        )
    return intents


def test_the_stream_and_the_store_together_pass_both_gates(tmp_path, store, server, plain):
    """The same events from a file give the same verdicts."""
    said = events(store)
    for event in said:
        plain.xadd(INTENT_STREAM, {"event_type": "trade.intent", "payload": json.dumps(event)})
    arguments = ("gates", VERSION, "--json", "--store", str(store))
    done = clm(tmp_path, *arguments, CLM_REDIS_URL=server.url)
    assert done.returncode == 0, done.stdout + done.stderr
    answer = json.loads(done.stdout)
    assert answer["events"] == len(said)
    assert [gate["status"] for gate in answer["gates"]] == ["PASS", "PASS"]
    file = tmp_path / "events.jsonl"
    file.write_text("\n".join(json.dumps(event) for event in said))
    again = clm(tmp_path, *arguments, "--shadow", str(file))
    assert json.loads(again.stdout) == answer


def test_without_events_both_defer_and_the_verb_says_no(tmp_path, store, server):
    """A model without shadow telemetry must not be activated."""
    done = clm(tmp_path, "gates", VERSION, "--json", "--store", str(store), CLM_REDIS_URL=server.url)
    assert done.returncode == 1
    assert [gate["status"] for gate in json.loads(done.stdout)["gates"]] == ["DEFER", "DEFER"]


@pytest.mark.parametrize(
    "text", ["symbol,side\n", '{"event_type": "trade.intent", "x": %s}' % ("[" * 900 + "]" * 900)]
)
def test_a_file_without_events_is_one_line(tmp_path, store, text):
    """An operator may mistype the version."""
    file = tmp_path / "events.jsonl"
    file.write_text(text)
    done = clm(tmp_path, "gates", VERSION, "--store", str(store), "--shadow", str(file))
    assert done.returncode == 64
    assert "SHADOW_FILE" in done.stderr


def test_a_model_serves_since_its_promotion_was_completed(store):
    """Events without a version belong to it until another model is promoted."""
    clock = SystemClock()
    assert serving_since(store, VERSION, clock) is None
    migrate(store)
    assert serving_since(store, VERSION, clock) is None
    log, other = SqlitePromotionLog(store, clock), "patchtst_v20260110_000000"
    began = datetime.now(UTC)
    for version in (VERSION, other):
        opened = log.begin(promotion_start(Path(f"/models/{version}.pth"), "a" * 64))
        log.advance(opened.promotion_id, PromotionState.COMMITTED)
        assert began <= serving_since(store, version, clock) <= datetime.now(UTC)
    assert serving_since(store, VERSION, clock) is None
