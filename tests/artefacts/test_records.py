"""Records survive the way to the disk to the last bit; what is no record is refused."""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clm.artefacts.records import encode_record, read_record
from clm.domain.sample import Bytes8, Floats, Ints


@dataclass(frozen=True, kw_only=True)
class Inner:
    """A record within one."""

    name: str
    at_N: Ints
    shares: tuple[float | None, ...]


@dataclass(frozen=True, kw_only=True)
class Outer:
    """Every kind of field there is."""

    p_N: Floats
    label_N: Bytes8
    other_N: Floats | None
    inner: Inner | None
    many: tuple[Inner, ...]
    figure: float
    count: int
    yes: bool
    words: tuple[str, ...] = ()


floats = st.floats(allow_nan=True, allow_infinity=True)
arrays = st.lists(floats, max_size=5).map(lambda values: np.array(values, np.float64))
inners = st.builds(
    Inner,
    name=st.text(max_size=5),
    at_N=st.lists(st.integers(-(2**63), 2**63 - 1), max_size=4).map(lambda v: np.array(v, np.int64)),
    shares=st.lists(st.none() | floats, max_size=4).map(tuple),
)
outers = st.builds(
    Outer,
    p_N=arrays,
    label_N=st.lists(st.integers(-1, 1), max_size=4).map(lambda v: np.array(v, np.int8)),
    other_N=st.none() | arrays,
    inner=st.none() | inners,
    many=st.lists(inners, max_size=3).map(tuple),
    figure=floats,
    count=st.integers(-(10**20), 10**20),
    yes=st.booleans(),
    words=st.lists(st.text(max_size=3), max_size=3).map(tuple),
)


def bits(value: object) -> object:
    """Return what two equal records have in common to the last bit, NaN and -0.0 included."""
    if isinstance(value, np.ndarray):
        return (value.dtype.str, value.shape, value.tobytes())
    if isinstance(value, tuple):
        return [bits(item) for item in value]
    if hasattr(value, "__dataclass_fields__"):
        return {name: bits(getattr(value, name)) for name in value.__dataclass_fields__}
    return value.hex() if isinstance(value, float) and not math.isnan(value) else repr(value)


@settings(deadline=None)
@given(outers)
def test_a_record_is_the_same_to_the_last_bit(
    tmp_path_factory: pytest.TempPathFactory, record: Outer
) -> None:
    """What is judged again must be what was judged."""
    path = tmp_path_factory.getbasetemp() / "record.npz"
    path.write_bytes(encode_record(record))
    again = read_record(Outer, path)
    assert bits(again) == bits(record)
    assert encode_record(again) == encode_record(record)


@pytest.mark.parametrize(
    ("kind", "said"), [(Inner, "holds"), (Outer, "wanted")], ids=["another record", "another field"]
)
def test_another_record_is_refused(tmp_path: Path, kind: type, said: str) -> None:
    """A file of another version of the program must not be read as if it fitted."""

    @dataclass
    class Other:
        p_N: Floats
        label_N: Bytes8
        other_N: None
        inner: None
        many: tuple[Inner, ...]
        figure: str
        count: int
        yes: bool
        words: tuple[str, ...]

    other = Other(np.zeros(1), np.zeros(1, np.int8), None, None, (), "0.5", 1, True, ())
    path = tmp_path / "record.npz"
    path.write_bytes(encode_record(other))
    with pytest.raises(TypeError, match=said):
        read_record(kind, path)


def test_what_has_no_form_is_a_broken_promise() -> None:
    """A set would come back in another order."""
    with pytest.raises(TypeError, match="set has no form"):
        encode_record(Inner(name="a", at_N=np.zeros(0, np.int64), shares={1.0}))  # type: ignore[arg-type]
