"""Verify the ledger: its chain, the runs it must contain, and the heads recorded in proof packs."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import orjson
import structlog

from clm.clock import SystemClock, iso
from clm.domain.chain import Break, Head, acceptance
from clm.settings import Settings
from clm.store.contract import check_contract
from clm.store.migrate import migrate
from clm.store.runs import SqliteJournal

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerCheck:
    """The breaks, in order."""

    rows: int
    head_sha256: str
    heads: int
    """Proof packs with a head, each compared with the chain."""
    breaks: tuple[Break, ...]


def check_ledger(settings: Settings) -> LedgerCheck:
    """Verify the whole chain; nothing is written.

    Raises:
        DataError: the store cannot be read.
    """
    check_contract(settings.store)
    journal = SqliteJournal(settings.store, SystemClock())
    # Heads first: a row appended during the check must not look like a break.
    heads = list(heads_in(settings.runs_dir))
    found, standing = journal.ledger_breaks(heads), journal.standing()
    return LedgerCheck(
        rows=standing.rows, head_sha256=standing.head_sha256, heads=len(heads), breaks=tuple(found)
    )


def accept_breaks(settings: Settings, found: tuple[Break, ...], reason: str) -> None:
    """Accept these breaks; the ledger records who accepted them and why."""
    migrate(settings.store)
    clock = SystemClock()
    SqliteJournal(settings.store, clock).append(acceptance(found, reason, iso(clock.now())))


def heads_in(runs_dir: Path) -> Iterator[Head]:
    """Yield the ledger head in each proof pack, as of the run's start."""
    for path in sorted(runs_dir.glob("*/proof.json")):
        try:
            pack_head = orjson.loads(path.read_bytes())["ledger"]
            head = Head(seen_by=str(path), seq=int(pack_head["rows"]), sha256=str(pack_head["head_sha256"]))
        except (OSError, ValueError, KeyError, TypeError):
            # Corrupt, or written before the ledger existed: it has no head.
            log.info("proof.without_ledger_head", path=str(path))
            continue
        yield head
