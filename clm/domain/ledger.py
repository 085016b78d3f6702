"""The ledger of attempts: what a row says, and what all of them say to the next attempt."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class LedgerKind(StrEnum):
    """Where a row comes from."""

    RUN = "run"
    TRIAL = "trial"
    """A try of the tuning ladder."""
    PROMOTION = "promotion"
    """A promotion came to its end; `reason` holds a person's words where a person wanted it."""
    IMPORTED = "imported"
    """Made of a run or promotion that is older than the ledger."""
    ACCEPTED = "accepted"
    """A person looked at breaks of the chain and let them stand."""


GENESIS = "0" * 64
"""What the first row names as the hash before it."""
CROWNED = "CROWNED"
"""Outcome of a promotion that made a new champion: the attempts are counted from here again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerEntry:
    """What a row is to say; `kind` and `subject` together name it for ever."""

    kind: LedgerKind
    subject: str
    """The run, `<run>/<trial>`, or the promotion."""
    run_id: str
    version: str | None
    outcome: str
    """PROMOTE, KEEP (HOLD in rows of 0.1), REJECT, REFUSED, FAILED, CROWNED, ROLLED_BACK, ..."""
    judged: bool
    """Whether a candidate was, or may have been, judged on test rows: such a row is an attempt."""
    reason: str
    facts: Mapping[str, object] = field(default_factory=dict)
    """Figures, hashes of the data, the weights and the proof pack."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerRow:
    """A row as it is stored; times are RFC 3339 text, `facts` is JSON text."""

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
    """What the ledger says of earlier candidates that were judged on test rows."""

    since_crown: int = 0
    """How many since the champion was crowned."""
    sharpes: tuple[float | None, ...] = ()
    """Sharpe ratio by trade of every candidate ever judged; None if it had no trades."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerStanding:
    """What the ledger says to the next attempt."""

    rows: int
    head_sha256: str
    """Hash of the newest row; carried by proof packs, so that rows taken from the end are missed."""
    champion: str | None
    """The version that was crowned last; None where nothing ever was."""
    crowned_at: str | None
    past: PastAttempts
    broken_because: str | None
    """The first break of the chain that no operator accepted, in one sentence; None where it holds."""


def facts_of(row: LedgerRow) -> dict[str, Any]:
    """Return the facts of a row; none where an edit left no JSON object, the break is reported elsewhere."""
    try:
        facts = json.loads(row.facts)
    except (ValueError, TypeError):
        return {}
    return facts if isinstance(facts, dict) else {}


def standing_of(rows: Sequence[LedgerRow], broken_because: str | None) -> LedgerStanding:
    """Return what the ledger says to the next attempt."""
    crown = next((row for row in reversed(rows) if row.outcome == CROWNED), None)
    judged = [row for row in rows if row.judged]
    # The champion's own run closes after its crowning and was an attempt on the one before.
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
