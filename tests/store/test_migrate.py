"""Our tables come in steps, whole or not at all, and never from a store that knows more than we do."""

import subprocess
import sys
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine
from sqlalchemy.pool import NullPool

import clm.store
from clm.errors import ConfigError, DataError
from clm.store.migrate import REVISIONS, has_schema, migrate
from clm.store.outbox import SqliteOutbox
from clm.store.promotions import SqlitePromotionLog
from clm.store.runs import SqliteJournal
from clm.store.schedule import SqliteScheduleState
from clm.store.tables import METADATA, VERSION_TABLE
from clm.store.tasks import SqliteTaskQueue
from tests.builders import NOW
from tests.store.conftest import WISH, change, child, look

MIGRATIONS = Path(clm.store.__file__).with_name("migrations")


def test_a_store_gets_our_tables_and_keeps_the_others(bare):
    """Additive: not a statement of the neighbours' schema changes."""
    theirs = look(bare, "SELECT name, sql FROM sqlite_master WHERE sql NOT NULL ORDER BY name")
    assert not has_schema(bare)
    migrate(bare)
    assert has_schema(bare)
    after = look(
        bare,
        "SELECT name, sql FROM sqlite_master WHERE sql NOT NULL AND name NOT LIKE '%clm_%' ORDER BY name",
    )
    assert after == theirs
    assert look(bare, f"SELECT version_num FROM {VERSION_TABLE}") == [(REVISIONS[-1],)]


def test_the_migrations_make_what_the_code_reads(store):
    """Two descriptions of one schema, held against each other."""
    engine = create_engine(f"sqlite:///{store}", poolclass=NullPool)
    with engine.connect() as connection:
        options = {
            "include_object": lambda _object, name, kind, *_: kind != "table" or name.startswith("clm_"),
            "version_table": VERSION_TABLE,
        }
        context = MigrationContext.configure(connection, opts=options)
        assert compare_metadata(context, METADATA) == []
    indexes = look(
        store, "SELECT name FROM sqlite_master WHERE type = 'index' AND sql LIKE '%WHERE%' ORDER BY name"
    )
    assert [name for (name,) in indexes] == [
        "ix_clm_outbox_unsure",
        "ix_clm_outbox_waiting",
        "ux_clm_models_one_active",
        "ux_clm_promotions_one_open",
        "ux_clm_tasks_one_pending",
    ]


def test_the_revisions_we_know_are_those_that_lie_there():
    """Named in the code so that a start need not load alembic to know them."""
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    script = ScriptDirectory.from_config(config)
    assert tuple(r.revision for r in reversed(list(script.walk_revisions()))) == REVISIONS
    assert script.get_heads() == [REVISIONS[-1]]


def test_a_second_migration_writes_nothing_and_does_not_load_alembic(store):
    """The daemon starts with it, within two seconds and 80 MB."""
    before = store.read_bytes()
    code = (
        "import sys; from pathlib import Path; from clm.store.migrate import migrate; "
        "migrate(Path(sys.argv[1])); print('alembic' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code, store], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
    assert store.read_bytes() == before


def test_m4_a_store_of_a_newer_program_is_refused_without_a_write(store):
    """An old program on new tables would write what the new one cannot read."""
    change(store, f"UPDATE {VERSION_TABLE} SET version_num = '0099'")
    before = store.read_bytes()
    with pytest.raises(ConfigError, match=r"SCHEMA_NEWER: .* at revision 0099") as caught:
        migrate(store)
    assert caught.value.exit_code == 78
    assert store.read_bytes() == before


def test_a_migration_that_breaks_leaves_no_table(bare):
    """A half-made schema would be neither old nor new."""
    change(bare, "CREATE TABLE clm_promotions (id INTEGER PRIMARY KEY)")
    with pytest.raises(DataError):
        migrate(bare)
    assert look(bare, "SELECT name FROM sqlite_master WHERE name LIKE '%clm_%'") == [("clm_promotions",)]


def test_many_processes_may_migrate_at_once(bare):
    """A daemon and a command line may start in the same moment."""
    code = "import pathlib, sys; from clm.store.migrate import migrate; migrate(pathlib.Path(sys.argv[1]))"
    processes = [child(code, bare) for _ in range(3)]
    for process in processes:
        _, complaint = process.communicate()
        assert process.returncode == 0, complaint
    assert look(bare, f"SELECT version_num FROM {VERSION_TABLE}") == [(REVISIONS[-1],)]


def test_readers_find_nothing_where_our_tables_have_not_been_made(bare, clock):
    """`status` on a store that we have never written is an answer, not an error."""
    assert SqliteTaskQueue(bare, clock).pending_count() == 0
    assert SqliteTaskQueue(bare, clock).claim(NOW) is None
    assert SqliteJournal(bare, clock).recent_runs(5) == []
    assert SqliteJournal(bare, clock).run("p07_1") is None
    assert SqliteOutbox(bare, clock).unpublished(5) == []
    assert SqliteOutbox(bare, clock).waiting_count() == 0
    assert SqlitePromotionLog(bare, clock).open_promotion() is None
    assert SqlitePromotionLog(bare, clock).known_sha256(Path("/m.pth")) is None
    assert SqliteScheduleState(bare, clock).last_fired("retrain") is None
    assert not has_schema(bare)
    with pytest.raises(DataError, match=r"SCHEMA: .*no such table: clm_tasks.*never migrated"):
        SqliteTaskQueue(bare, clock).submit(WISH, NOW)
