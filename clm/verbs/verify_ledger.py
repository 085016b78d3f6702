"""Is the ledger whole? Its own chain, the runs that must be in it, and the heads that proof packs carry."""

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
    """What was found; the first break first."""

    rows: int
    head_sha256: str
    heads: int
    """Proof packs that carry a head, each held against the chain."""
    breaks: tuple[Break, ...]


def check_ledger(settings: Settings) -> LedgerCheck:
    """Look at the whole chain; nothing is written.

    Raises:
        DataError: the store cannot be read.
    """
    check_contract(settings.store)
    journal = SqliteJournal(settings.store, SystemClock())
    # The heads first: a row that is appended meanwhile is no break.
    heads = list(heads_in(settings.runs_dir))
    found, standing = journal.ledger_breaks(heads), journal.standing()
    return LedgerCheck(
        rows=standing.rows, head_sha256=standing.head_sha256, heads=len(heads), breaks=tuple(found)
    )


def accept_breaks(settings: Settings, found: tuple[Break, ...], reason: str) -> None:
    """Let these breaks stand; who did it and why is a row of the ledger itself."""
    migrate(settings.store)
    clock = SystemClock()
    SqliteJournal(settings.store, clock).record(acceptance(found, reason, iso(clock.now())))


def heads_in(runs_dir: Path) -> Iterator[Head]:
    """Yield what each proof pack saw of the ledger when its run began."""
    for path in sorted(runs_dir.glob("*/proof.json")):
        try:
            told = orjson.loads(path.read_bytes())["ledger"]
            head = Head(seen_by=str(path), seq=int(told["rows"]), sha256=str(told["head_sha256"]))
        except (OSError, ValueError, KeyError, TypeError):
            # Torn, or of a program that knew no ledger: it says nothing.
            log.info("proof.without_ledger_head", path=str(path))
            continue
        yield head
