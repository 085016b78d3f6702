"""Creating a store: the existing schema, complete or not at all, never over an existing file."""

import pytest

from clm.errors import DataError
from clm.store.create import create_store, insert_samples
from tests.store.conftest import child, look, names, sample


def columns(path, table) -> list[str]:
    return [row[1] for row in look(path, f"PRAGMA table_info({table})")]


def test_a_new_store_has_the_shape_of_the_existing_one(bare):
    """Eleven tables, 24 columns of samples, two indexes, a reserved word."""
    tables = look(bare, "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'")
    assert len(tables) == 11
    assert len(columns(bare, "ai_training_samples")) == 24
    assert columns(bare, "settings") == ["id", "api_key", "api_secret"]
    assert "limit" in columns(bare, "training_tasks")
    assert look(
        bare, "SELECT name FROM sqlite_master WHERE type = 'index' AND sql NOT NULL ORDER BY name"
    ) == [
        ("ix_ai_training_samples_symbol",),
        ("ix_ai_training_samples_timestamp",),
    ]
    assert look(bare, "PRAGMA journal_mode") == [("delete",)]


@pytest.mark.needs_shared_data
def test_a_new_store_has_the_columns_of_the_store_of_market_candles(bare, month_store):
    """The real one is the measure."""
    for table in ("ai_training_samples", "ai_model_versions"):
        assert columns(bare, table) == columns(month_store, table)


def test_an_existing_file_is_not_touched(tmp_path):
    """Whatever it is."""
    path = tmp_path / "store.db"
    path.write_text("mine")
    with pytest.raises(DataError, match=r"STORE_EXISTS"):
        create_store(path)
    path.unlink()
    path.symlink_to(tmp_path / "nowhere")
    with pytest.raises(DataError, match=r"STORE_EXISTS"):
        create_store(path)
    assert names(tmp_path) == ["store.db"]


def test_nothing_is_made_in_a_directory_that_is_not_there(tmp_path):
    """A mistyped path is said, not built."""
    with pytest.raises(DataError, match=r"STORE_NO_DIRECTORY"):
        create_store(tmp_path / "typo" / "store.db")
    assert names(tmp_path) == []


CREATE = """
import os, sys, time
from pathlib import Path
import clm.store.create as create
def cut(*_):
    print("made", flush=True)
    time.sleep(60)
create._give_name = cut
create.create_store(Path(sys.argv[1]))
"""


def test_a_store_half_made_never_has_the_name(tmp_path):
    """Killed before the last step there is no store, and the next try is not in its own way."""
    path = tmp_path / "store.db"
    worker = child(CREATE, path)
    assert worker.stdout.readline() == "made\n"
    worker.kill()
    worker.communicate()
    assert not path.exists()
    create_store(path)
    assert path.exists()


def test_samples_are_inserted_all_or_none(bare):
    """A demonstration store with half its samples would teach something else."""
    assert insert_samples(bare, (sample() for _ in range(3))) == 3
    with pytest.raises(DataError, match=r"STORE_CONSTRAINT.*symbol"):
        insert_samples(bare, [sample(), sample(symbol=None)])
    with pytest.raises(DataError, match=r"SCHEMA: ai_training_samples has no column colour"):
        insert_samples(bare, [sample(), sample(colour="red")])
    assert look(bare, "SELECT count(*) FROM ai_training_samples") == [(3,)]
