"""Shadow telemetry from a real Redis, in every wire format, with hostile input."""

import json

import pytest

from clm.bus.client import connect
from clm.bus.telemetry import (
    CLOSED_STREAM,
    INTENT_STREAM,
    LATEST,
    RedisTelemetry,
    read_telemetry,
    telemetry_of,
)
from clm.domain.line import DEFAULT_LINE
from clm.errors import BusUnavailable
from clm.evaluation.shadow import measure, record_of
from tests.bus.hostile import VALUES

VERSION = "patchtst_v20260109_233444"
AT = 1_767_000_000_000_000
pytestmark = pytest.mark.needs_redis


def intent(**changes: object) -> dict[str, object]:
    """What the engine publishes."""
    ours = {"action": "SELL", "confidence": 0.71, "model": VERSION, "shadow": True}
    event = {
        "symbol": "BTCUSDT",
        "side": "BUY",
        "timestamp": "2025-12-29T09:20:00+00:00",
        "model_breakdown": {"xgb": {"action": "BUY", "confidence": 0.8}, "patchtst": ours},
    }
    return {**event, **changes}


CLOSED = {"symbol": "BTCUSDT", "side": "BUY", "entry_price": 100.0, "exit_price": 99.0, "pnl_percent": -1.0}


def test_every_wire_form_is_read(client, plain):
    """The envelope, `data` and flat fields are all in use."""
    plain.xadd(INTENT_STREAM, {"event_type": "trade.intent", "payload": json.dumps(intent())})
    plain.xadd(INTENT_STREAM, {"data": json.dumps(intent())})
    flat = intent(model_breakdown=json.dumps(intent()["model_breakdown"]))
    plain.xadd(INTENT_STREAM, flat)
    plain.xadd(CLOSED_STREAM, {"payload": json.dumps({**CLOSED, "timestamp": "2025-12-29 10:20:00"})})
    found = read_telemetry(client, VERSION, line=DEFAULT_LINE, serving_since=None)
    assert len(found.intents) == 3
    assert len(set(found.intents)) == 1
    first = found.intents[0]
    assert (first.symbol, first.ensemble, first.action, first.confidence) == ("BTCUSDT", 1, -1, 0.71)
    assert first.at == AT
    (outcome,) = found.outcomes
    assert outcome.market_return == pytest.approx(-0.01)
    assert outcome.closed_at - first.at == 3600 * 1_000_000
    assert found.left_out == {}


def test_long_streams_are_read_in_pages(client, plain):
    """One reply of the server contains at most a thousand entries."""
    with plain.pipeline(transaction=False) as pipe:
        for _ in range(2500):
            pipe.xadd(INTENT_STREAM, {"payload": json.dumps(intent())})
        pipe.execute()
    assert len(read_telemetry(client, VERSION, line=DEFAULT_LINE, serving_since=None).intents) == 2500


def test_nothing_is_written(client, plain):
    """The streams belong to the trading system; groups and lengths do not change."""
    plain.xadd(INTENT_STREAM, {"payload": json.dumps(intent())})
    before = (plain.xlen(INTENT_STREAM), plain.xinfo_groups(INTENT_STREAM), sorted(plain.keys("*")))
    read_telemetry(client, VERSION, line=DEFAULT_LINE, serving_since=None)
    assert (plain.xlen(INTENT_STREAM), plain.xinfo_groups(INTENT_STREAM), sorted(plain.keys("*"))) == before


def test_a_redis_that_is_away_is_said(server, client):
    """An empty record would look like missing evidence."""
    server.kill()
    with pytest.raises(BusUnavailable):
        read_telemetry(client, VERSION, line=DEFAULT_LINE, serving_since=None)


def fields(event: object) -> dict[bytes, bytes]:
    """As the envelope carries it."""
    return {b"payload": event if isinstance(event, bytes) else json.dumps(event).encode()}


def breakdown(**changes: object) -> dict[str, object]:
    """An intent with a changed prediction of our model."""
    ours = {"action": "SELL", "confidence": 0.71, "model": VERSION, **changes}
    return intent(model_breakdown={"PatchTST": ours})


@pytest.mark.parametrize(
    ("event", "reason"),
    [
        (b"{", "not JSON"),
        (b"\xff", "not UTF-8"),
        (b"[1]", "no JSON object"),
        (b'"' + b"x" * 70_000 + b'"', "too large"),
        (intent(model_breakdown=None), "no model_breakdown"),
        (intent(model_breakdown="{"), "not JSON"),
        (intent(model_breakdown={"xgb": {"action": "BUY"}}), "no answer of patchtst"),
        (intent(symbol="'; DROP"), "no symbol"),
        (intent(side="SIDEWAYS"), "no action"),
        (intent(timestamp="yesterday"), "no moment that can be read"),
        (breakdown(confidence=float("nan")), "not JSON"),
        (breakdown(confidence="1e999"), "no confidence between 0 and 1"),
        (breakdown(confidence=True), "no confidence between 0 and 1"),
        (breakdown(confidence=1.2), "no confidence between 0 and 1"),
        (breakdown(action=None), "no action"),
        (breakdown(model="patchtst_v20250101_000000"), "of another version"),
        (breakdown(model="PatchTST"), "names no version"),
    ],
)
def test_what_cannot_be_used_is_counted_by_reason(event, reason):
    """A record that silently shrank would be trusted."""
    found = telemetry_of([(AT, fields(event))], [], VERSION, line=DEFAULT_LINE, serving_since=None)
    assert found.intents == ()
    assert found.left_out == {f"trade.intent: {reason}": 1}


def test_an_event_that_names_no_version_belongs_to_the_model_that_served_then():
    """The engine reports "PatchTST" if it does not know a version."""
    event = fields(breakdown(model="PatchTST") | {"timestamp": AT // 1_000_000})
    before, after = (
        telemetry_of([(AT, event)], [], VERSION, line=DEFAULT_LINE, serving_since=since).intents
        for since in (AT + 1, AT)
    )
    assert (len(before), len(after)) == (0, 1)


@pytest.mark.parametrize(
    ("closed", "moved"),
    [
        (CLOSED, -0.01),
        ({**CLOSED, "side": "SELL", "entry_price": None}, 0.01),
        ({**CLOSED, "side": "SELL", "entry_price": 0, "exit_price": 0, "pnl_percent": "2.5"}, -0.025),
    ],
)
def test_the_markets_return_comes_from_prices_else_from_the_profit_and_its_side(closed, moved):
    """A winning SELL means that the market fell."""
    (outcome,) = telemetry_of(
        [], [(AT, fields(closed))], VERSION, line=DEFAULT_LINE, serving_since=None
    ).outcomes
    assert outcome.market_return == pytest.approx(moved)
    assert (outcome.opened_at, outcome.closed_at) == (None, AT)


@pytest.mark.parametrize(
    "closed", [{}, {"symbol": "BTCUSDT"}, {**CLOSED, "entry_price": "NaN", "pnl_percent": None}]
)
def test_a_closed_trade_without_symbol_or_price_is_left_out(closed):
    """Unknown is not zero."""
    found = telemetry_of([], [(AT, fields(closed))], VERSION, line=DEFAULT_LINE, serving_since=None)
    assert found.outcomes == ()
    assert sum(found.left_out.values()) == 1


def test_what_serves_is_told_by_its_latest_answers_whichever_version_gave_them(client, plain):
    """The engine reports 0.5 for every HOLD, so a HOLD contains no information."""
    for number in range(250):
        ours = {"action": "BUY" if number % 5 else "HOLD", "confidence": 0.5 + number / 1000}
        plain.xadd(INTENT_STREAM, {"payload": json.dumps(intent(model_breakdown={"PatchTST": ours}))})
    plain.xadd(INTENT_STREAM, {"payload": "{torn"})
    found = RedisTelemetry(client, DEFAULT_LINE).live_predictions()
    assert found.absent_because == ""
    assert len(found.answers) == LATEST
    assert found.answers[:4] == (0.749, 0.748, 0.747, 0.746)


def test_an_engine_without_predictions_is_unknown_and_never_constant(client, plain):
    """A missing prediction is reported as missing, and so is an unavailable Redis."""
    assert "has no prediction" in RedisTelemetry(client, DEFAULT_LINE).live_predictions().absent_because
    away = RedisTelemetry(connect("unix:///nowhere/redis.sock"), DEFAULT_LINE).live_predictions()
    assert away.answers == ()
    assert "cannot be reached" in away.absent_because


HOSTILE_MOMENTS = (
    *(1e300, -1e300, "1e300", "-1e308", 10**30, -(10**18), "9" * 400, -1, 1e17, 1_700_000_000_000_000),
    *(
        "99999-01-01T00:00:00Z",
        "0001-01-01T00:00:00Z",
        "9999-12-31T23:59:59-14:00",
        "0000-00-00",
        [],
        {"a": 1},
    ),
)


@pytest.mark.parametrize("moment", HOSTILE_MOMENTS)
def test_a_moment_that_no_calendar_holds_is_left_out(moment):
    """One hostile timestamp must not end `clm gates` for the 10,000 others."""
    good, bad = fields(intent()), fields(intent(timestamp=moment))
    found = telemetry_of(
        [(AT, good), (AT, bad), (AT, good)], [], VERSION, line=DEFAULT_LINE, serving_since=None
    )
    assert found.left_out == ({"trade.intent: no moment that can be read": 1} if moment else {})
    closed = [
        fields({**CLOSED, name: moment}) for name in ("timestamp", "exit_time", "entry_time", "opened_at")
    ]
    outcomes = telemetry_of(
        [], [(AT, one) for one in [*closed, fields(CLOSED)]], VERSION, line=DEFAULT_LINE, serving_since=None
    )
    record = record_of(VERSION, found.intents, (*found.outcomes, *outcomes.outcomes), found.left_out)
    assert measure(record).n_events == len(found.intents)
    assert sum(outcomes.left_out.values()) == (len(closed) if moment else 0)


@pytest.mark.parametrize(
    "name", ["timestamp", "symbol", "side", "model_breakdown", "entry_price", "exit_time"]
)
def test_no_value_of_any_field_ends_the_reading(name):
    """Every entry is read or counted as left out, and the record can be made and measured."""
    entries = []
    for form in (b"payload", b"data"):
        event = {**intent(), **CLOSED}
        event.pop(name, None)
        start = json.dumps(event).encode()[:-1] + b", " + json.dumps(name).encode() + b": "
        entries += [(AT, {form: start + value + b"}"}) for value in VALUES]
    entries += [
        (AT, {**{k.encode(): json.dumps(v).encode() for k, v in event.items()}, name.encode(): value})
        for value in VALUES
    ]
    ours = json.dumps(intent()).encode().replace(b'"SELL"', b"%s").replace(b"0.71", b"%s")
    entries += [(AT, {b"payload": ours % (b'"SELL"', value)}) for value in VALUES]
    entries += [(AT, {b"payload": ours % (value, b"0.5")}) for value in VALUES]
    found = telemetry_of(entries, entries, VERSION, line=DEFAULT_LINE, serving_since=0)
    assert len(found.intents) + len(found.outcomes) + sum(found.left_out.values()) == 2 * len(entries)
    measure(record_of(VERSION, found.intents, found.outcomes, found.left_out))
    assert not [reason for reason in found.left_out if "cannot be read" in reason]


def test_entries_under_ids_of_the_far_future_are_read_to_their_end(client, plain):
    """A producer may choose any id, up to the last possible one."""
    for entry_id in ("1767000000000-18446744073709551615", "18446744073709551615-18446744073709551615"):
        plain.xadd(INTENT_STREAM, {"payload": json.dumps(intent())}, id=entry_id)
        plain.xadd(CLOSED_STREAM, {"payload": json.dumps(CLOSED)}, id=entry_id)
    found = read_telemetry(client, VERSION, line=DEFAULT_LINE, serving_since=None)
    assert len(found.intents) == 2
    assert found.left_out == {"trade.closed: no moment that can be read": 1}


def test_live_predictions_pass_over_what_cannot_be_read(client, plain):
    """The diagnosis of a rejected model reads them during a run."""
    deep = '{"model_breakdown": {"patchtst": {"action": ' + "[" * 900 + "]" * 900 + ', "confidence": 0.9}}}'
    for payload in (deep, json.dumps(intent())):
        plain.xadd(INTENT_STREAM, {"payload": payload})
    assert RedisTelemetry(client, DEFAULT_LINE).live_predictions().answers == (0.71,)
