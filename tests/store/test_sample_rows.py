"""Rows joined in SQL and parsed at once: two broken ones never make up a whole one."""

import random

import pytest

from clm.data.columns import Gathering
from clm.store import sample_rows
from clm.store.sample_rows import Window, read_range
from tests.store.generated import (
    AsText,
    assert_read_like_the_reference,
    read_joined,
    sound_row,
    table_of,
)


@pytest.fixture
def one_by_one(monkeypatch) -> list[int]:
    """How many times rows had to be read one by one."""
    asked: list[int] = []
    read_each = sample_rows.read_each

    def counting(*arguments):
        asked.append(1)
        return read_each(*arguments)

    monkeypatch.setattr(sample_rows, "read_each", counting)
    return asked


def rows_of(*texts: object, **changes: object) -> list[dict[str, object]]:
    rng = random.Random(3)
    return [
        {**sound_row(rng, number), "features": text, **changes} for number, text in enumerate(texts, start=1)
    ]


def test_sound_rows_are_read_at_once(one_by_one):
    """Else all the rest here would test nothing."""
    rng = random.Random(1)
    with table_of([sound_row(rng, number) for number in range(1, 5000)]) as connection:
        assert len(assert_read_like_the_reference(connection)) == 4999
    objects = ['{"rsi": 1, "volatility": 2, "momentum": 3}', '{"momentum": 3.5, "rsi": 1, "volatility": 2}']
    with table_of(rows_of(*objects)) as connection:
        table = assert_read_like_the_reference(connection)
        assert sorted(table.features_RC.tolist()) == [[1, 2, 3], [1, 2, 3.5]]
    with table_of(rows_of(*objects[:1] * 9, feature_names=None)) as connection:
        assert len(assert_read_like_the_reference(connection)) == 9
    assert one_by_one == []


@pytest.mark.parametrize(
    "torn",
    [
        ("[1, 2, 3", "4],[5, 6, 7]"),
        ("[1, 2", "3],[4, 5, 6]"),
        ("[1, 2, 3],[4, 5, 6]", ""),
        ("[1, 2, 3],[4, 5, 6]", "]"),
        ("[1, 2, 3],[[4]", "[5, 6, 7]]"),
        ("[[1, 2, 3", "[4, 5, 6]],7"),
        ("[[1", "[2]]],5"),
        ("[1,2,3],[4", "[5]]"),
        ('{"rsi":1,"volatility":2,"momentum":3},{"rsi":1', '"volatility":2,"momentum":3}'),
        ('{"a":[1', '{"b":2}]},5'),
        ('{"a}', '{b": 1}', '{"a},{b": 1},{"a},{b": 2}', '{"a},{b": 1}'),
        ('{"a":1,"b":{"a":1', '{"b":2}}', '{"a":1,"b":2},{"a":1,"b":2}'),
        ("[1,2,3]", "[1,2,3],[4,5,6]", "[7,8,9"),
        ("[1,2,3],", "[1,2,3]"),
        ("[]", "[[1,2,3],[4,5,6]]"),
        ("[1, 2, 3]", "[1, 2, 3] \0"),
        (" [1, 2, 3]", "[1, 2, 3]"),
        ("[1, 2, 3]", b"[1, 2, 3]"),
        ("[1, 2, 3]", AsText(b"[1, 2, \xff3]")),
        ("[1, 2, 3]", None),
        ("[1, 2, 3],[4, 5, 6]", None),
        ('{"rsi": 1},{"rsi": 2}', None),
        ("[1, true, 3]", "[1, 2, 3]"),
        ("[1, null, 3]", "[1, 2, 3]"),
        ("[1, NaN, 3]", "[1, 2, 3]"),
        ("[1, 1e999, 3]", "[1, 2, 3]"),
        ("[1, 2e12, 3]", "[1, 2, 3]"),
        ("[1, 18446744073709551616, 3]", "[1, 2, 3]"),
        ('[1, "2", 3]', "[1, 2, 3]"),
        ('{"rsi": 1, "volatility": "2", "momentum": 3}', '{"rsi": 1, "volatility": 2, "momentum": 3}'),
        ('{"rsi": 1, "volatility": 2, "momentum": 3, "rsi": 1}', '{"rsi": 1, "volatility": 2}'),
        ('{"rsi": 1, "volatility": 2, "rsi": 1}', '{"rsi": 1, "volatility": 2}'),
        ('{"rsi": 1, "volatility": 2, "momentum": 3}', "[1, 2, 3]"),
        ("[1, 2, 3]" + " " * 65_536, "[1, 2, 3]"),
        ("[1, 2, 3]" + " " * (65_536 - 9), "[1, 2, 3]"),
        ("[" * 60_000, "[1, 2, 3]"),
    ],
    ids=lambda texts: repr(texts)[:50],
)  # fmt: skip
def test_b2_b3_texts_that_fit_together_only_when_joined_are_told_apart(torn):
    """Texts are parsed joined: one that closes what another opened must not slip through."""
    with table_of(rows_of(*torn)) as connection:
        assert_read_like_the_reference(connection)
    with table_of(rows_of(*torn, feature_names=None)) as connection:
        assert_read_like_the_reference(connection)


@pytest.mark.parametrize(
    ("column", "first", "second"),
    [
        ("symbol", "A,B", "C"),
        ("symbol", "A,B", None),
        ("symbol", "", "A"),
        ("timestamp", "2025-12-31 01:00:00.000000,2025-12-31 02:00:00.000000", ""),
        ("timestamp", "2025-12-31 01:00:00.000000,2025-12-31 02:00:00.000000", None),
        ("timestamp", "2025/12/31 01:00:00.000000", "2025-12-31 01.00:00.000000"),
        ("timestamp", "2025-12-31 01:00:00,000000", "2025-12-31_01:00:00.000000"),
        ("timestamp", "2025-12-31 01:00:00.00000", "2025-12-31 01:00:00.0000000"),
        ("exit_time", "2025-12-31 01:00:00,5", ""),
        ("exit_time", "2025-12-31 01:00:00.0", "2025-12-31 01:00"),
        ("feature_names", '["rsi", "volatility", "momentum"]', None),
        ("feature_names", '["rsi", "volatility", "momentum"]', '["momentum", "rsi", "volatility"]'),
        ("feature_names", b'["rsi", "volatility", "momentum"]', "null"),
        ("realized_pnl", "1.5 ", " 2"),
        ("realized_pnl", float("inf"), None),
        ("execution_side", b"BUY", "SELL"),
        ("target_class", b"WIN", "LOSS"),
        ("outcome_known", "true", b"1"),
        ("entry_price", 0, -1),
    ],
)
def test_b5_b7_b14_values_beside_each_other_stay_what_they_are(column, first, second):
    """What is joined by commas may hold one, what is counted may be NULL, what is a number may be text."""
    closed = {} if column == "exit_time" else {"exit_time": None}
    rows = rows_of(*["[1, 2, 3]"] * 6, **closed)
    rows[1][column], rows[2][column] = first, second
    with table_of(rows) as connection:
        assert_read_like_the_reference(connection)


def test_b4_two_layouts_that_alternate_are_kept_apart():
    """Old and new rows lie side by side where ids do not follow time."""
    old, new = '{"rsi": 1, "volatility": 2}', "[4, 5, 6]"
    with table_of(rows_of(*[old, new] * 200)) as connection:
        table = assert_read_like_the_reference(connection)
    assert sum(table.rejected.values()) == 200


def test_b12_texts_of_a_megabyte_are_refused_without_being_held(one_by_one):
    """A thousand of them would be a gigabyte when joined; one by one each is cut before it gets here."""
    rows = rows_of(*["[1, 2, 3]"] * 40)
    for row in rows[5:38]:
        row["features"] = "[" + "1," * 500_000 + "1]"
    with table_of(rows) as connection:
        columns = read_joined(connection)
    assert [reject.reason for reject in columns.rejects] == ["features_too_long"] * 33
    assert columns.rows_read == 40
    assert one_by_one


def test_one_bad_row_among_many_does_not_make_all_of_them_slow(one_by_one):
    """A chunk in doubt is halved, so that only the neighbours of a bad row are read by themselves."""
    rng = random.Random(2)
    rows = [sound_row(rng, number) for number in range(1, 2049)]
    rows[1000]["features"] = "[1,"
    gathering = Gathering()
    with table_of(rows) as connection:
        assert_read_like_the_reference(connection)
        one_by_one.clear()
        read_range(connection, "ai_training_samples", "id", 1, 2048, Window(), gathering)
    assert len(one_by_one) == 1
