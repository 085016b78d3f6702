"""Rows of clm_ledger: appended in the transaction that they describe, always read in full."""

from dataclasses import asdict, replace
from datetime import datetime
from typing import Any

from sqlalchemy import Row, insert, select
from sqlalchemy.engine import Connection

from clm.clock import iso
from clm.domain.chain import hash_of
from clm.domain.ledger import GENESIS, LedgerEntry, LedgerKind, LedgerRow
from clm.ports import RunStatus
from clm.store.json_text import to_text
from clm.store.schema import has_table
from clm.store.tables import ledger, runs


def append(connection: Connection, entry: LedgerEntry, now: datetime) -> LedgerRow:
    """Append a row and return it; if the subject already has a row, return that one."""
    known = select(ledger).where(ledger.c.kind == entry.kind.value, ledger.c.subject == entry.subject)
    if found := connection.execute(known).first():
        return _row(found)
    last = connection.execute(select(ledger).order_by(ledger.c.seq.desc()).limit(1)).first()
    row = chained(entry, now, seq=last.seq + 1 if last else 1, previous=last.sha256 if last else GENESIS)
    connection.execute(insert(ledger).values(asdict(row)))
    return row


def chained(entry: LedgerEntry, now: datetime, *, seq: int, previous: str) -> LedgerRow:
    """Return the row for `entry` that follows the row with hash `previous`."""
    row = LedgerRow(
        seq=seq,
        kind=entry.kind.value,
        subject=entry.subject,
        run_id=entry.run_id,
        version=entry.version,
        outcome=entry.outcome,
        judged=int(entry.judged),
        reason=entry.reason,
        facts=to_text(dict(entry.facts)),
        recorded_at=iso(now),
        previous_sha256=previous,
        sha256="",
    )
    return replace(row, sha256=hash_of(row))


def row_of(connection: Connection, kind: LedgerKind, subject: str) -> LedgerRow | None:
    """Return the row of a subject, or None."""
    if not has_table(connection, ledger.name):
        return None
    known = select(ledger).where(ledger.c.kind == kind.value, ledger.c.subject == subject)
    found = connection.execute(known).first()
    return _row(found) if found else None


def all_rows(connection: Connection) -> list[LedgerRow]:
    """Return the whole ledger in order; empty if our tables do not exist."""
    if not has_table(connection, ledger.name):
        return []
    return [_row(row) for row in connection.execute(select(ledger).order_by(ledger.c.seq))]


def closed_runs(connection: Connection) -> list[str]:
    """Return the ids of all runs that have ended, oldest first."""
    if not has_table(connection, runs.name):
        return []
    ended = select(runs.c.run_id).where(runs.c.status != RunStatus.RUNNING.value).order_by(runs.c.started_at)
    return list(connection.execute(ended).scalars())


def _row(row: Row[Any]) -> LedgerRow:
    return LedgerRow(**row._mapping)
