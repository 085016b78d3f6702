"""Verbs that judge again what is there: gates."""

from pathlib import Path

import click

from clm.cli.verbs import Answer, Say, verb
from clm.settings import Settings


@verb("gates")
@click.argument("version")
@click.option(
    "--shadow",
    "file",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Events as JSON lines instead of the streams.",
)
def gates(settings: Settings, say: Say, version: str, file: Path | None) -> object:
    """Ask gates 3 and 4 what a model showed in shadow; exit 1 unless both pass."""
    from clm.daemon.shadow import shadow_record
    from clm.gates.shadow import judge_shadow
    from clm.gates.verdict import GateStatus
    from clm.report.sections import gate_rows

    record = shadow_record(settings, version, file=file)
    verdicts = judge_shadow(record)
    for verdict in verdicts:
        say(f"{verdict.status.value:5}  {verdict.name:20}  {verdict.reason}")
    for reason, n in record.left_out.items():
        say(f"left out  {n} of {reason}")
    passed = all(verdict.status is GateStatus.PASS for verdict in verdicts)
    answer = {
        "version": version,
        "events": len(record),
        "left_out": dict(record.left_out),
        "gates": gate_rows(verdicts),
    }
    return Answer(answer, exit_code=0 if passed else 1)
