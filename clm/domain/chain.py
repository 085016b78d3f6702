"""The hash chain of the ledger: compute a row's hash, and find breaks.

A row's hash is SHA-256 over the canonical JSON of all its other values, including the previous row's hash:
keys sorted, no blanks, ASCII. To change a row, every later row must be rewritten, and then the heads in
proof packs and events no longer match. Only those heads show that the newest rows were removed.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass

from clm.domain.ledger import GENESIS, LedgerEntry, LedgerKind, LedgerRow, facts_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Break:
    """A place where the chain is broken."""

    seq: int
    fault: str
    """`edited`, `missing`, `misplaced`, `gone` or `unrecorded`."""
    found_sha256: str
    """Identifies the break together with `seq`: the hash of that row, or the missing hash or run."""
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """The newest row, as recorded outside the store."""

    seen_by: str
    seq: int
    sha256: str


def hash_of(row: LedgerRow) -> str:
    """Return the hash that the row must have."""
    values = {name: value for name, value in asdict(row).items() if name != "sha256"}
    # An edited row may hold values that JSON cannot represent. It must get another hash, not an exception.
    text = json.dumps(values, sort_keys=True, separators=(",", ":"), default=repr)
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def breaks(rows: Iterable[LedgerRow]) -> Iterator[Break]:
    """Yield every break in the order of the rows; after a break the check continues with the next row."""
    seq, previous = 0, GENESIS
    for row in rows:
        if row.seq != seq + 1:
            yield _break(seq + 1, "missing", row, f"the next row is {row.seq}")
        elif row.previous_sha256 != previous:
            shown = "it does not name the previous row's hash, so it was inserted or moved"
            yield _break(row.seq, "misplaced", row, shown)
        if hash_of(row) != row.sha256:
            yield _break(row.seq, "edited", row, "its hash does not match its content")
        seq, previous = row.seq, row.sha256


def gone(rows: Iterable[LedgerRow], heads: Iterable[Head]) -> Iterator[Break]:
    """Yield a break for every head that is not in the chain: rows were removed or rewritten."""
    known = {(row.seq, row.sha256) for row in rows} | {(0, GENESIS)}
    for head in heads:
        if (head.seq, head.sha256) not in known:
            shown = f"row {head.seq} is gone: {head.seen_by} recorded it with the hash {head.sha256[:16]}…"
            yield Break(seq=head.seq, fault="gone", found_sha256=head.sha256, message=shown)


def unrecorded(rows: Sequence[LedgerRow], closed_runs: Iterable[str]) -> Iterator[Break]:
    """Yield a break for every closed run that has no row."""
    known = {row.run_id for row in rows}
    for run_id in closed_runs:
        if run_id not in known:
            shown = f"run {run_id} is closed but has no row: rows were removed from the end"
            yield Break(seq=len(rows) + 1, fault="unrecorded", found_sha256=run_id, message=shown)


def not_accepted(rows: Iterable[LedgerRow], found: Iterable[Break]) -> list[Break]:
    """Return the breaks that no operator has accepted."""
    accepted = {
        (shown.get("seq"), shown.get("fault"), shown.get("found_sha256"))
        for row in rows
        if row.kind == LedgerKind.ACCEPTED and hash_of(row) == row.sha256
        for shown in facts_of(row).get("breaks", ())
    }
    return [one for one in found if (one.seq, one.fault, one.found_sha256) not in accepted]


def acceptance(found: Sequence[Break], reason: str, moment: str) -> LedgerEntry:
    """Return the ledger entry with which an operator accepts these breaks."""
    return LedgerEntry(
        kind=LedgerKind.ACCEPTED,
        subject=f"breaks accepted {moment}",
        run_id="",
        version=None,
        outcome="ACCEPTED",
        judged=False,
        reason=reason,
        facts={"breaks": [asdict(one) for one in found]},
    )


def _break(seq: int, fault: str, row: LedgerRow, shown: str) -> Break:
    return Break(seq=seq, fault=fault, found_sha256=row.sha256, message=f"row {seq} is {fault}: {shown}")
