"""Tables and revision of the store, read with plain queries, without importing alembic."""

from sqlalchemy import select, text
from sqlalchemy.engine import Connection

from clm.store.tables import VERSION_TABLE


def table_names(connection: Connection) -> tuple[str, ...]:
    """Return the names of all tables and views, sorted."""
    rows = connection.execute(
        text("SELECT name FROM sqlite_master WHERE type IN ('table', 'view') AND name NOT LIKE 'sqlite_%'")
    )
    return tuple(sorted(str(name) for (name,) in rows))


def has_table(connection: Connection, name: str) -> bool:
    """Return whether a table or view of this name exists."""
    query = text("SELECT 1 FROM sqlite_master WHERE type IN ('table', 'view') AND name = :name")
    return connection.execute(query, {"name": name}).first() is not None


def schema_version(connection: Connection) -> str | None:
    """Return the revision of our tables, or None if they do not exist."""
    if not has_table(connection, VERSION_TABLE):
        return None
    version = connection.execute(select(text("version_num")).select_from(text(VERSION_TABLE))).scalar()
    return None if version is None else str(version)
