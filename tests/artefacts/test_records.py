"""Records survive the way to the disk bit for bit; everything that is not such a record is refused."""

import io
import json
import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta, timezone
from enum import IntEnum, StrEnum
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clm.artefacts.records import (
    RecordError,
    decode_line,
    decode_record,
    encode_line,
    encode_record,
    read_record,
    write_record,
)
from clm.domain.figure import Figure
from clm.domain.sample import Bytes8, Floats, Ints


class Colour(StrEnum):
    """A choice of texts."""

    RED = "red"
    BLUE = "blue"


class Level(IntEnum):
    """A choice of numbers."""

    LOW = 1
    HIGH = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Inner:
    """A record within one."""

    name: str
    at_N: Ints
    shares: tuple[float | None, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Other:
    """Another record, for a union."""

    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Outer:
    """Every kind of field there is."""

    p_N: Floats
    label_N: Bytes8
    other_NC: Floats | None
    inner: Inner | None
    many: tuple[Inner, ...]
    one_of: Inner | Other
    pairs: tuple[tuple[Ints, str], ...]
    by_name: Mapping[str, Inner]
    by_colour: Mapping[Colour, float]
    colour: Colour
    level: Level
    path: Path
    at: datetime
    mode: Literal["auto", "off", 3]
    figure: Figure
    share: float
    count: int
    yes: bool
    words: tuple[str, ...]
    rest: Mapping[str, object]


finite = st.floats(allow_nan=False, allow_infinity=False)
any_float = st.floats(allow_nan=True, allow_infinity=True)
vectors = st.lists(any_float, max_size=5).map(lambda values: np.array(values, np.float64))
indices = st.lists(st.integers(-(2**63), 2**63 - 1), max_size=4).map(lambda v: np.array(v, np.int64))
keys = st.text(max_size=5)
zones = st.integers(-23, 23).map(lambda hours: timezone(timedelta(hours=hours)))
inners = st.builds(Inner, name=keys, at_N=indices, shares=st.lists(st.none() | finite, max_size=4).map(tuple))
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | finite | keys,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3),
    max_leaves=5,
)
outers = st.builds(
    Outer,
    p_N=vectors,
    label_N=st.lists(st.integers(-1, 1), max_size=4).map(lambda v: np.array(v, np.int8)),
    other_NC=st.none() | vectors.map(lambda v: v[:, None]),
    inner=st.none() | inners,
    many=st.lists(inners, max_size=3).map(tuple),
    one_of=inners | st.builds(Other, name=keys),
    pairs=st.lists(st.tuples(indices, keys), max_size=3).map(tuple),
    by_name=st.dictionaries(keys, inners, max_size=3),
    by_colour=st.dictionaries(st.sampled_from(Colour), finite),
    colour=st.sampled_from(Colour),
    level=st.sampled_from(Level),
    path=st.text(st.characters(exclude_characters="\0", codec="utf-8"), max_size=5).map(Path),
    at=st.datetimes(timezones=zones).map(lambda moment: moment.replace(fold=0)),
    mode=st.sampled_from(["auto", "off", 3]),
    figure=finite | st.just(math.nan),
    share=finite | st.integers(-5, 5),
    count=st.integers(-(10**20), 10**20),
    yes=st.booleans(),
    words=st.lists(keys, max_size=3).map(tuple),
    rest=st.dictionaries(keys, json_values, max_size=3),
)


def bits(value: object) -> object:
    """Return what two equal records have in common to the last bit, NaN and -0.0 included."""
    if isinstance(value, np.ndarray):
        return (value.dtype.str, value.shape, value.tobytes())
    if isinstance(value, tuple):
        return [bits(item) for item in value]
    if isinstance(value, Mapping):
        return {key: bits(item) for key, item in value.items()}
    if hasattr(value, "__dataclass_fields__"):
        return type(value), {name: bits(getattr(value, name)) for name in value.__dataclass_fields__}
    return value.hex() if isinstance(value, float) and not math.isnan(value) else repr(value)


@settings(deadline=None)
@given(outers)
def test_a_record_survives_both_containers_bit_for_bit(
    tmp_path_factory: pytest.TempPathFactory, record: Outer
) -> None:
    """What is judged again must be what was judged."""
    path = tmp_path_factory.getbasetemp() / "record.json"
    write_record(path, record)
    for again in (read_record(Outer, path), decode_record(Outer, encode_record(record))):
        assert bits(again) == bits(record)
        assert encode_record(again) == encode_record(record)


RECORD = Outer(
    p_N=np.array([0.5, math.nan]),
    label_N=np.zeros(3, np.int8),
    other_NC=np.ones((2, 3)),
    inner=Inner(name="a", at_N=np.arange(3), shares=(0.5, None)),
    many=(Inner(name="b", at_N=np.arange(2), shares=()),),
    one_of=Other(name="other"),
    pairs=((np.arange(2), "x"),),
    by_name={"a/b": Inner(name="c", at_N=np.arange(1), shares=())},
    by_colour={Colour.RED: 0.5},
    colour=Colour.BLUE,
    level=Level.HIGH,
    path=Path("/x/y"),
    at=datetime(2026, 3, 1, tzinfo=UTC),
    mode="auto",
    figure=math.nan,
    share=1,
    count=3,
    yes=True,
    words=("a", "b"),
    rest={"a": [1, {"b": None}]},
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A sound record on the disk."""
    write_record(tmp_path / "record.json", RECORD)
    return tmp_path / "record.json"


def test_a_figure_that_is_not_finite_is_null_and_comes_back_as_nan() -> None:
    """Unknown is not zero; and infinity is no more known than NaN."""
    assert json.loads(encode_line(Share(share=0.5, figure=math.inf)))["figure"] is None
    assert math.isnan(decode_line(Share, b'{"share": 1, "figure": null}').figure)


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """Both kinds of float."""

    share: float
    figure: Figure


def test_a_whole_number_stays_one() -> None:
    """What is computed from 1 and from 1.0 is written differently."""
    assert type(decode_line(Share, encode_line(Share(share=1, figure=2.0))).share) is int


def at(document: dict[str, object], *names: str, to: object) -> None:
    """Set a value deep in a document."""
    for name in names[:-1]:
        document = document[name]  # type: ignore[assignment]
    document[names[-1]] = to


LIES: dict[str, tuple[Callable[[dict[str, object]], object], str]] = {
    "a missing field": (lambda d: d.pop("count"), "/count: the field of Outer is missing"),
    "a missing field deep": (lambda d: d["inner"].pop("name"), "/inner/name: the field of Inner is missing"),
    "an unknown field": (lambda d: d.update(extra=1), "/extra: Outer has no such field"),
    "bool for int": (lambda d: d.update(count=True), "/count: True is not int"),
    "int for bool": (lambda d: d.update(yes=1), "/yes: 1 is not bool"),
    "float for int": (lambda d: d.update(count=3.0), "/count: 3.0 is not int"),
    "str for int": (lambda d: d.update(count="3"), "/count: '3' is not int"),
    "int for str": (lambda d: at(d, "inner", "name", to=3), "/inner/name: 3 is not str"),
    "str for float": (lambda d: d.update(share="0.5"), "/share: '0.5' is not a finite number"),
    "bool for float": (lambda d: d.update(share=True), "/share: True is not a finite number"),
    "null for float": (lambda d: d.update(share=None), "/share: None is not a finite number"),
    "a float beyond the largest": (lambda d: d.update(share=10**400), "/share"),
    "another word": (lambda d: d.update(mode="on"), "/mode: 'on' is not one of"),
    "a number as a word": (lambda d: d.update(mode=3.0), "/mode: 3.0 is not one of"),
    "another member": (lambda d: d.update(colour="green"), "/colour: 'green' is not Colour"),
    "bool for a member": (lambda d: d.update(level=True), "/level: True is not Level"),
    "another key": (lambda d: d.update(by_colour={"green": 1.0}), "/by_colour: 'green' is not Colour"),
    "no path": (lambda d: d.update(path="a\0b"), "/path"),
    "no time": (lambda d: d.update(at="yesterday"), "/at: 'yesterday' is not a time with a zone"),
    "no zone": (lambda d: d.update(at="2026-03-01T00:00:00"), "/at"),
    "text for a list": (lambda d: d.update(words="ab"), "/words: 'ab' is not a list"),
    "a list for an object": (lambda d: d.update(rest=[]), r"/rest: \[\] is not an object"),
    "a pair of three": (
        lambda d: d.update(pairs=[["int64[2]", "x", "y"]]),
        "/pairs/0: .* is not a list",
    ),
    "an item deep": (lambda d: at(d, "inner", "shares", to=[0.5, "x"]), "/inner/shares/1: 'x' is not"),
    "a list for a record": (lambda d: d.update(inner=[]), r"/inner: \[\] is not an object with the fields"),
    "no tag": (lambda d: d.update(one_of={"name": "x"}), "/one_of: .* is not Inner or Other"),
    "another tag": (lambda d: at(d, "one_of", "type", to="Outer"), "/one_of: .* is not Inner or Other"),
    "another shape": (
        lambda d: d.update(p_N="float64[3]"),
        r"/p_N: the archive holds float64",
    ),
    "no array": (lambda d: d.update(other_NC=None, by_name={}), "/by_name/a%2Fb/at_N: the archive holds an"),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_document_that_is_not_such_a_record_is_refused_with_the_path_of_the_field(
    path: Path, lie: str
) -> None:
    """The answer of another process is checked before anything is computed from it."""
    change, said = LIES[lie]
    document = json.loads(path.read_bytes())
    change(document)
    path.write_text(json.dumps(document))
    with pytest.raises(RecordError, match=f"^{said}"):
        read_record(Outer, path)


ARRAYS: dict[str, tuple[dict[str, np.ndarray | None], str]] = {
    "another dtype": ({"/p_N": np.zeros(2, np.float32)}, r"/p_N: float32\[2\] is not float64"),
    "more dimensions": ({"/p_N": np.zeros((2, 1))}, r"/p_N: float64\[2, 1\] does not have 1 dimensions"),
    "fewer dimensions": ({"/other_NC": np.zeros(2)}, r"/other_NC: float64\[2\] does not have 2 dimensions"),
    "a missing array": ({"/p_N": None}, "/p_N: the archive does not hold this array"),
    "a missing optional array": ({"/other_NC": None}, "/other_NC: the archive does not hold this array"),
    "an unknown array": ({"/q_N": np.zeros(2)}, "/q_N: the archive holds an array that the record does not"),
    "an object": ({"/p_N": np.array([None, {}])}, "no whole archive: .*pickle"),
}


@pytest.mark.parametrize("lie", ARRAYS)
def test_arrays_are_held_against_the_declaration(path: Path, lie: str) -> None:
    """The dtype is declared, and the suffix of a name counts its dimensions."""
    changes, said = ARRAYS[lie]
    with np.load(path.with_suffix(".npz")) as stored:
        arrays = {**stored, **changes}
    np.savez(path.with_suffix(".npz"), **{name: array for name, array in arrays.items() if array is not None})
    with pytest.raises(RecordError, match=f"^{said}"):
        read_record(Outer, path)


FILES: dict[str, tuple[Callable[[Path], object], str]] = {
    "no file": (lambda path: path.unlink(), "cannot be read: No such file"),
    "empty": (lambda path: path.write_bytes(b""), "no JSON"),
    "torn": (lambda path: os.truncate(path, 50), "no JSON"),
    "no UTF-8": (lambda path: path.write_bytes(b"\xff\xfe\xff"), "no JSON"),
    "nested without end": (lambda path: path.write_bytes(b"[" * 9_000), "no JSON"),
    "a list": (lambda path: path.write_text("[]"), "the record: .* is not an object"),
    "twice a key": (lambda path: path.write_text('{"count": 1, "count": 2}'), "count: the key occurs twice"),
    "NaN": (lambda path: path.write_text('{"share": NaN}'), "NaN is not JSON"),
    "infinity": (lambda path: path.write_text('{"share": -Infinity}'), "-Infinity is not JSON"),
    "too large": (lambda path: path.write_bytes(b" " * 20_000), "larger than 10,000 bytes"),
    "torn arrays": (lambda path: os.truncate(path.with_suffix(".npz"), 300), "no whole archive"),
    "no arrays": (lambda path: path.with_suffix(".npz").unlink(), "/p_N: the archive does not hold"),
    "large arrays": (
        lambda path: np.savez(path.with_suffix(".npz"), x=np.zeros(5000)),
        "larger than 10,000 bytes",
    ),
    "a bomb": (
        lambda path: np.savez_compressed(path.with_suffix(".npz"), x=np.zeros(10**6)),
        "the arrays take 8,000,128 bytes, more than 10,000",
    ),
}


@pytest.mark.parametrize("what", FILES)
def test_a_file_that_is_missing_torn_or_too_large_is_refused(path: Path, what: str) -> None:
    """One error for all of them, so that a reader catches one."""
    spoil, said = FILES[what]
    spoil(path)
    with pytest.raises(RecordError, match=said):
        read_record(Outer, path, max_bytes=10_000)


@pytest.mark.parametrize(
    "change",
    [
        {"count": True},
        {"share": math.nan},
        {"share": math.inf},
        {"words": ["a"]},
        {"words": (1,)},
        {"p_N": np.zeros(2, np.float32)},
        {"p_N": np.zeros((2, 2))},
        {"at": datetime(2026, 3, 1)},  # noqa: DTZ001  without a zone on purpose
        {"one_of": None},
        {"by_colour": {"red": 1.0}},
        {"rest": {"a": {1}}},
        {"rest": {1: "a"}},
    ],
    ids=str,
)
def test_what_does_not_have_its_declared_type_is_not_written(change: dict[str, object]) -> None:
    """A bug of ours shows where it is made, not in another process."""
    with pytest.raises(TypeError):
        encode_record(replace(RECORD, **change))


@dataclass(frozen=True, slots=True, kw_only=True)
class Untold:
    """A union whose members look the same in JSON."""

    value: int | str


@dataclass(frozen=True, slots=True, kw_only=True)
class TwiceNull:
    """A null with two meanings."""

    value: Figure | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Unordered:
    """A set would come back in another order."""

    value: frozenset[int]


@pytest.mark.parametrize("record", [Untold(value=1), TwiceNull(value=1.0), Unordered(value=frozenset())])
def test_a_type_without_a_form_is_refused(record: object) -> None:
    """The codec understands a type exactly or not at all."""
    with pytest.raises(TypeError, match=r"form|meaning"):
        encode_record(record)


def test_a_line_has_no_place_for_arrays() -> None:
    """Progress is one line a report."""
    with pytest.raises(TypeError, match="no place in a line"):
        encode_line(Inner(name="a", at_N=np.zeros(1, np.int64), shares=()))


def test_an_archive_of_the_first_edition_is_read() -> None:
    """It has null where an array is, and NaN literals."""
    text = b'{"inner": null, "figure": NaN, "p_N": null}'
    buffer = __import__("io").BytesIO()
    np.savez(buffer, **{"/p_N": np.ones(2), "record.json": np.frombuffer(text, dtype=np.uint8)})
    record = decode_record(Old, buffer.getvalue())
    assert math.isnan(record.figure)
    assert record.inner is None
    np.testing.assert_array_equal(record.p_N, np.ones(2))


@dataclass(frozen=True, slots=True, kw_only=True)
class Old:
    """A record of the first edition."""

    inner: Other | None
    figure: Figure
    p_N: Floats | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Grown:
    """A record whose later fields have defaults."""

    name: str
    p_N: Floats | None = None
    by_name: Mapping[str, Floats] = field(default_factory=dict)


def older(record: object, *names: str, arrays: bool = True) -> bytes:
    """Return the archive of a record without some of its fields, with or without their arrays."""
    with np.load(io.BytesIO(encode_record(record))) as stored:
        found = {name: stored[name] for name in stored.files if not (arrays and name.strip("/") in names)}
    document = json.loads(found["record.json"].tobytes())
    for name in names:
        del document[name]
    found["record.json"] = np.frombuffer(json.dumps(document).encode(), dtype=np.uint8)
    buffer = io.BytesIO()
    np.savez(buffer, **found)
    return buffer.getvalue()


def test_evidence_may_be_older_than_a_field_with_a_default() -> None:
    """It is judged again with the fields that it has."""
    record = Grown(name="old", p_N=np.ones(2))
    read = decode_record(Grown, older(record, "p_N", "by_name"))
    assert (read.name, read.p_N, read.by_name) == ("old", None, {})
    with pytest.raises(RecordError, match="/name: the field of Grown is missing"):
        decode_record(Grown, older(record, "name"))


def test_a_missing_field_does_not_hide_its_array() -> None:
    """An array that the JSON does not name is a torn record, not an old one."""
    with pytest.raises(RecordError, match="the archive holds an array that the record does not have"):
        decode_record(Grown, older(Grown(name="new", p_N=np.ones(2)), "p_N", arrays=False))


def test_an_answer_is_of_today_and_has_every_field(tmp_path: Path) -> None:
    """An empty object would pass for an answer of defaults."""
    path = tmp_path / "grown.json"
    path.write_text('{"name": "new"}')
    for read in (lambda: read_record(Grown, path), lambda: decode_line(Grown, b'{"name": "new"}')):
        with pytest.raises(RecordError, match="is missing"):
            read()
