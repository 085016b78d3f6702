"""The ledger of attempts: its rows, and what they imply for the next attempt."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class LedgerKind(StrEnum):
    """The kind of event that a row records."""

    RUN = "run"
    TRIAL = "trial"
    """A tuning trial."""
    PROMOTION = "promotion"
    """A promotion ended; `reason` holds the person's reason if a person requested it."""
    IMPORTED = "imported"
    """Created from a run or promotion that is older than the ledger."""
    ACCEPTED = "accepted"
    """An operator accepted breaks of the chain."""


GENESIS = "0" * 64
"""The previous hash in the first row."""
CROWNED = "CROWNED"
"""Outcome of a promotion that made a new champion; the count of attempts restarts after it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerEntry:
    """The content of a new row; `kind` and `subject` together are its permanent key."""

    kind: LedgerKind
    subject: str
    """The run, `<run>/<trial>`, or the promotion."""
    run_id: str
    version: str | None
    outcome: str
    """PROMOTE, KEEP (HOLD in rows of 0.1), REJECT, REFUSED, FAILED, CROWNED, ROLLED_BACK, ..."""
    judged: bool
    """Whether a candidate was, or may have been, judged on test rows; such a row is an attempt."""
    reason: str
    facts: Mapping[str, object] = field(default_factory=dict)
    """Figures, and hashes of the data, the weights and the proof pack."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerRow:
    """A stored row; times are RFC 3339 text, `facts` is JSON text."""

    seq: int
    kind: str
    subject: str
    run_id: str
    version: str | None
    outcome: str
    judged: int
    reason: str
    facts: str
    recorded_at: str
    previous_sha256: str
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PastAttempts:
    """Earlier candidates that were judged on test rows."""

    since_crown: int = 0
    """Number of attempts since the champion was promoted."""
    sharpes: tuple[float | None, ...] = ()
    """Per-trade Sharpe ratio of every candidate ever judged; None if it had no trades."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerStanding:
    """The state of the ledger before the next attempt."""

    rows: int
    head_sha256: str
    """Hash of the newest row. Proof packs record it, so removed rows at the end are noticed."""
    champion: str | None
    """The version that was promoted last; None if there was no promotion."""
    crowned_at: str | None
    past: PastAttempts
    broken_because: str | None
    """The first break of the chain that no operator accepted, in one sentence; None if it is intact."""


def facts_of(row: LedgerRow) -> dict[str, Any]:
    """Return the facts of a row; empty if an edit left no JSON object. The chain check reports that break."""
    try:
        facts = json.loads(row.facts)
    except (ValueError, TypeError):
        return {}
    return facts if isinstance(facts, dict) else {}


def standing_of(rows: Sequence[LedgerRow], broken_because: str | None) -> LedgerStanding:
    """Return the state of the ledger before the next attempt."""
    crown = next((row for row in reversed(rows) if row.outcome == CROWNED), None)
    judged = [row for row in rows if row.judged]
    # The champion's own run closes after its promotion; it was an attempt against the previous champion.
    since = [row for row in judged if crown is None or (row.seq > crown.seq and row.run_id != crown.run_id)]
    return LedgerStanding(
        rows=rows[-1].seq if rows else 0,
        head_sha256=rows[-1].sha256 if rows else GENESIS,
        champion=crown.version if crown else None,
        crowned_at=crown.recorded_at if crown else None,
        past=PastAttempts(since_crown=len(since), sharpes=tuple(_sharpe(row) for row in judged)),
        broken_because=broken_because,
    )


def _sharpe(row: LedgerRow) -> float | None:
    value = facts_of(row).get("sharpe")
    return float(value) if isinstance(value, int | float) else None
