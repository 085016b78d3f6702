"""The mirror: copies of our facts in tables of the existing system, for its other programs.

Our clm_* tables are authoritative. `training_tasks`, `model_training_runs` and `ai_model_versions` are
filled in the same transaction if they have the required columns. Otherwise they are left unchanged:
in existing stores some have only an `id`, and we never alter a neighbour's table.
"""

from collections.abc import Mapping
from datetime import UTC, datetime

from sqlalchemy import TableClause, bindparam, column, insert, select, table, text, update
from sqlalchemy.engine import Connection

Values = Mapping[str, object]

training_tasks = table(
    "training_tasks",
    column("id"),
    column("symbols"),
    column("limit"),
    column("status"),
    column("created_at"),
    column("completed_at"),
    column("details"),
)
model_training_runs = table(
    "model_training_runs",
    column("id"),
    column("version"),
    column("status"),
    column("started_at"),
    column("completed_at"),
    column("dataset_path"),
    column("symbol_count"),
    column("sample_count"),
    column("feature_count"),
    column("model_path"),
    column("metrics"),
    column("notes"),
)
ai_model_versions = table(
    "ai_model_versions",
    column("id"),
    column("version_id"),
    column("model_type"),
    column("file_path"),
    column("trained_at"),
    column("training_samples"),
    column("training_duration_seconds"),
    column("validation_accuracy"),
    column("is_active"),
    column("replaced_at"),
    column("notes"),
)
NEIGHBOURS = (training_tasks, model_training_runs, ai_model_versions)
"""The mirrored tables and the columns we write; a table may have more if they are optional."""


def neighbour_text(moment: datetime) -> str:
    """Return naive UTC text as the neighbours write it."""
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S.%f")


def obstacle(connection: Connection, neighbour: TableClause) -> str:
    """Return why the table cannot be filled, or "" if it can."""
    rows = connection.execute(_TABLE_INFO, {"name": neighbour.name}).all()
    if not rows:
        return "it does not exist"
    wanted = set(neighbour.c.keys())
    if missing := sorted(wanted - {row.name for row in rows}):
        return f"it lacks {', '.join(missing)}"
    # A NOT NULL column without a default, which we do not fill, would make every insert fail.
    demanded = sorted(
        row.name
        for row in rows
        if row.notnull and row.dflt_value is None and not row.pk and row.name not in wanted
    )
    return f"it demands {', '.join(demanded)}, which we do not know" if demanded else ""


# "notnull" is quoted because it is an operator in SQL.
_TABLE_INFO = text('SELECT name, "notnull", dflt_value, pk FROM pragma_table_info(:name)')


def neighbour_notes(connection: Connection) -> tuple[str, ...]:
    """Return a sentence for each neighbour's table that cannot be filled."""
    return tuple(
        f"{neighbour.name} is not filled: {why}; the same facts are in our clm_* tables"
        for neighbour in NEIGHBOURS
        if (why := obstacle(connection, neighbour))
    )


def mirror_new(connection: Connection, neighbour: TableClause, values: Values) -> int | None:
    """Insert a row and return its id, or None if the table cannot be filled."""
    if obstacle(connection, neighbour):
        return None
    result = connection.execute(insert(neighbour).values(dict(values)).returning(neighbour.c.id))
    return int(result.scalar_one())


def mirror_new_named(
    connection: Connection, neighbour: TableClause, name_column: str, values: Values
) -> int | None:
    """Insert a row with a unique name: a name in use gets a suffix, and no row is overwritten."""
    if obstacle(connection, neighbour):
        return None
    name = str(values[name_column])
    taken = select(neighbour.c.id).where(neighbour.c[name_column] == bindparam("name"))
    free, suffix = name, 1
    # The write lock is held, so a name that is free now stays free until the insert.
    while connection.execute(taken, {"name": free}).first():
        suffix += 1
        free = f"{name}-{suffix}"
    return mirror_new(connection, neighbour, {**values, name_column: free})


def mirror_change(
    connection: Connection, neighbour: TableClause, neighbour_id: int | None, values: Values
) -> None:
    """Update the row with this id, if it exists."""
    if neighbour_id is None or obstacle(connection, neighbour):
        return
    connection.execute(update(neighbour).where(neighbour.c.id == neighbour_id).values(dict(values)))


def mirror_activation(connection: Connection, neighbour_id: int | None, path: str, now: datetime) -> None:
    """Make this row of ai_model_versions the only active one; with None, no row is active."""
    if obstacle(connection, ai_model_versions):
        return
    c = ai_model_versions.c
    connection.execute(
        update(ai_model_versions)
        .where(c.is_active == 1, c.id.is_distinct_from(neighbour_id))
        .values(is_active=0, replaced_at=neighbour_text(now))
    )
    active = {"is_active": 1, "replaced_at": None, "file_path": path}
    mirror_change(connection, ai_model_versions, neighbour_id, active)
