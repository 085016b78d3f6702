"""The verb that checks the ledger: verify-ledger."""

from dataclasses import asdict

import click

from clm.cli.verbs import Answer, Say, verb
from clm.domain.chain import Break
from clm.settings import Settings


@verb("verify-ledger")
@click.option(
    "--accept",
    metavar="REASON",
    default="",
    help="Accept the breaks that were found; the reason is stored in the ledger.",
)
def verify_ledger(settings: Settings, say: Say, accept: str) -> object:
    """Check that no row of the ledger was changed, removed or inserted later; exit 1 if one was."""
    from clm.verbs.verify_ledger import accept_breaks, check_ledger

    found = check_ledger(settings)
    for one in found.breaks:
        say(f"{one.fault:10}  {one.message}")
    if found.breaks and accept.strip():
        accept_breaks(settings, found.breaks, accept.strip())
        say(f"accepted: {accept.strip()}")
        found = check_ledger(settings)
    say(
        f"{found.rows:,} rows, head {found.head_sha256}, {found.heads:,} proof packs hold a head: "
        f"{'BROKEN' if found.breaks else 'whole'}"
    )
    body = {**asdict(found), "whole": not found.breaks, "first_broken_row": _first(found.breaks)}
    return Answer(body, exit_code=1 if found.breaks else 0)


def _first(breaks: tuple[Break, ...]) -> int | None:
    return min((one.seq for one in breaks), default=None)
