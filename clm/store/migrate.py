"""Migrate our tables to this program's revision; alembic is loaded only if a migration is due."""

from pathlib import Path

from sqlalchemy.engine import Connection

from clm.clock import SystemClock
from clm.errors import ConfigError
from clm.ports import Clock
from clm.store.schema import schema_version
from clm.store.tables import VERSION_TABLE
from clm.store.transactions import BUSY_LIMIT_S, Store

REVISIONS = ("0001", "0002", "0003", "0004")
"""Revisions known to this program, oldest first; a test compares them with migrations/versions."""


def has_schema(path: Path) -> bool:
    """Return whether our tables exist, at any revision; nothing is written.

    Raises:
        DataError: the store cannot be read.
        StoreBusy: STORE_BUSY.
    """
    with Store(path, SystemClock()).reading() as connection:
        return schema_version(connection) is not None


def is_current(path: Path, *, clock: Clock | None = None, busy_limit_s: float = BUSY_LIMIT_S) -> bool:
    """Return whether our tables are at the newest revision; nothing is written, alembic is not loaded.

    Raises:
        ConfigError: SCHEMA_NEWER, a newer program has used the store.
        DataError: the store cannot be read.
        StoreBusy: STORE_BUSY.
    """
    with Store(path, clock or SystemClock(), busy_limit_s=busy_limit_s).reading() as connection:
        return _is_current(path, connection)


def migrate(path: Path, *, clock: Clock | None = None, busy_limit_s: float = BUSY_LIMIT_S) -> None:
    """Migrate our tables to the newest revision in one transaction; only one query if they are current.

    Raises:
        ConfigError: SCHEMA_NEWER, a newer program has used the store; nothing is written.
        DataError: the store cannot be read or written.
        StoreBusy: STORE_BUSY.
    """
    if is_current(path, clock=clock, busy_limit_s=busy_limit_s):
        return
    upgrade(path, clock=clock, busy_limit_s=busy_limit_s)


def upgrade(path: Path, *, clock: Clock | None = None, busy_limit_s: float = BUSY_LIMIT_S) -> None:
    """Migrate under the write lock: another process may have done it while this one waited.

    Raises:
        As `migrate`.
    """
    with Store(path, clock or SystemClock(), busy_limit_s=busy_limit_s).writing() as connection:
        if not _is_current(path, connection):
            _upgrade(connection)


def _is_current(path: Path, connection: Connection) -> bool:
    version = schema_version(connection)
    # Older programs must not write to newer tables: they would ignore columns that matter.
    if version is not None and version not in REVISIONS:
        raise ConfigError(
            "SCHEMA_NEWER",
            f"the clm_* tables in {path} are at revision {version}, this program knows {REVISIONS[-1]}; "
            "install the program that made them, or a newer one",
        )
    return version == REVISIONS[-1]


def _upgrade(connection: Connection) -> None:
    # Imported here: alembic takes 12 MB, and most starts need no migration.
    from alembic import command
    from alembic.config import Config

    config = Config()
    # The option is read with % interpolation.
    config.set_main_option("script_location", str(Path(__file__).with_name("migrations")).replace("%", "%%"))
    config.attributes["connection"] = connection
    config.attributes["version_table"] = VERSION_TABLE
    command.upgrade(config, REVISIONS[-1])
