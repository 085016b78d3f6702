"""Who asked for a promotion and why, what bounds its recovery, and what an operator suspended."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add to the promotions, and make the controls."""
    for column in (
        sa.Column("kind", sa.String, nullable=False, server_default="CYCLE"),
        sa.Column("asked", sa.Text, nullable=False, server_default=""),
        sa.Column("candidate_stays", sa.Integer, nullable=False, server_default="0"),
        sa.Column("lineage_sha256", sa.String),
        sa.Column("store_count", sa.Integer, nullable=False, server_default="0"),
    ):
        op.add_column("clm_promotions", column)
    op.create_table(
        "clm_controls",
        sa.Column("name", sa.String, primary_key=True),
        sa.Column("value", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("since", sa.String, nullable=False),
    )
