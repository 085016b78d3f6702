"""Run by alembic for a migration, in the connection and transaction that `migrate` opened.

Logging is unchanged: the caller has set it up.
"""

from alembic import context

from clm.store.tables import METADATA

_attributes = context.config.attributes
context.configure(
    connection=_attributes["connection"],
    version_table=_attributes["version_table"],
    target_metadata=METADATA,
)
with context.begin_transaction():
    context.run_migrations()
