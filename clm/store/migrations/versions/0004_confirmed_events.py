"""Which server took an event, and how often it has saved since: what a restarted Redis may have lost."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns; what was published before counts as kept, nobody knows better."""
    op.add_column("clm_outbox", sa.Column("server", sa.String, nullable=False, server_default=""))
    op.add_column("clm_outbox", sa.Column("saves_seen", sa.Integer, nullable=False, server_default="0"))
    op.add_column("clm_outbox", sa.Column("is_kept", sa.Integer, nullable=False, server_default="0"))
    op.execute("UPDATE clm_outbox SET is_kept = 1 WHERE published_at IS NOT NULL")
    unsure = sa.text("published_at IS NOT NULL AND is_kept = 0")
    op.create_index(
        "ix_clm_outbox_unsure", "clm_outbox", ["seq"], sqlite_where=unsure, postgresql_where=unsure
    )
