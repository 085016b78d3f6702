"""Sample tables made by chance: mostly sound, with whatever a writer may do wrong."""

import json
import random
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import numpy as np

from clm.data.columns import Gathering, SampleColumns
from clm.data.reading import RAW_COLUMNS, RawSamples, parse_samples
from clm.domain.sample import SampleTable
from clm.store.existing import SAMPLE_COLUMNS
from clm.store.sample_rows import Window, read_range
from tests.data.reference import parse_one_by_one
from tests.data.test_features import NASTY

CUTOFF = datetime(2026, 1, 1, tzinfo=UTC)
NAMES = ("rsi", "volatility", "momentum")
_TABLE = ", ".join(
    # Without NOT NULL: other stores may lack it, and no row may end a reading.
    f"{name} {form.replace('NOT NULL', '').split('REFERENCES')[0]}"
    for name, form in SAMPLE_COLUMNS.items()
)


class AsText(bytes):
    """Bytes that lie in the store as TEXT, whatever they are."""


def sound_row(rng: random.Random, number: int) -> dict[str, object]:
    """A row as the engine writes it."""
    decided_at = CUTOFF - timedelta(hours=rng.randrange(1, 500), microseconds=rng.randrange(3))
    values = [rng.gauss(0, 1), rng.randrange(-9, 9), rng.random() * 10 ** rng.randrange(-20, 11)]
    is_open = rng.random() < 0.1
    stored = "%Y-%m-%d %H:%M:%S.%f" if rng.random() < 0.9 else "%Y-%m-%d %H:%M:%S"
    return {
        "id": number,
        "symbol": rng.choice(("BTCUSDT", "ETHUSDT", "ADAUSDT")),
        "timestamp": decided_at.strftime(stored),
        "features": json.dumps(values),
        "feature_names": json.dumps(NAMES),
        "execution_side": rng.choice(("BUY", "SELL", None)),
        "entry_price": rng.choice((100.0, 3, 1e-8)),
        "exit_price": None if is_open else rng.random() * 1e4,
        "exit_time": None
        if is_open
        else (decided_at + timedelta(hours=rng.randrange(1, 9))).strftime(stored),
        "outcome_known": 0 if is_open else 1,
        "realized_pnl": None if is_open else rng.gauss(0, 1),
        "target_class": None if is_open else rng.choice(("WIN", "LOSS", "NEUTRAL")),
    }


def feature_text(rng: random.Random) -> object:
    """A text as a stranger might write it: near to right, or far from it."""
    kind = rng.randrange(9)
    if kind == 0:
        return rng.choice(list(NASTY))
    values = [rng.choice((1, -2.5, 0.1 * rng.randrange(99), True, None, "1", 1e13, 2**70)) for _ in range(3)]
    if kind <= 3:
        values = [rng.gauss(0, 1) for _ in range(rng.choice((3, 3, 3, 2, 4, 0)))]
    names = rng.sample((*NAMES, "f0", "a{b", "a}b", "a,b", "[", ""), 3) if kind % 2 else list(NAMES)
    document = json.dumps(values if rng.random() < 0.6 else dict(zip(names, values, strict=False)))
    if kind >= 7:  # torn, spliced, spoilt
        at = rng.randrange(len(document) + 1)
        document = rng.choice(
            (
                document[:at],
                document[at:],
                document[:at] + rng.choice('[]{},:"0 \0é') + document[at:],
                f"{document},{document}",
                f" {document}",
                document.replace(" ", ""),
            )
        )
    if rng.random() < 0.05:
        return AsText(document.encode() + rng.choice((b"\xff", b"\xed\xa0\x80", b"\0")))
    return document.encode() if rng.random() < 0.05 else document


BROKEN: dict[str, tuple[object, ...]] = {
    "symbol": (
        None, "", "A,B", "'; DROP TABLE x; --", "🚀" * 9, "A" * 5000, "A\0B", 5, b"BTCUSDT", b"\xff",
        AsText(b"\xff1"), AsText(b"BTC\xed\xa0\x80"), "BTCUSDT ",
    ),
    "timestamp": (
        None, "", "soon", 1767225600, 1767225600.5, "2025-02-30 00:00:00", "2025-12-31T23:00:00Z",
        "2025-12-31 23:00:00+02:00", "2025-12-31 23:00", "2025-12-31 23:00:00,123456",
        "1970-01-01 00:00:00", "2026-01-01 00:00:00.000001", "2026-01-01 00:00:00",
        "9999-12-31 23:59:59.999999", b"2025-12-31 01:00:00", "2025-12-31 24:00:00.000000",
        "2025-12-31 23:60:00.000000", "2025/12/31 01:00:00.000000", "2025-12-31 01.00:00.000000",
        "2025-00-31 23:00:00.000000", "2025-12-31 23:00:00.00000,", "2025-12-31 23:00:00.000000\0",
        "2025-12-3１ 23:00:00", "2000-01-01 00:00:00.000000", "1999-12-31 23:59:59.999999",
        "2099-12-31 23:59:59.999999", AsText(b"\xff025-12-31 23:00:00.00000"),
    ),
    "feature_names": (
        None, "", "null", "[", '["a", "b"]', '["momentum", "rsi", "volatility"]', '["a", "b", 3]', 5,
        json.dumps(NAMES).encode(), AsText(b'["\xff"]'), '["rsi","volatility","momentum"]',
    ),
    "execution_side": ("buy", "HOLD", b"BUY", 1, "", "BUY\0", AsText(b"\xff")),
    "entry_price": (
        None, 0, -1.0, "abc", float("inf"), "1_0", b"2.5", 1e308, 5e-324, 2**62, " 7 ", "nan",
    ),
    "exit_price": (
        None, 0, -1.0, "abc", float("-inf"), "1_0", b"2.5", 1e308, 5e-324, 2**62, "infinity",
    ),
    "outcome_known": (None, 0, 1, 2, 1.0, "1", "true", b"true", b"1", "yes", 0.5),
    "realized_pnl": (None, 0, "abc", float("inf"), "1e999", b"\xff", b"-1.5", 2**62, "1_000"),
    "target_class": (None, "win", b"WIN", "WIN\0", 1, "", "NEUTRAL", AsText(b"\xfe")),
}  # fmt: skip
BROKEN["exit_time"] = BROKEN["timestamp"]


def generated_rows(rng: random.Random, *, most: int = 24) -> list[dict[str, object]]:
    """A small table; the share of rows with something wrong differs from one to the next."""
    spoilt_share = rng.choice((0.0, 0.0, 0.02, 0.2, 1.0))
    step = rng.choice((1, 1, 1, 3, 10**6, 2**55))
    rows = []
    for number in range(rng.randrange(most + 1)):
        row = sound_row(rng, 1 + number * step)
        if rng.random() < spoilt_share:
            for column in rng.sample((*BROKEN, "features"), rng.choice((1, 1, 2, 5))):
                row[column] = feature_text(rng) if column == "features" else rng.choice(BROKEN[column])
        rows.append(row)
    rng.shuffle(rows)
    return rows


@contextmanager
def table_of(rows: list[dict[str, object]]) -> Iterator[sqlite3.Connection]:
    """Give a connection on a sample table in memory."""
    connection = sqlite3.connect(":memory:", isolation_level=None)
    try:
        connection.text_factory = bytes
        connection.execute(f"CREATE TABLE ai_training_samples ({_TABLE})")
        insert(connection, rows)
        yield connection
    finally:
        connection.close()


def insert(connection: sqlite3.Connection, rows: list[dict[str, object]], **others: object) -> None:
    """Insert rows as they are, text that is no text included; `others` are values of further columns."""
    for row in rows:
        values = [*(_stored(row[name]) for name in RAW_COLUMNS), *others.values()]
        forms = ["CAST(? AS TEXT)" if type(row[name]) is AsText else "?" for name in RAW_COLUMNS]
        connection.execute(
            f"INSERT INTO ai_training_samples ({', '.join((*RAW_COLUMNS, *others))}) "
            f"VALUES ({', '.join(forms + ['?'] * len(others))})",
            values,
        )


def _stored(value: object) -> object:
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:
            return value.encode("utf-8", "surrogatepass")
    return bytes(value) if isinstance(value, AsText) else value


def raw_rows(connection: sqlite3.Connection) -> RawSamples:
    """What anybody reads out of the table."""
    query = f"SELECT {', '.join(RAW_COLUMNS)} FROM ai_training_samples ORDER BY id"
    return RawSamples(rows=connection.execute(query).fetchall())


def read_joined(connection: sqlite3.Connection) -> SampleColumns:
    """Read the table the fast way."""
    gathering = Gathering()
    first, last = connection.execute("SELECT min(id), max(id) FROM ai_training_samples").fetchone()
    if first is not None:
        read_range(connection, "ai_training_samples", "id", first, last, Window(), gathering)
    return gathering.finish()


def assert_same(ours: SampleTable, reference: SampleTable) -> None:
    """Compare to the last bit; what is only shown to people depends on the order of reading."""
    for field in SampleTable.__dataclass_fields__.keys() - {"examples", "spellings"}:
        mine, theirs = getattr(ours, field), getattr(reference, field)
        if isinstance(theirs, np.ndarray):
            assert mine.dtype == theirs.dtype, field
            assert mine.shape == theirs.shape, field
            np.testing.assert_array_equal(mine, theirs, err_msg=field)
        else:
            assert mine == theirs, field


def assert_read_like_the_reference(
    connection: sqlite3.Connection, requested: tuple[str, ...] = ()
) -> SampleTable:
    """Hold the fast way against the reference on the same rows."""
    raw = raw_rows(connection)
    table = parse_samples(read_joined(connection), cutoff=CUTOFF, features=requested)
    assert_same(table, parse_one_by_one(raw, cutoff=CUTOFF, features=requested))
    assert table.rows_read == len(raw.rows) == len(table) + sum(table.rejected.values())
    assert np.isfinite(table.features_RC).all()
    return table
