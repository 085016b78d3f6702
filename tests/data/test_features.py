"""Feature texts to a matrix (faults B2-B4, B6, B9)."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.data.rows import NAMES, parsed, raw_row

GOOD_NAMES = json.dumps(NAMES)


def features_of_rows(*texts, names=GOOD_NAMES, requested=()):
    rows = [raw_row(n, features=t, feature_names=names) for n, t in enumerate(texts, 1)]
    return parsed(rows, requested)


def test_array_and_object_say_the_same():
    """Both forms stand in the same column."""
    array = features_of_rows("[1, 2.5, -3]")
    an_object = features_of_rows('{"rsi": 1, "volatility": 2.5, "momentum": -3}', names=None)

    assert array.feature_names == an_object.feature_names == NAMES
    np.testing.assert_array_equal(array.features_RC, [[1, 2.5, -3]])
    np.testing.assert_array_equal(array.features_RC, an_object.features_RC)


def test_text_and_bytes_say_the_same():
    """The store is read with text_factory=bytes, so that one broken text cannot end a SELECT."""
    as_bytes = parsed(
        [tuple(v.encode() if isinstance(v, str) else v for v in raw_row(n)) for n in range(1, 9)]
    )
    as_text = parsed([raw_row(n) for n in range(1, 9)])

    assert len(as_bytes) == 8
    assert as_bytes.symbols == as_text.symbols
    np.testing.assert_array_equal(as_bytes.features_RC, as_text.features_RC)
    np.testing.assert_array_equal(as_bytes.resolved_at_R, as_text.resolved_at_R)


def test_b4_features_are_read_by_name_not_by_place():
    """A writer that changed the order of its names must not swap two features."""
    table = parsed(
        [
            raw_row(1, features="[1, 2, 3]"),
            raw_row(2, features="[3, 1, 2]", feature_names='["momentum", "rsi", "volatility"]'),
            raw_row(3, features='{"volatility": 2, "momentum": 3, "rsi": 1}'),
            raw_row(4, features="[1, 2, 3]"),
        ]
    )

    assert table.feature_names == NAMES
    np.testing.assert_array_equal(table.features_RC, [[1, 2, 3]] * 4)


def test_b4_arrays_alone_are_read_by_name_too():
    """Rows that look alike are read together; the order of their names still counts."""
    table = parsed(
        [
            raw_row(1, features="[3, 1, 2]", feature_names='["momentum", "rsi", "volatility"]'),
            raw_row(2, features="[1, 2, 3]"),
        ]
    )

    assert table.feature_names == NAMES
    np.testing.assert_array_equal(table.features_RC, [[1, 2, 3]] * 2)


def test_b2_a_name_given_twice_among_rows_that_are_alike_is_found():
    """The last value would win in silence."""
    good = '{"rsi": 1, "volatility": 2, "momentum": 3}'
    table = features_of_rows(good, '{"rsi": 1, "volatility": 2, "rsi": 7, "momentum": 3}', good)

    assert table.rejected == {"features_repeated_name": 1}


def test_b4_an_object_follows_feature_names_where_they_fit():
    """A database that stores JSON as such reorders keys; the order of the model's inputs must not follow."""
    table = features_of_rows('{"volatility": 2, "momentum": 3, "rsi": 1}')

    assert table.feature_names == NAMES
    np.testing.assert_array_equal(table.features_RC, [[1, 2, 3]])


def test_b4_the_newest_contract_wins_and_the_others_are_counted():
    """Vectors of different length cannot be trained on together."""
    old = [raw_row(n, features="[1, 2]", feature_names='["rsi", "volatility"]') for n in range(1, 4)]
    new = [raw_row(n) for n in range(4, 6)]

    table = parsed([*new, *old])

    assert table.feature_names == NAMES
    assert table.sample_id_R.tolist() == [4, 5]
    assert table.rejected == {"other_features": 3}


def test_b4_a_broken_newest_row_does_not_decide_the_contract():
    """One writer's accident must not set aside a whole history."""
    table = parsed([raw_row(1), raw_row(2), raw_row(3, features='{"error": "no data"}')])

    assert table.feature_names == NAMES
    assert table.rejected == {"features_not_numbers": 1}


def test_requested_features_are_taken_in_their_order_from_rows_that_carry_more():
    """CLM_FEATURES lets old and new samples train together, and sets a broken feature aside."""
    table = features_of_rows(
        "[1, 2, 3]", '{"momentum": 6, "rsi": 4, "other": null}', requested=("momentum", "rsi")
    )

    assert table.feature_names == ("momentum", "rsi")
    np.testing.assert_array_equal(table.features_RC, [[3, 1], [6, 4]])


def test_a_requested_feature_that_is_not_there_is_named_never_filled():
    """Missing is not zero."""
    table = features_of_rows("[1, 2, 3]", requested=("rsi", "rsi_14"))

    assert table.missing_features == ("rsi_14",)
    assert table.available_features == NAMES
    assert table.feature_names == ("rsi",)


def test_an_array_without_names_gets_numbered_ones():
    """feature_names is nullable in the store."""
    assert features_of_rows("[1, 2]", names=None).feature_names == ("f0", "f1")


NASTY = {
    "": "features_missing",
    "   ": "features_missing",
    "null": "features_missing",
    "[]": "features_missing",
    "{}": "features_missing",
    "0": "features_wrong_form",
    "true": "features_wrong_form",
    '"[1,2,3]"': "features_wrong_form",
    "[1, 2": "features_not_json",
    "[1, 2, 3] x": "features_not_json",
    "[1, 2, 3],[4, 5, 6]": "features_not_json",
    "[1, 2, 03]": "features_not_json",
    "[" * 100_000: "features_too_long",
    "[" * 5_000: "features_not_json",
    "[NaN, 1, 2]": "features_not_finite",
    "[1, Infinity, 2]": "features_not_finite",
    "[1, -Infinity, 2]": "features_not_finite",
    "[1, 2, 1e999]": "features_not_finite",
    "[1, 2, " + "9" * 5_000 + "]": "features_not_json",
    '[1, 2, "3"]': "features_not_numbers",
    "[1, 2, true]": "features_not_numbers",
    "[1, 2, null]": "features_not_numbers",
    "[1, 2, [3]]": "features_not_numbers",
    '[1, 2, {"a": 3}]': "features_not_numbers",
    "[1, 2, 1e13]": "features_huge",
    "[1, 2, -9223372036854775809]": "features_huge",
    "[1, 2, 18446744073709551615]": "features_huge",
    '{"rsi": 1, "volatility": 2, "momentum": 3, "rsi": 4}': "features_repeated_name",
    '{"rsi": 1, "volatility": 2, "momentum": 3, "\\u0072si": 4}': "features_repeated_name",
    '{"rsi": 1, "volatility": 2, "momentum": {"a": 1}}': "features_not_numbers",
    '{"rsi": 1, "volatility": 2}': "other_features",
    "[1, 2, 3, 4]": "feature_names_unusable",
    b"\xff\xfe[1, 2, 3]": "features_not_utf8",
    '["\ud800", 1, 2]': "features_not_utf8",
    None: "features_missing",
    7: "features_wrong_form",
}


@pytest.mark.parametrize(("nasty", "reason"), NASTY.items(), ids=lambda value: repr(value)[:40])
def test_b2_b3_b6_b9_a_bad_text_is_rejected_by_reason_and_spoils_no_other(nasty, reason):
    """A bad row is counted, never filled in, and never the end of the reading."""
    table = parsed([raw_row(1), raw_row(2, features=nasty), raw_row(3)])

    assert table.rejected == {reason: 1}
    assert table.sample_id_R.tolist() == [1, 3]
    assert np.isfinite(table.features_RC).all()


@pytest.mark.parametrize(
    "names", ["", "[", '["a", "a", "b"]', '["a", "b"]', '["a", 1, "b"]', '{"a": 1}', b"\xff", 5]
)
def test_b4_an_array_whose_names_do_not_fit_is_rejected(names):
    """Without certain names a number is only a number."""
    table = parsed([raw_row(1, feature_names=names), raw_row(2)])

    if names == "":
        assert table.rejected == {"other_features": 1}  # no names at all: f0, f1, f2
    else:
        assert table.rejected == {"feature_names_unusable": 1}


def test_b2_two_broken_rows_never_make_up_a_whole_one():
    """Texts are parsed joined; a text that closes what another opened must not slip through."""
    for torn in (
        ("[1, 2, 3", "4],[5, 6, 7]"),
        ("[1, 2, 3],[4, 5, 6]", ""),
        ("[1, 2, 3],[[4]", "[5, 6, 7]]"),
        ('{"rsi":1,"volatility":2,"momentum":3},{"rsi":1', '"volatility":2,"momentum":3}'),
    ):
        table = parsed([raw_row(n, features=t) for n, t in enumerate(torn, 1)])
        assert len(table) == 0, torn
        assert sum(table.rejected.values()) == 2


def test_b2_a_brace_in_a_name_cannot_tear_rows_apart():
    """Two halves joined inside a name would otherwise count as one row and let a double row in."""
    torn = '{"a},{b": 1'
    rows = [
        raw_row(1, features='{"a}'),
        raw_row(2, features='{b": 1}'),
        raw_row(3, features='{"a},{b": 1},{"a},{b": 2}'),
        raw_row(4, features=torn + "}"),
    ]

    table = parsed(rows)

    assert table.sample_id_R.tolist() == [4]
    assert table.rejected == {"features_not_json": 3}


numbers = st.integers(-(10**11), 10**11) | st.floats(-1e11, 1e11, allow_nan=False)


@given(
    rows=st.lists(st.lists(numbers, min_size=3, max_size=3), min_size=1, max_size=20),
    bad_at=st.integers(0, 20),
)
@settings(max_examples=60, deadline=None)
def test_rows_read_together_and_rows_read_alone_give_the_same_numbers(rows, bad_at):
    """A bad row makes its neighbours take the careful path; that must not show in their values."""
    texts = [json.dumps(row) for row in rows]
    together = features_of_rows(*texts)
    alone = parsed(
        [
            *(raw_row(n, features=t) for n, t in enumerate(texts, 1)),
            raw_row(500, features="[1,"),
        ]
    )

    np.testing.assert_array_equal(together.features_RC, alone.features_RC)
    np.testing.assert_array_equal(together.features_RC, np.array(rows, dtype=np.float64))


json_values = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=8,
)
texts = (
    st.text(max_size=40)
    | st.binary(max_size=40)
    | json_values.map(json.dumps)
    | st.sampled_from(sorted(map(str, NASTY), key=len)[:20])
    | st.just("[1, 2, 3]")
)


@given(
    st.lists(st.tuples(texts, texts | st.just(GOOD_NAMES)), max_size=12),
    st.sampled_from([(), ("rsi",), ("x",)]),
)
@settings(max_examples=300, deadline=None)
def test_b2_no_text_makes_the_reading_raise_and_the_counts_add_up(pairs, requested):
    """Features come from strangers; whatever they write, every row is either used or counted."""
    table = parsed(
        [raw_row(n, features=f, feature_names=names) for n, (f, names) in enumerate(pairs, 1)], requested
    )

    assert table.rows_read == len(pairs) == len(table) + sum(table.rejected.values())
    assert table.features_RC.shape == (len(table), len(table.feature_names))
    assert np.isfinite(table.features_RC).all()
