"""What a store must have, and what it may have or lack."""

import pytest

from clm.errors import DataError
from clm.store.contract import check_contract
from clm.store.samples import SqliteSampleSource
from tests.store.conftest import change


def test_a_store_of_the_existing_shape_keeps_the_contract_without_a_note(bare):
    """All eleven tables, all columns, nothing to say."""
    facts = check_contract(bare)
    assert facts.journal_mode == "delete"
    assert len(facts.tables) == 11
    assert facts.schema_version is None
    assert facts.notes == ()


@pytest.mark.parametrize("column", ["target_class", "exit_time", "features"])
def test_a3_a_missing_column_is_named(bare, column):
    """The operator must not have to compare schemas."""
    change(bare, f"ALTER TABLE ai_training_samples DROP COLUMN {column}")
    with pytest.raises(DataError, match=rf"SCHEMA: ai_training_samples lacks {column} in ") as caught:
        check_contract(bare)
    assert caught.value.exit_code == 65


def test_a3_a_renamed_column_and_a_missing_table_are_named(bare):
    """All that is missing at once, not one after the other."""
    change(
        bare,
        "ALTER TABLE ai_training_samples RENAME COLUMN realized_pnl TO pnl",
        "ALTER TABLE ai_training_samples DROP COLUMN entry_price",
    )
    with pytest.raises(DataError, match=r"lacks entry_price, realized_pnl"):
        check_contract(bare)
    change(bare, "DROP TABLE ai_training_samples")
    with pytest.raises(DataError, match=r"has no table ai_training_samples"):
        check_contract(bare)


def test_a3_an_extra_column_and_another_type_are_fine(bare):
    """The engine may add columns. SQLite does not enforce types, so the reader checks values."""
    change(bare, "ALTER TABLE ai_training_samples ADD COLUMN regime VARCHAR")
    change(bare, "ALTER TABLE ai_training_samples DROP COLUMN entry_price")
    change(bare, "ALTER TABLE ai_training_samples ADD COLUMN entry_price TEXT")
    assert check_contract(bare).notes == ()


def test_a14_every_read_checks_the_contract_anew(bare):
    """The engine may change its schema between two runs of a daemon that lives for months."""
    source = SqliteSampleSource(bare)
    source.read(None, 10)
    change(bare, "ALTER TABLE ai_training_samples DROP COLUMN target_class")
    with pytest.raises(DataError, match=r"SCHEMA: ai_training_samples lacks target_class"):
        source.read(None, 10)
    with pytest.raises(DataError, match=r"SCHEMA: ai_training_samples lacks target_class"):
        source.newest()


def test_a_neighbour_that_cannot_be_filled_is_a_note_and_no_error(bare):
    """The existing stores hold two of the three tables as a bare id."""
    change(
        bare,
        "DROP TABLE model_training_runs",
        "CREATE TABLE model_training_runs (id INTEGER PRIMARY KEY)",
        "DROP TABLE training_tasks",
        "ALTER TABLE ai_model_versions ADD COLUMN owner VARCHAR NOT NULL DEFAULT 'x'",
    )
    notes = check_contract(bare).notes
    assert len(notes) == 2
    assert notes[0].startswith("training_tasks is not filled: it does not exist")
    assert notes[1].startswith("model_training_runs is not filled: it lacks completed_at, ")


@pytest.mark.needs_shared_data
def test_the_stores_of_market_candles_keep_the_contract(month_store):
    """Real stores, with their bare tables."""
    facts = check_contract(month_store)
    assert facts.journal_mode == "delete"
    assert [note.split()[0] for note in facts.notes] == ["training_tasks", "model_training_runs"]
