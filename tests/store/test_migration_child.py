"""The daemon migrates in a process of its own: same outcome, same errors, and alembic stays outside."""

import os
import select
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from clm.errors import ClmError, ConfigError, DataError, StoreBusy
from clm.settings import load_settings
from clm.store import migration_child
from clm.store.migrate import has_schema, is_current, migrate
from clm.store.migration_child import migrate_in_child
from clm.store.tables import VERSION_TABLE
from clm.wiring import wire
from tests.store.conftest import change, child, locked_by_another_process, look

BARE_ENVIRONMENT = {"PATH": "/usr/bin:/bin"}
SCHEMA = "SELECT name, sql FROM sqlite_master ORDER BY name"

MIGRATE_AND_DIE = """
import os, signal, sys
from sqlalchemy import Engine, event
from clm.store.migration_child import main

begun = 0

@event.listens_for(Engine, "before_cursor_execute")
def count(*_):
    global begun
    begun += 1
    if begun == int(sys.argv[1]):
        os.kill(os.getpid(), signal.SIGKILL)

try:
    main(sys.argv[5:])
finally:
    open(sys.argv[2], "w").write(str(begun))
"""


@pytest.fixture
def in_place_of_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Let a shell script run instead of Python; `$python` in it is the real one, `$4` the store."""

    program, real = tmp_path / "python", sys.executable

    def replace(body: str) -> None:
        program.write_text(f"#!/bin/sh\npython={real}\n{body}\n")
        program.chmod(0o755)
        monkeypatch.setattr(sys, "executable", str(program))

    return replace


def test_a_first_start_migrates_and_never_loads_alembic(bare):
    """Memory that an import takes is never given back: the daemon would keep 12 MB for weeks."""
    code = (
        "import sys; from pathlib import Path; from clm.store.migration_child import migrate_in_child; "
        "migrate_in_child(Path(sys.argv[1]), environment={}); print('alembic' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code, bare], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
    assert is_current(bare)


def test_a_store_in_the_newest_form_starts_no_process(store, monkeypatch):
    """Every start but the first pays one query."""
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    migrate_in_child(store, environment=BARE_ENVIRONMENT)


def test_m11_a_migration_killed_at_any_statement_leaves_the_store_as_it_was(
    bare, tmp_path, in_place_of_python
):
    """A power cut or the kernel's memory killer meets the migration anywhere; the next start completes it."""
    script, count = tmp_path / "die.py", tmp_path / "count"
    script.write_text(MIGRATE_AND_DIE)
    before = look(bare, SCHEMA)

    def kill_at(statement: int) -> None:
        in_place_of_python(f'exec $python {script} {statement} {count} "$2" "$3" "$4" "$5"')

    copy = tmp_path / "copy.db"
    copy.write_bytes(bare.read_bytes())
    kill_at(0)
    migrate_in_child(copy, environment=BARE_ENVIRONMENT)
    total = int(count.read_text())
    assert total > 20

    for statement in (1, total // 3, total - 1, total):
        kill_at(statement)
        with pytest.raises(ClmError, match=r"MIGRATION_FAILED: .* was killed by signal 9: .* unchanged"):
            migrate_in_child(bare, environment=BARE_ENVIRONMENT)
        assert not has_schema(bare)
        assert look(bare, SCHEMA) == before
    kill_at(0)
    migrate_in_child(bare, environment=BARE_ENVIRONMENT)
    assert is_current(bare)


def test_a_child_whose_parent_dies_completes_the_migration(bare):
    """The next start finds the store migrated, or waits for the lock like any other writer."""
    code = (
        "import sys; from pathlib import Path; from clm.store.migration_child import migrate_in_child; "
        "migrate_in_child(Path(sys.argv[1]), environment={}, busy_limit_s=30)"
    )
    with locked_by_another_process(bare) as let_go:
        parent = child(code, bare)
        started = Path(f"/proc/{parent.pid}/task/{parent.pid}/children")
        while not started.read_text():
            time.sleep(0.01)
        orphan = os.pidfd_open(int(started.read_text()))
        parent.kill()
        parent.communicate()
        assert not select.select([orphan], [], [], 0.5)[0], "it waits for the lock"
        let_go()
        assert select.select([orphan], [], [], 15)[0], "it has ended"
        os.close(orphan)
    assert is_current(bare)


def error_of(migration: Callable[[], None]) -> tuple[type[ClmError], str]:
    with pytest.raises(ClmError) as caught:
        migration()
    return type(caught.value), str(caught.value)


def in_child(path: Path, busy_limit_s: float = 0.5) -> tuple[type[ClmError], str]:
    return error_of(lambda: migrate_in_child(path, environment=BARE_ENVIRONMENT, busy_limit_s=busy_limit_s))


def test_a_store_that_cannot_be_migrated_gives_the_same_error_from_both(bare):
    """Exit codes, logs and runbooks know the errors by their codes, wherever they came from."""
    change(bare, "CREATE TABLE clm_promotions (id INTEGER PRIMARY KEY)")
    kind, text = in_child(bare)
    assert (kind, text) == error_of(lambda: migrate(bare))
    assert kind is DataError
    assert text.startswith("STORE_ERROR: ")


def test_a_lock_that_stays_is_store_busy_from_both(bare):
    """The daemon exits with 75 and systemd starts it again."""
    with locked_by_another_process(bare):
        kind, text = in_child(bare)
        assert (kind, text) == error_of(lambda: migrate(bare, busy_limit_s=0.5))
    assert kind is StoreBusy
    assert "STORE_BUSY" in text


def test_m4_a_newer_program_that_comes_first_is_refused_from_the_child_too(bare, in_place_of_python, store):
    """Two versions may start at once; the child looks again under the lock."""
    newer = f"UPDATE {VERSION_TABLE} SET version_num = '0099'"
    change(store, f"UPDATE {VERSION_TABLE} SET version_num = '0001'")
    body = f'import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); c.execute(\\"{newer}\\"); c.commit()'
    in_place_of_python(f'$python -c "{body}" "$4" && exec $python "$@"')
    kind, text = in_child(store)
    assert (kind, text) == error_of(lambda: migrate(store))
    assert kind is ConfigError
    assert text.startswith("SCHEMA_NEWER: ")


def test_a_child_that_hangs_is_ended_and_named(bare, in_place_of_python, monkeypatch):
    """A start that waits for ever looks to systemd like one that works."""
    monkeypatch.setattr(migration_child, "WORK_S", 0.3)
    in_place_of_python("exec sleep 300")
    kind, text = in_child(bare, busy_limit_s=0.2)
    assert kind is ClmError
    assert text.startswith(f"MIGRATION_TIMEOUT: the migration of {bare} was ended after 0.5 s; ")
    assert not has_schema(bare)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("echo Traceback >&2; echo 'ImportError: alembic' >&2; exit 1", "exit code 1: ImportError: alembic"),
        ('echo \'{"error": "SystemExit", "code": "X", "message": "x"}\'; exit 3', "exit code 3: no message"),
        ("exit 4", "exit code 4: no message"),
    ],
)
def test_a_child_that_ends_without_a_report_is_a_failed_migration(bare, in_place_of_python, body, words):
    """Only the three errors that a migration has are taken from a child."""
    in_place_of_python(body)
    kind, text = in_child(bare)
    assert kind is ClmError
    assert text.startswith(f"MIGRATION_FAILED: the process that migrates {bare} ended with {words}; ")


def test_a_child_that_cannot_be_started_is_a_failed_migration(bare, monkeypatch):
    """An installation that was moved while the daemon ran."""
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    assert in_child(bare)[1].startswith("MIGRATION_FAILED: /nowhere/python cannot be started ")


def test_the_daemon_gives_the_child_no_secret(bare, tmp_path, in_place_of_python, monkeypatch):
    """The environment of a process can be read by every process of the same user."""
    monkeypatch.setenv("CLM_REDIS_URL", "redis://clm:pw-7d1c@localhost:6379/0")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", "/run/credentials/quantum-clm.service")
    monkeypatch.setenv("CLM_ROOT", str(tmp_path))
    in_place_of_python(f'env > {tmp_path}/seen; exec $python "$@"')
    wire(load_settings(None, {"store": bare}))
    assert is_current(bare)
    seen = {line.partition("=")[0] for line in (tmp_path / "seen").read_text().splitlines()}
    assert "PYTHONPATH" in seen
    assert not {name for name in seen if name.startswith(("CLM_", "CREDENTIALS"))}
    assert "pw-7d1c" not in (tmp_path / "seen").read_text()
