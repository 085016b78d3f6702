"""The ledger of attempts, append-only; older runs and promotions begin its chain as imported."""

from datetime import datetime
from typing import Any

import sqlalchemy as sa
from alembic import op

from clm.domain.ledger import CROWNED, LedgerEntry, LedgerKind
from clm.store.ledger import append

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_REFUSED = "clm_ledger is append-only: {}"


def upgrade() -> None:
    """Make the table, begin the chain, then close it to everything but the next row."""
    op.create_table(
        "clm_ledger",
        sa.Column("seq", sa.Integer, primary_key=True),
        sa.Column("kind", sa.String, nullable=False),
        sa.Column("subject", sa.String, nullable=False),
        sa.Column("run_id", sa.String, nullable=False),
        sa.Column("version", sa.String),
        sa.Column("outcome", sa.String, nullable=False),
        sa.Column("judged", sa.Integer, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("facts", sa.Text, nullable=False),
        sa.Column("recorded_at", sa.String, nullable=False),
        sa.Column("previous_sha256", sa.String, nullable=False),
        sa.Column("sha256", sa.String, nullable=False),
    )
    op.create_index("ux_clm_ledger_subject", "clm_ledger", ["kind", "subject"], unique=True)
    _import()
    _guard("update", "UPDATE", "no row is changed")
    _guard("delete", "DELETE", "no row is removed")
    # INSERT OR REPLACE asks no DELETE trigger; a number that is not the next one is refused here.
    _guard(
        "insert",
        "INSERT",
        "a row comes behind the last one",
        when="WHEN NEW.seq IS NOT (SELECT coalesce(max(seq), 0) + 1 FROM clm_ledger) "
        "OR EXISTS (SELECT 1 FROM clm_ledger WHERE kind = NEW.kind AND subject = NEW.subject)",
    )


def _guard(name: str, act: str, because: str, *, when: str = "") -> None:
    op.execute(
        f"CREATE TRIGGER tr_clm_ledger_{name} BEFORE {act} ON clm_ledger {when} "
        f"BEGIN SELECT RAISE(ABORT, '{_REFUSED.format(because)}'); END"
    )


def _import() -> None:
    connection = op.get_bind()
    runs = connection.execute(
        sa.text(
            "SELECT run_id, version, decision, status, reason, coalesce(completed_at, started_at) AS at "
            "FROM clm_runs WHERE status != 'running'"
        )
    )
    crowns = connection.execute(
        sa.text(
            "SELECT id, run_id, version, candidate_sha256, updated_at AS at "
            "FROM clm_promotions WHERE state = 'COMMITTED'"
        )
    )
    found = [(row.at, 1, _run(row)) for row in runs] + [(row.at, 0, _crown(row)) for row in crowns]
    # A run closes after its promotion; at the same moment the crown comes first, too.
    for at, _, entry in sorted(found, key=lambda one: (one[0], one[1], one[2].subject)):
        append(connection, entry, datetime.fromisoformat(at))


def _run(row: sa.Row[Any]) -> LedgerEntry:
    return LedgerEntry(
        kind=LedgerKind.IMPORTED,
        subject=row.run_id,
        run_id=row.run_id,
        version=row.version,
        outcome=row.decision or row.status.upper(),
        judged=row.decision in ("PROMOTE", "HOLD", "REJECT"),
        reason=row.reason,
    )


def _crown(row: sa.Row[Any]) -> LedgerEntry:
    return LedgerEntry(
        kind=LedgerKind.IMPORTED,
        subject=f"promotion {row.id}",
        run_id=row.run_id,
        version=row.version,
        outcome=CROWNED,
        judged=False,
        reason=f"the engine runs on {row.version}",
        facts={"sha256": row.candidate_sha256},
    )
