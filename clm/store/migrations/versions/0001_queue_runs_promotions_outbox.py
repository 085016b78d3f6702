"""The queue, the inbox, the outbox, runs, models, promotions and the schedule."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the first tables."""
    _tasks()
    _inbox()
    _outbox()
    _schedule()
    _runs()
    _models()
    _promotions()


def _tasks() -> None:
    op.create_table(
        "clm_tasks",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("dedupe_key", sa.String, nullable=False),
        sa.Column("model", sa.String, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("requested_by", sa.Text, nullable=False),
        sa.Column("source", sa.String, nullable=False),
        sa.Column("details", sa.Text, nullable=False),
        sa.Column("status", sa.String, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("triggers", sa.Integer, nullable=False),
        sa.Column("outcome", sa.Text, nullable=False),
        sa.Column("created_at", sa.String, nullable=False),
        sa.Column("updated_at", sa.String, nullable=False),
        sa.Column("completed_at", sa.String),
        sa.Column("neighbour_id", sa.Integer),
        sqlite_autoincrement=True,
    )
    _unique_where("ux_clm_tasks_one_pending", "clm_tasks", "dedupe_key", "status = 'pending'")


def _inbox() -> None:
    op.create_table(
        "clm_inbox",
        sa.Column("stream", sa.String, nullable=False),
        sa.Column("entry_id", sa.String, nullable=False),
        sa.Column("payload_sha256", sa.String, nullable=False),
        sa.Column("state", sa.String, nullable=False),
        sa.Column("task_id", sa.Integer),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("received_at", sa.String, nullable=False),
        sa.PrimaryKeyConstraint("stream", "entry_id", "payload_sha256"),
    )


def _outbox() -> None:
    op.create_table(
        "clm_outbox",
        sa.Column("seq", sa.Integer, primary_key=True),
        sa.Column("event_id", sa.String, nullable=False, unique=True),
        sa.Column("event_type", sa.String, nullable=False),
        sa.Column("payload", sa.Text, nullable=False),
        sa.Column("trace_id", sa.String, nullable=False),
        sa.Column("correlation_id", sa.String, nullable=False),
        sa.Column("created_at", sa.String, nullable=False),
        sa.Column("published_at", sa.String),
        sqlite_autoincrement=True,
    )
    waiting = sa.text("published_at IS NULL")
    op.create_index(
        "ix_clm_outbox_waiting", "clm_outbox", ["seq"], sqlite_where=waiting, postgresql_where=waiting
    )


def _schedule() -> None:
    op.create_table(
        "clm_schedule",
        sa.Column("name", sa.String, primary_key=True),
        sa.Column("next_due", sa.String),
        sa.Column("last_fired", sa.String),
    )


def _runs() -> None:
    op.create_table(
        "clm_runs",
        sa.Column("run_id", sa.String, primary_key=True),
        sa.Column("task_id", sa.Integer),
        sa.Column("correlation_id", sa.String, nullable=False),
        sa.Column("model", sa.String, nullable=False),
        sa.Column("status", sa.String, nullable=False),
        sa.Column("decision", sa.String),
        sa.Column("version", sa.String),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("trigger_reason", sa.Text, nullable=False),
        sa.Column("started_at", sa.String, nullable=False),
        sa.Column("completed_at", sa.String),
        sa.Column("proof_path", sa.Text),
        sa.Column("facts", sa.Text, nullable=False),
        sa.Column("neighbour_id", sa.Integer),
    )
    op.create_index("ix_clm_runs_started_at", "clm_runs", ["started_at"])


def _models() -> None:
    op.create_table(
        "clm_models",
        sa.Column("version", sa.String, primary_key=True),
        sa.Column("sha256", sa.String, nullable=False),
        sa.Column("file_path", sa.Text, nullable=False),
        sa.Column("architecture", sa.String),
        sa.Column("run_id", sa.String, nullable=False),
        sa.Column("trained_at", sa.String),
        sa.Column("training_samples", sa.Integer),
        sa.Column("training_duration_seconds", sa.Float),
        sa.Column("validation_accuracy", sa.Float),
        sa.Column("is_active", sa.Integer, nullable=False),
        sa.Column("replaced_at", sa.String),
        sa.Column("neighbour_id", sa.Integer),
    )
    _unique_where("ux_clm_models_one_active", "clm_models", "is_active", "is_active = 1")


def _promotions() -> None:
    op.create_table(
        "clm_promotions",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("run_id", sa.String, nullable=False),
        sa.Column("version", sa.String, nullable=False),
        sa.Column("candidate_path", sa.Text, nullable=False),
        sa.Column("candidate_sha256", sa.String, nullable=False),
        sa.Column("previous_path", sa.Text),
        sa.Column("previous_sha256", sa.String),
        sa.Column("env_sha256_before", sa.String, nullable=False),
        sa.Column("state", sa.String, nullable=False),
        sa.Column("is_open", sa.Integer),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("created_at", sa.String, nullable=False),
        sa.Column("updated_at", sa.String, nullable=False),
        sqlite_autoincrement=True,
    )
    _unique_where("ux_clm_promotions_one_open", "clm_promotions", "is_open", "is_open = 1")
    op.create_index("ix_clm_promotions_candidate_path", "clm_promotions", ["candidate_path"])


def _unique_where(name: str, table: str, column: str, condition: str) -> None:
    where = sa.text(condition)
    op.create_index(name, table, [column], unique=True, sqlite_where=where, postgresql_where=where)
