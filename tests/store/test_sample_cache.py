"""A cache says what the store says, or it is not used."""

import os
import random
import shutil
import sqlite3
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import clm
from clm.data.reading import parse_samples
from clm.domain.sample import SampleTable
from clm.errors import DataError
from clm.store import block_files, sample_cache, sample_growth, samples
from clm.store.create import create_store
from clm.store.sample_cache import SampleCache, _sealed, _unsealed
from clm.store.samples import SqliteSampleSource
from tests.fakes import FakeClock
from tests.store.conftest import look
from tests.store.generated import BROKEN, CUTOFF, assert_same, feature_text, insert, sound_row

REQUESTS = ((), ("momentum", "rsi"))


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Stores of a few rows meet what stores of a million do."""
    monkeypatch.setattr(sample_growth, "_NEWEST_PENDING", 3)
    monkeypatch.setattr(samples, "_COPIED_ROWS", 40)
    monkeypatch.setattr(samples, "_PROBES", 0)


class Grown:
    """A store, its cache, and a clock."""

    def __init__(self, directory: Path, seed: int = 0) -> None:
        self.path = directory / "store.db"
        create_store(self.path)
        self.rng = random.Random(seed)
        self.clock = FakeClock()
        self.directory = directory / "cache"
        self.next_id = 1

    def read(self, since: datetime | None = None, requested: tuple[str, ...] = ()) -> SampleTable:
        cache = SampleCache(self.directory, from_rows=0)
        source = SqliteSampleSource(self.path, self.clock, cache=cache)
        return parse_samples(source.read(since, 10**6), cutoff=CUTOFF, features=requested)

    def plain(self, since: datetime | None = None, requested: tuple[str, ...] = ()) -> SampleTable:
        columns = SqliteSampleSource(self.path, self.clock).read(since, 10**6)
        return parse_samples(columns, cutoff=CUTOFF, features=requested)

    def assert_true(self, since: datetime | None = None, requested: tuple[str, ...] = ()) -> None:
        assert_same(self.read(since, requested), self.plain(since, requested))

    def execute(self, sql: str, *values: object) -> None:
        with closing(sqlite3.connect(self.path)) as connection:
            connection.execute(sql, values)
            connection.commit()

    def insert(self, rows: int, *, spoilt: float = 0.0) -> None:
        new = []
        for _ in range(rows):
            row = sound_row(self.rng, self.next_id)
            if self.rng.random() < spoilt:
                column = self.rng.choice((*BROKEN, "features"))
                row[column] = (
                    feature_text(self.rng) if column == "features" else self.rng.choice(BROKEN[column])
                )
                if row[column] is None and column in ("symbol", "timestamp", "features"):
                    row[column] = ""  # NOT NULL here
            new.append({**row, "feature_names": row["feature_names"]})
            self.next_id += self.rng.choice((1, 1, 1, 7))
        with closing(sqlite3.connect(self.path)) as connection:
            insert(connection, new, predicted_action="BUY", prediction_score=0.5, prediction_confidence=0.5)
            connection.commit()

    def wait(self, hours: float) -> None:
        self.clock = FakeClock(self.clock.now() + timedelta(hours=hours))

    def label(self) -> None:
        """Close some trades that were open: what `id > last seen` never sees."""
        self.execute(
            "UPDATE ai_training_samples SET outcome_known = 1, exit_price = 7.5, realized_pnl = 0.25, "
            "target_class = 'WIN', exit_time = datetime(timestamp, '+1 hours') "
            "WHERE outcome_known = 0 AND abs(random()) % 2"
        )

    def repair(self) -> None:
        """Write good features into rows whose features were bad or whose label was missing."""
        self.execute(
            "UPDATE ai_training_samples SET features = '[1, 2, 3]', symbol = 'BTCUSDT' "
            "WHERE (typeof(features) = 'text' AND NOT json_valid(features)) OR outcome_known IS 0 "
            "OR symbol = ''"
        )

    def delete(self) -> None:
        self.execute("DELETE FROM ai_training_samples WHERE abs(random()) % 9 = 0")

    def correct_the_newest(self) -> None:
        self.execute(
            "UPDATE ai_training_samples SET realized_pnl = -9.5, target_class = 'LOSS', timestamp = "
            "ifnull(datetime(timestamp, '-10 minutes'), '') "
            "WHERE id > (SELECT max(id) FROM ai_training_samples) - 3"
        )

    def step(self, kind: str) -> None:
        {
            "insert": lambda: self.insert(self.rng.randrange(1, 30)),
            "many": lambda: self.insert(self.rng.randrange(50, 120), spoilt=0.02),
            "spoilt": lambda: self.insert(self.rng.randrange(1, 9), spoilt=0.7),
            "label": self.label,
            "repair": self.repair,
            "delete": self.delete,
            "newest": self.correct_the_newest,
            "time": lambda: self.wait(7),
        }[kind]()


STEPS = ("insert", "many", "spoilt", "label", "repair", "delete", "newest", "time")


@given(
    seed=st.integers(0, 2**32),
    steps=st.lists(
        st.tuples(st.sampled_from(STEPS), st.sampled_from(REQUESTS), st.integers(0, 30)), max_size=8
    ),
)
@settings(max_examples=60, deadline=None)
def test_a_cached_read_is_a_full_read_whatever_was_inserted_labelled_repaired_or_removed(
    seed, steps, tmp_path_factory
):
    """`id > last seen` would miss every label that came later, and that is most of them."""
    grown = Grown(tmp_path_factory.mktemp("grown"), seed)
    grown.insert(60, spoilt=0.05)
    grown.assert_true()
    for kind, requested, days in steps:
        grown.step(kind)
        grown.assert_true(CUTOFF - timedelta(days=days) if days else None, requested)


@pytest.fixture
def grown(tmp_path) -> Grown:
    """A store whose rows are settled and cached."""
    made = Grown(tmp_path)
    made.insert(300)
    made.read()
    return made


def reads_of(statements: list[str]) -> list[str]:
    return [s for s in statements if "group_concat(features" in s or "group_concat(ifnull(features" in s]


def test_only_new_and_pending_rows_are_read_again(grown, statements):
    """Else it would be no cache."""
    grown.insert(5)
    pending = look(grown.path, "SELECT count(*) FROM ai_training_samples WHERE outcome_known = 0")[0][0]
    statements.clear()
    grown.read()
    (copy,) = [s for s in statements if s.startswith("CREATE TABLE snapshot.copied")]
    (count,) = [s for s in statements if "count(*) FROM main" in s]
    assert "json_each" in copy
    assert count
    manifest = _unsealed((grown.directory / "manifest").read_bytes())
    assert len(manifest["pending"]) <= pending + 5 + 3
    assert sum(block["rows"] for block in manifest["blocks"]) >= 250
    assert not [s for s in statements if "NOT INDEXED WHERE id" in s and "main." in s]


def change_settled(grown: Grown, where: str) -> None:
    """Rewrite rows that were settled, as a script that repairs a store might."""
    grown.execute(f"UPDATE ai_training_samples SET realized_pnl = -77.0 WHERE outcome_known = 1 AND {where}")


def test_a_settled_row_that_is_rewritten_is_seen_when_the_cache_is_too_old(grown):
    """After 24 hours at most: only reading all rows can detect it."""
    change_settled(grown, "id = (SELECT min(id) FROM ai_training_samples WHERE outcome_known = 1)")
    assert -77.0 not in grown.read().pnl_R
    grown.wait(24)
    assert -77.0 in grown.read().pnl_R
    grown.assert_true()


def test_a_store_that_is_rewritten_as_a_whole_is_seen_at_once(grown, monkeypatch):
    """Rows drawn by chance are held against the store at each read."""
    monkeypatch.setattr(samples, "_PROBES", 20)
    change_settled(grown, "1")
    assert (grown.read().pnl_R[grown.read().labelled_R] == -77.0).all()
    grown.assert_true()
    grown.insert(3)
    grown.assert_true()


def test_a_clock_that_was_set_back_makes_no_cache_young(grown):
    """Its age is unknown, so the store is read instead."""
    change_settled(grown, "1")
    grown.wait(-1)
    grown.assert_true()


def test_another_store_at_the_same_path_is_read_anew(grown, tmp_path):
    """Yesterday's backup, put in place of today's file: the same rows, not the same outcomes."""
    backup = Path(shutil.copy(grown.path, tmp_path / "backup.db"))
    change_settled(grown, "1")
    grown.path.replace(tmp_path / "moved.db")
    backup.replace(grown.path)
    grown.assert_true()
    (tmp_path / "moved.db").replace(grown.path)
    grown.assert_true()


def flip_a_byte(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def swap_columns(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[-800:] + data[800:-800] + data[:800])


@pytest.mark.parametrize(
    "harm",
    [
        flip_a_byte,
        swap_columns,
        lambda path: path.write_bytes(path.read_bytes()[:-64]),
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(bytes(path.stat().st_size)),
        Path.unlink,
        lambda path: (path.unlink(), path.mkdir()),
    ],
    ids=["a bit", "columns swapped", "short", "empty", "zeros", "gone", "a directory"],
)
def test_a_torn_block_is_never_trusted(grown, harm):
    """A power loss, a full disk, a curious hand."""
    for block in grown.directory.glob("*.block"):
        harm(block)
    grown.insert(4)
    grown.assert_true()
    grown.assert_true()


def test_a_block_from_before_a_power_loss_is_read_through(grown, monkeypatch):
    """What the kernel had not written yet is gone, whatever size and time of the file say."""
    (block,) = grown.directory.glob("*.block")
    status = block.stat()
    with block.open("r+b") as file:
        file.seek(4096)
        file.write(bytes(512))
    os.utime(block, ns=(status.st_atime_ns, status.st_mtime_ns))
    monkeypatch.setattr(block_files, "_boot_id", lambda: "another boot")
    grown.assert_true()


@pytest.mark.parametrize(
    "text",
    [b"", b"{", b"[]", b"null", b"{}", b'{"about": null}', b"\xff", b"[" * 10_000],
    ids=lambda text: repr(text)[:20],
)
def test_a_broken_manifest_is_never_trusted(grown, text):
    """It is written in one piece; that does not make it ours."""
    (grown.directory / "manifest").write_bytes(text)
    grown.insert(4)
    grown.assert_true()


def test_a_manifest_of_which_a_digit_changed_is_never_trusted(grown):
    """It would still be JSON, and another store's."""
    path = grown.directory / "manifest"
    told = path.read_bytes()
    at = told.index(b'"rows":') + 7
    path.write_bytes(told[:at] + (b"1" if told[at : at + 1] != b"1" else b"2") + told[at + 1 :])
    with pytest.raises(ValueError, match="not what was written"):
        _unsealed(path.read_bytes())
    grown.assert_true()


@pytest.mark.parametrize(
    "changes",
    [
        {"pending": ["x"]}, {"pending": None}, {"last_id": None}, {"rows": "many"}, {"blocks": [{}]},
        {"blocks": [{"name": "../../etc/passwd"}]}, {"built_at": None}, {"rows": -1},
    ],
    ids=repr,
)  # fmt: skip
def test_a_manifest_of_another_make_is_never_trusted(grown, changes):
    """Fields of the wrong kind, and names that lead out of the directory."""
    path = grown.directory / "manifest"
    path.write_bytes(_sealed({**_unsealed(path.read_bytes()), **changes}))
    grown.assert_true()


def test_another_version_reads_the_store_anew(grown, monkeypatch, statements):
    """What a row means may have changed with the program."""
    monkeypatch.setattr(clm, "__version__", "0.0.0.dev")
    statements.clear()
    grown.read()
    assert [s for s in statements if "NOT INDEXED WHERE id" in s and "main." in s]


def test_a_disk_that_is_full_or_closed_is_no_reason_to_stop(grown, monkeypatch, tmp_path):
    """A cache is a convenience."""
    monkeypatch.setattr(sample_cache, "free_bytes", lambda _: 0)
    grown.insert(100)
    grown.assert_true()
    grown.directory = tmp_path / "file"
    grown.directory.write_text("not a directory")
    grown.assert_true()


def test_old_blocks_are_removed(grown):
    """The cache is as large as the store's columns, not as its history."""
    for _ in range(6):
        grown.insert(40)
        grown.assert_true()
    assert len(list(grown.directory.iterdir())) <= 3


def test_rare_layouts_stay_pending(grown):
    """A thousand layouts are not a thousand files."""
    for n in range(9):
        grown.insert(2)
        grown.execute(
            "UPDATE ai_training_samples SET features = ?, feature_names = NULL WHERE id IN "
            "(SELECT id FROM ai_training_samples ORDER BY id DESC LIMIT 2)",
            orjson.dumps({f"x{n}": n}).decode(),
        )
    grown.insert(9)
    grown.assert_true()
    grown.assert_true()
    assert len(list(grown.directory.glob("*.block"))) <= 5


def test_b12_the_cap_on_rows_holds_with_a_cache_too(grown):
    """A cache makes a store no smaller."""
    source = SqliteSampleSource(grown.path, grown.clock, cache=SampleCache(grown.directory, from_rows=0))
    with pytest.raises(DataError, match="DATA_TOO_BIG"):
        source.read(None, 200)


def test_a_small_store_has_no_cache(tmp_path):
    """Reading it takes less than looking after one."""
    grown = Grown(tmp_path)
    grown.insert(50)
    cache = SampleCache(grown.directory)
    SqliteSampleSource(grown.path, grown.clock, cache=cache).read(None, 1000)
    assert not grown.directory.exists()


def test_columns_are_mapped_not_copied(grown):
    """A million unchanged rows use no memory of this process."""
    source = SqliteSampleSource(grown.path, grown.clock, cache=SampleCache(grown.directory, from_rows=0))
    largest = max(source.read(None, 1000).blocks, key=len)
    assert isinstance(largest.features_RC.base.base, np.ndarray)
    assert not largest.features_RC.flags.writeable
