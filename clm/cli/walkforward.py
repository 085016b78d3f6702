"""The verb walkforward."""

from datetime import UTC, datetime

import click

from clm.cli.learn import stop_on_signals
from clm.cli.verbs import Say, verb
from clm.settings import Settings

DAY = click.DateTime(formats=["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"])


@verb("walkforward")
@click.option("--cuts", type=click.IntRange(1, 1000), default=6, help="Maximum number of cuts (6).")
@click.option("--from", "since", type=DAY, metavar="DATE", default=None, help="No earlier cut; UTC.")
@click.option(
    "--to", "until", type=DAY, metavar="DATE", default=None, help="No later cut; default: the newest sample."
)
@click.option(
    "--every",
    "every_days",
    type=click.IntRange(1, 3650),
    metavar="DAYS",
    default=None,
    help="Days between cuts; default: the first day of each month.",
)
@click.option("--at-once", type=click.IntRange(1, 64), default=2, help="Maximum parallel trainings (2).")
def walkforward(
    settings: Settings,
    say: Say,
    cuts: int,
    since: datetime | None,
    until: datetime | None,
    every_days: int | None,
    at_once: int,
) -> object:
    """Train and judge at past cuts of time, with what was known then.

    Reports candidate, logistic regression, boosted trees and net return at each cut, and their means.
    Finished cuts are kept, so a run that was interrupted resumes. Nothing is registered or promoted.
    """
    from clm.evaluation.walk_forward import CutPlan
    from clm.report.walk_forward import document, lines
    from clm.verbs.walkforward import CutDone, newest_sample, walk_forward

    plan = CutPlan(
        cuts=cuts,
        until=until.replace(tzinfo=UTC) if until else newest_sample(settings),
        since=since.replace(tzinfo=UTC) if since else None,
        every_days=every_days,
    )

    def show(done: CutDone) -> None:
        result = done.result
        what = result.refused_because or ("kept" if done.kept else f"{result.seconds:.0f} s")
        click.echo(f"cut {result.cut:%Y-%m-%d}  {what}", err=True)

    results = walk_forward(settings, plan, stop=stop_on_signals(), on_cut=show, at_once=at_once)
    found = document(results, settings.evaluation_policy(), settings.gate_policy())
    for line in lines(found):
        say(line)
    return {"store": str(settings.store), **found}
