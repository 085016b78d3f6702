"""Tables of the store: all of ours, and the parts of the neighbours' tables that we use.

Times in our tables are RFC 3339 text in UTC to the microsecond (`clm.clock.iso`): they sort as text,
and an operator can read them with `sqlite3` alone. Times in the neighbours' tables are naive UTC text,
as the neighbours write them.
"""

from sqlalchemy import (
    Column,
    Float,
    Index,
    Integer,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
    Text,
    column,
    table,
    text,
)

from clm.data.reading import RAW_COLUMNS

SAMPLES = "ai_training_samples"
SECRETS = "settings"
"""The neighbours' table of API keys: never read, and the connection denies access."""
VERSION_TABLE = "clm_alembic_version"

samples = table(SAMPLES, *(column(name) for name in RAW_COLUMNS))

METADATA = MetaData()

tasks = Table(
    "clm_tasks",
    METADATA,
    Column("id", Integer, primary_key=True),
    Column("dedupe_key", String, nullable=False),
    Column("model", String, nullable=False),
    Column("reason", Text, nullable=False),
    Column("requested_by", Text, nullable=False),
    Column("source", String, nullable=False),
    Column("details", Text, nullable=False),
    Column("status", String, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("triggers", Integer, nullable=False),
    Column("outcome", Text, nullable=False),
    Column("created_at", String, nullable=False),
    Column("updated_at", String, nullable=False),
    Column("completed_at", String),
    Column("neighbour_id", Integer),
    sqlite_autoincrement=True,
)
"""`triggers` counts the requests merged into this task; `neighbour_id` is its row in training_tasks."""

Index(
    # At most one pending task a key, enforced by the database: two processes may insert at once.
    "ux_clm_tasks_one_pending",
    tasks.c.dedupe_key,
    unique=True,
    sqlite_where=text("status = 'pending'"),
)

inbox = Table(
    "clm_inbox",
    METADATA,
    Column("stream", String, nullable=False),
    Column("entry_id", String, nullable=False),
    Column("payload_sha256", String, nullable=False),
    Column("state", String, nullable=False),
    Column("task_id", Integer),
    Column("reason", Text, nullable=False),
    Column("received_at", String, nullable=False),
    # The payload's hash is part of the key: after a reset of Redis, another entry may have the same id.
    PrimaryKeyConstraint("stream", "entry_id", "payload_sha256"),
)

outbox = Table(
    "clm_outbox",
    METADATA,
    Column("seq", Integer, primary_key=True),
    Column("event_id", String, nullable=False, unique=True),
    Column("event_type", String, nullable=False),
    Column("payload", Text, nullable=False),
    Column("trace_id", String, nullable=False),
    Column("correlation_id", String, nullable=False),
    Column("created_at", String, nullable=False),
    Column("published_at", String),
    Column("server", String, nullable=False, server_default=""),
    Column("saves_seen", Integer, nullable=False, server_default="0"),
    Column("is_kept", Integer, nullable=False, server_default="0"),
    sqlite_autoincrement=True,
)
"""`is_kept`: the server has the event on disk; otherwise a restart of the server requeues it."""

Index(
    # Partial indexes: nearly all events are published and kept, and the relay looks often.
    "ix_clm_outbox_waiting",
    outbox.c.seq,
    sqlite_where=text("published_at IS NULL"),
)

Index(
    "ix_clm_outbox_unsure",
    outbox.c.seq,
    sqlite_where=text("published_at IS NOT NULL AND is_kept = 0"),
)

runs = Table(
    "clm_runs",
    METADATA,
    Column("run_id", String, primary_key=True),
    Column("task_id", Integer),
    Column("correlation_id", String, nullable=False),
    Column("model", String, nullable=False),
    Column("status", String, nullable=False),
    Column("decision", String),
    Column("version", String),
    Column("reason", Text, nullable=False),
    Column("trigger_reason", Text, nullable=False),
    Column("started_at", String, nullable=False),
    Column("completed_at", String),
    Column("proof_path", Text),
    Column("facts", Text, nullable=False),
    Column("neighbour_id", Integer),
)

Index("ix_clm_runs_started_at", runs.c.started_at)

models = Table(
    "clm_models",
    METADATA,
    Column("version", String, primary_key=True),
    Column("sha256", String, nullable=False),
    Column("file_path", Text, nullable=False),
    Column("architecture", String),
    Column("run_id", String, nullable=False),
    Column("trained_at", String),
    Column("training_samples", Integer),
    Column("training_duration_seconds", Float),
    Column("validation_accuracy", Float),
    Column("is_active", Integer, nullable=False),
    Column("replaced_at", String),
    Column("neighbour_id", Integer),
)
"""Training facts are NULL for a model that was promoted without a recorded training."""

Index(
    # The same guarantee for the active model, and below for the open promotion.
    "ux_clm_models_one_active",
    models.c.is_active,
    unique=True,
    sqlite_where=text("is_active = 1"),
)

promotions = Table(
    "clm_promotions",
    METADATA,
    Column("id", Integer, primary_key=True),
    Column("run_id", String, nullable=False),
    Column("version", String, nullable=False),
    Column("candidate_path", Text, nullable=False),
    Column("candidate_sha256", String, nullable=False),
    Column("previous_path", Text),
    Column("previous_sha256", String),
    Column("env_sha256_before", String, nullable=False),
    Column("state", String, nullable=False),
    Column("is_open", Integer),
    Column("attempts", Integer, nullable=False),
    Column("reason", Text, nullable=False),
    Column("created_at", String, nullable=False),
    Column("updated_at", String, nullable=False),
    Column("kind", String, nullable=False, server_default="CYCLE"),
    Column("asked", Text, nullable=False, server_default=""),
    Column("candidate_stays", Integer, nullable=False, server_default="0"),
    Column("lineage_sha256", String),
    Column("store_count", Integer, nullable=False, server_default="0"),
    sqlite_autoincrement=True,
)
"""`is_open` is 1 until the promotion ends, then NULL; it is derived from `state` for the unique index."""

Index(
    "ux_clm_promotions_one_open",
    promotions.c.is_open,
    unique=True,
    sqlite_where=text("is_open = 1"),
)

Index("ix_clm_promotions_candidate_path", promotions.c.candidate_path)

controls = Table(
    "clm_controls",
    METADATA,
    Column("name", String, primary_key=True),
    Column("value", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("since", String, nullable=False),
)
"""A row exists while a control is in force (see ports.Control)."""

schedule = Table(
    "clm_schedule",
    METADATA,
    Column("name", String, primary_key=True),
    Column("next_due", String),
    Column("last_fired", String),
)

ledger = Table(
    "clm_ledger",
    METADATA,
    Column("seq", Integer, primary_key=True),
    Column("kind", String, nullable=False),
    Column("subject", String, nullable=False),
    Column("run_id", String, nullable=False),
    Column("version", String),
    Column("outcome", String, nullable=False),
    Column("judged", Integer, nullable=False),
    Column("reason", Text, nullable=False),
    Column("facts", Text, nullable=False),
    Column("recorded_at", String, nullable=False),
    Column("previous_sha256", String, nullable=False),
    Column("sha256", String, nullable=False),
)
"""Every attempt; triggers reject UPDATE, DELETE and out-of-order rows (`clm.domain.ledger`)."""

# One row a subject makes a repeated append harmless.
Index("ux_clm_ledger_subject", ledger.c.kind, ledger.c.subject, unique=True)
