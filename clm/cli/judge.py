"""Verbs that judge existing models and runs: gates, verify-run, compare."""

from dataclasses import asdict
from pathlib import Path

import click

from clm.cli.learn import stop_on_signals
from clm.cli.verbs import Answer, Say, verb
from clm.settings import Settings


@verb("gates")
@click.argument("version")
@click.option(
    "--shadow",
    "file",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Read events from a file of JSON lines instead of the streams.",
)
def gates(settings: Settings, say: Say, version: str, file: Path | None) -> object:
    """Evaluate gates 3 and 4 on a model's shadow events; exit 1 unless both pass."""
    from clm.gates.shadow import judge_shadow
    from clm.gates.verdict import GateStatus
    from clm.report.sections import gate_rows
    from clm.verbs.shadow import shadow_record

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


@verb("verify-run")
@click.argument("run_id")
def verify_run(settings: Settings, say: Say, run_id: str) -> object:
    """Recompute a run's figures, verdicts and decision and check its files; exit 1 on a difference."""
    from clm.verbs.verify_run import verify_run as check

    checks = check(settings, run_id)
    for one in checks:
        say(f"{'ok' if one.agrees else 'FAULT':5}  {one.name:16}  {one.message}")
    agrees = all(one.agrees for one in checks)
    answer = {"run_id": run_id, "agrees": agrees, "checks": [asdict(one) for one in checks]}
    return Answer(answer, exit_code=0 if agrees else 1)


@verb("compare")
@click.argument("first")
@click.argument("second")
def compare(settings: Settings, say: Say, first: str, second: str) -> object:
    """Score two models on the same rows: versions, or paths of checkpoints, including the old format."""
    from clm.report.sections import gate_rows
    from clm.report.side_by_side import lines, side_by_side
    from clm.verbs.compare import compare_models

    found = compare_models(settings, first, second, stop=stop_on_signals())
    for line in lines(found.names, found.first, found.second):
        say(line)
    for verdict in found.verdicts:
        say(f"{verdict.status.value:5}  {verdict.name:20}  {verdict.reason}")
    return {**side_by_side(found.names, found.first, found.second), "gates": gate_rows(found.verdicts)}
