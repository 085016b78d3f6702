"""Read-only verbs: status, runs, show."""

from pathlib import Path
from typing import Any

import click
import orjson

from clm.cli.verbs import Say, verb
from clm.errors import UsageError
from clm.evaluation.attempts import in_percent
from clm.settings import Settings


@verb("status")
def status(settings: Settings, say: Say) -> object:
    """Show what the daemon is doing, the champion, and what is waiting."""
    from clm.verbs.overview import overview

    facts = overview(settings)
    for name, value in facts.items():
        say(f"{name.replace('_', ' '):18} {_attempts(value) if name == 'attempts' else _plain(value)}")
    return facts


@verb("runs")
@click.option("--limit", type=click.IntRange(1, 10_000), default=20, help="Number of runs, newest first.")
def runs(settings: Settings, say: Say, limit: int) -> object:
    """List the latest runs."""
    from clm.verbs.overview import recent_runs

    rows = recent_runs(settings, limit)
    for row in rows:
        number, decision = row["ledger_row"] or "-", row["decision"] or "-"
        say(f"{number:>5}  {row['run_id']}  {row['status']:11}  {decision:8}  {row['reason']}")
    if not rows:
        say("no run yet; `clm run` starts one")
    return {"runs": rows}


@verb("show")
@click.argument("run_id")
def show(settings: Settings, say: Say, run_id: str) -> object:
    """Show the proof pack of a run."""
    from clm.verbs.overview import ledger_row

    # Only the last part: an argument like ../x must not leave the directory of the runs.
    directory = settings.runs_dir / Path(run_id).name
    try:
        proof = orjson.loads((directory / "proof.json").read_bytes())
        text = (directory / "proof.md").read_text(encoding="utf-8")
    except (OSError, ValueError) as exc:
        raise UsageError(
            "RUN_UNKNOWN", f"{directory} has no proof pack that can be read; `clm runs` lists the runs"
        ) from exc
    say(text)
    row = ledger_row(settings, directory.name)
    say(f"Ledger row {row}." if row else "Not in the ledger.")
    return {**proof, "ledger_row": row}


def _attempts(facts: Any) -> str:
    if facts["ledger_broken"]:
        return f"the ledger is broken: {facts['ledger_broken']}; `clm verify-ledger`"
    return (
        f"the next on the champion's place is number {facts['next']}, "
        f"at {in_percent(facts['confidence'])} % coverage; "
        f"{facts['left']:.2g} of {facts['alpha']:.2g} is left after it"
    )


def _plain(value: object) -> str:
    if isinstance(value, dict):
        return "  ".join(str(value[name] or "-") for name in ("run_id", "status", "decision", "reason"))
    return "-" if value is None else str(value)
