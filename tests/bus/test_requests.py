"""Untrusted input on the trigger streams."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clm.bus.requests import (
    MAX_FIELDS,
    MAX_TOTAL_BYTES,
    NotOurs,
    Rejected,
    _Request,
    payload_sha256,
    read_trigger,
)
from clm.bus.streams import MANUAL_RETRAIN, MODEL_RETRAIN
from clm.domain.line import DEFAULT_LINE
from clm.domain.task import Trigger

OLD_PRODUCER = {
    b"model": b"patchtst",
    b"learning_rate": b"0.0012",
    b"batch_size": b"64",
    b"optimizer": b"adamw",
    b"dropout_rate": b"0.1",
    b"hidden_units": b"128",
    b"mutation_strength": b"0.35",
    b"timestamp": b"2026-01-10T02:13:44.123456",
    b"source": b"retrain_manager",
}


def read(stream: str, fields: dict[bytes, bytes]) -> Trigger | NotOurs | Rejected:
    return read_trigger(stream, fields, DEFAULT_LINE.family)


def encoded(fields: dict[str, object]) -> bytes:
    return json.dumps(fields).encode()


FORMS = {
    "flat": lambda f: {k.encode(): str(v).encode() for k, v in f.items()},
    "data": lambda f: {b"data": encoded(f)},
    "envelope": lambda f: {
        b"event_type": b"model.retrain",
        b"payload": encoded(f),
        b"trace_id": b"t-1",
        b"correlation_id": b"c-1",
        b"timestamp": b"2026-01-10T00:00:00Z",
        b"source": b"ui",
    },
}


@pytest.mark.parametrize("form", FORMS)
def test_the_same_request_reads_the_same_in_every_wire_form(form):
    """Three producers use three formats for the same request."""
    fields = FORMS[form](
        {"model_type": "patchtst", "reason": "drift seen", "requested_by": "anna", "priority": 5}
    )
    trigger = read(MANUAL_RETRAIN, fields)
    assert isinstance(trigger, Trigger)
    assert (trigger.model, trigger.reason, trigger.requested_by) == ("patchtst", "drift seen", "anna")
    assert trigger.source == f"redis:{MANUAL_RETRAIN}"
    assert trigger.details["priority"] == "5"
    assert trigger.dedupe_key == "patchtst"


def test_what_the_envelope_says_stands_behind_what_the_request_says():
    """The trace id must reach the run; the envelope must not hide the request's own timestamp."""
    trigger = read(MODEL_RETRAIN, FORMS["envelope"]({"model": "patchtst", "timestamp": 1767222000.5}))
    assert isinstance(trigger, Trigger)
    assert trigger.details["trace_id"] == "t-1"
    assert trigger.details["timestamp"] == "1767222000.5"
    assert trigger.requested_by == "ui"


def test_c15_the_old_producer_is_understood_and_its_extra_fields_are_kept():
    """Its hyperparameters are kept for operators; training uses those of the settings."""
    trigger = read(MODEL_RETRAIN, {**OLD_PRODUCER, b"color": b"blue"})
    assert isinstance(trigger, Trigger)
    assert trigger.requested_by == "retrain_manager"
    assert trigger.reason == f"requested on {MODEL_RETRAIN}"
    assert trigger.details["mutation_strength"] == "0.35"
    assert trigger.details["color"] == "blue"


@pytest.mark.parametrize("empty", [b"", b" ", b"None", b"null", b" None "])
@pytest.mark.parametrize(
    "name", [b"batch_size", b"hidden_units", b"learning_rate", b"dropout_rate", b"mutation_strength"]
)
def test_c15_an_empty_number_is_an_absent_one(name, empty):
    """Old producers send str(None) for unset fields."""
    assert isinstance(read(MODEL_RETRAIN, {**OLD_PRODUCER, name: empty}), Trigger)


@pytest.mark.parametrize(
    ("fields", "part"),
    [
        ({b"model": b"patchtst", b"x": b"a" * 1025}, "1025 bytes"),
        ({b"model": b"patchtst", b"n" * 129: b"a"}, "field name has 129"),
        ({b"model": b"patchtst", **{f"f{n}".encode(): b"1" for n in range(MAX_FIELDS)}}, "33 fields"),
        ({b"payload": encoded({"model": "patchtst", "x": "a" * MAX_TOTAL_BYTES})}, "at most 16384"),
        ({b"payload": encoded({"model": "patchtst", "x": "a" * 1025})}, "1025 bytes"),
        ({b"data": encoded({"model": "patchtst", **{f"f{n}": n for n in range(MAX_FIELDS)}})}, "33 fields"),
    ],
)
def test_c15_bounds_are_kept(fields, part):
    """A producer must not be able to fill the store."""
    answer = read(MODEL_RETRAIN, fields)
    assert isinstance(answer, Rejected)
    assert part in answer.reason


def test_c15_an_entry_at_its_bounds_is_read():
    """An off-by-one bound would reject valid input."""
    fields = {b"model": b"patchtst", **{f"f{n}".encode(): b"1" for n in range(MAX_FIELDS - 1)}}
    fields[b"f0"] = b"a" * 1024
    assert isinstance(read(MODEL_RETRAIN, fields), Trigger)


@pytest.mark.parametrize(
    "fields",
    [
        {b"payload": b"{not json"},
        {b"payload": b"[1, 2]"},
        {b"payload": b'"patchtst"'},
        {b"payload": b"null"},
        {b"data": b'{"model": "patchtst", "learning_rate": NaN}'},
        {b"data": b'{"model": "patchtst", "deep": ' + b"[" * 600 + b"]" * 600 + b"}"},
        {b"data": b'{"model": "patchtst", "deep": ' + b"[" * 5000 + b"]" * 5000 + b"}"},
        {b"model": b"\xff\xfe"},
        {b"model": b"patchtst", b"\xff": b"1"},
        {b"model": b"patchtst", b"learning_rate": b"fast"},
        {b"model": b"patchtst", b"learning_rate": b"inf"},
        {b"model": b"patchtst", b"batch_size": b"64.5"},
        {b"source": b"test"},
        {b"model": b"  "},
        {b"model": b"../../etc/shadow"},
        {b"model": b"/opt/quantum/x.pth"},
        {b"model": b"patchtst; rm -rf /"},
        {b"model": b"patchtst\x00"},
        {b"payload": b'{"model": ["patchtst"]}'},
        {b"payload": encoded({"model": "patchtst", "a\nforged\x1b[2J": "x" * 1025})},
    ],
)
def test_c4_what_can_never_be_a_trigger_is_rejected_with_a_reason(fields):
    """A retry does not help against deterministic failures."""
    answer = read(MODEL_RETRAIN, fields)
    assert isinstance(answer, Rejected)
    assert answer.reason
    assert answer.reason.isprintable()


@pytest.mark.parametrize("name", ["xgboost", "LightGBM", "nhits", "patchtst_v2", "all"])
def test_a_request_for_another_model_is_not_ours_and_no_poison(name):
    """All models share the stream; dead letters are for entries that need an operator."""
    answer = read(MODEL_RETRAIN, {b"model": name.encode(), b"learning_rate": b"whatever"})
    assert isinstance(answer, NotOurs)
    assert name.lower() in answer.reason


@pytest.mark.parametrize("name", ["patchtst", "PatchTST", " PATCHTST "])
def test_the_model_is_an_enum_whatever_its_spelling(name):
    """The dedupe key must not depend on capitals."""
    trigger = read(MODEL_RETRAIN, {b"model": name.encode()})
    assert isinstance(trigger, Trigger)
    assert trigger.model == "patchtst"


NASTY = st.one_of(
    st.text(max_size=80),
    st.sampled_from(
        [
            "../../etc/shadow",
            "$(reboot)",
            "a\nMESSAGE=forged",
            "\x1b[2Jgone",
            "\u202etxt.exe",
            "\x00",
            "' OR 1=1",
        ]
    ),
)


@given(reason=NASTY, name=NASTY, value=NASTY)
def test_c16_nothing_a_stranger_writes_forges_a_line_or_a_model(reason, name, value):
    """Logs, STATUS and proof pages show these texts."""
    fields = {b"model": b"patchtst"}
    for key, text in (("reason", reason), (name, value)):
        if key not in {"model", "model_type", "payload", "data"}:
            fields[key.encode()] = text.encode()
    answer = read(MODEL_RETRAIN, fields)
    if isinstance(answer, Trigger):
        shown = [answer.model, answer.reason, answer.requested_by, answer.source]
        shown += [*answer.details, *answer.details.values()]
        assert answer.model == "patchtst"
    else:
        shown = [answer.reason]
    assert all(text.isprintable() for text in shown)


@settings(max_examples=300)
@given(st.dictionaries(st.binary(max_size=40), st.binary(max_size=200), max_size=40))
def test_c16_no_bytes_whatever_make_the_reader_raise(fields):
    """An exception here would stop the consumer on the same entry forever."""
    assert isinstance(read(MODEL_RETRAIN, fields), Trigger | NotOurs | Rejected)
    assert len(payload_sha256(fields)) == 64


JSONS = st.recursive(
    st.none()
    | st.booleans()
    | st.floats()
    | st.integers()
    | st.text(max_size=20)
    | st.sampled_from(["", " ", "None", "null", "nan", "1e999", "9" * 900, "\u0663", "\u00b2"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=300)
@given(st.dictionaries(st.sampled_from(["model", "model_type", *_Request.model_fields, "x"]), JSONS), JSONS)
def test_c16_no_json_whatever_makes_the_reader_raise(request, other):
    """The envelope's payload is as untrusted as flat fields."""
    for text in (json.dumps(request), json.dumps({**request, "model": "patchtst"}), json.dumps(other)):
        for container in (b"payload", b"data"):
            assert isinstance(read(MODEL_RETRAIN, {container: text.encode()}), Trigger | NotOurs | Rejected)


@given(
    st.dictionaries(st.binary(max_size=8), st.binary(max_size=8), max_size=4),
    st.dictionaries(st.binary(max_size=8), st.binary(max_size=8), max_size=4),
)
def test_c8_the_payload_hash_tells_fields_apart_and_forgets_their_order(one, other):
    """A Redis server restored from an old dump may assign an old id to a new entry."""
    assert (payload_sha256(one) == payload_sha256(other)) == (one == other)
    assert payload_sha256(dict(reversed(one.items()))) == payload_sha256(one)


def test_c8_the_payload_hash_tells_bytes_apart_that_are_no_text():
    """Decoding both to the same replacement character would merge two entries."""
    values = (b"\xff", b"\xfe", b"\xef\xbf\xbd", b"\\xff", b"\xed\xb3\xbf")
    assert len({payload_sha256({b"model": value}) for value in values}) == len(values)
