"""Verbs for operators: promote, rollback, activate, pin, pause, resume, history, reconcile."""

import click

from clm.cli.learn import stop_on_signals
from clm.cli.verbs import Answer, Say, verb
from clm.errors import PromotionError
from clm.ports import PromotionOutcome, PromotionState
from clm.settings import Settings

_override = click.option(
    "--override", metavar="REASON", help="Proceed against the rules; the reason is recorded."
)


@verb("promote")
@click.argument("version")
@_override
def promote(settings: Settings, say: Say, version: str, override: str | None) -> object:
    """Promote a registered model; one that failed its gates needs --override."""
    from clm.verbs.operate import promote_version

    return _told(promote_version(settings, version, override=override, stop=stop_on_signals()), say)


@verb("rollback")
@click.argument("version", required=False)
@click.option("--reason", default="a person wanted it back", help="Reason; stored with the promotion.")
def rollback(settings: Settings, say: Say, version: str | None, reason: str) -> object:
    """Promote a former champion again: the previous one, or VERSION from `clm history`."""
    from clm.verbs.operate import roll_back

    return _told(roll_back(settings, version, reason=reason, stop=stop_on_signals()), say)


@verb("activate")
@click.argument("version")
@_override
def activate(settings: Settings, say: Say, version: str, override: str | None) -> object:
    """Let the engine trade on the champion, as root; gates 3 and 4 must pass."""
    from clm.verbs.operate import activate as go_live

    ended = go_live(settings, version, override=override, stop=stop_on_signals())
    say(ended.reason)
    body = {"version": version, "live": ended.is_live, "reason": ended.reason}
    return Answer(body, exit_code=0 if ended.is_live else PromotionError.exit_code)


@verb("pin")
@click.argument("version", required=False)
@click.option("--off", is_flag=True, help="Remove the pin.")
@click.option("--reason", default="a person wants it to stay", help="Reason; shown by `clm status`.")
def pin(settings: Settings, say: Say, version: str | None, off: bool, reason: str) -> object:
    """Keep the champion: nothing replaces it until the pin is removed."""
    from clm.verbs.operate import pin_champion, unpin

    if off:
        before = unpin(settings)
        say(f"{before} is no longer pinned" if before else "nothing was pinned")
        return {"pinned": None}
    pinned = pin_champion(settings, version, reason=reason)
    say(f"{pinned} is pinned; `clm pin --off` removes the pin")
    return {"pinned": pinned}


@verb("pause")
@click.argument("reason", nargs=-1)
def pause(settings: Settings, say: Say, reason: tuple[str, ...]) -> object:
    """Stop automatic training and promotion until `clm resume`; triggers wait in the queue."""
    from clm.verbs.operate import pause_learning

    words = " ".join(reason) or "a person said so"
    pause_learning(settings, words)
    say(f"paused: {words}; `clm resume` ends it")
    return {"paused": words}


@verb("resume")
def resume(settings: Settings, say: Say) -> object:
    """End a pause, and a hold after rollbacks; a pin stays."""
    from clm.verbs.operate import resume_learning

    lifted = resume_learning(settings)
    for name, why in lifted.items():
        say(f"{name} lifted: {why}")
    if not lifted:
        say("nothing was paused or held")
    return {"lifted": lifted}


@verb("history")
def history(settings: Settings, say: Say) -> object:
    """List the champions with times and reasons, newest first."""
    from clm.verbs.operate import champions

    rows = champions(settings)
    for row in rows:
        time = f"{row['since'] or 'before':27}  to {row['until'] or 'now':27}"
        say(f"{row['version']}  {time}  {row['kind']:8}  {row['why']}")
    if not rows:
        say("no champion is recorded yet")
    return {"champions": rows}


@verb("reconcile")
@click.option("--yes", is_flag=True, help="Make the record follow the environment file.")
def reconcile(settings: Settings, say: Say, yes: bool) -> object:
    """Compare the record with the engine's environment file; exit 1 if they differ."""
    from clm.verbs.operate import reconcile_record

    differences = reconcile_record(settings, repair=yes)
    for line in differences:
        say(line)
    if not differences:
        say("the record agrees with the environment file")
    elif yes:
        say("repaired")
    return Answer(
        {"differences": differences, "repaired": yes}, exit_code=1 if differences and not yes else 0
    )


def _told(outcome: PromotionOutcome, say: Say) -> Answer:
    say(f"promotion {outcome.state.value}: {outcome.reason}")
    for change in outcome.changes:
        say(f"  {change}")
    body = {
        "version": outcome.version,
        "state": outcome.state.value,
        "reason": outcome.reason,
        "changes": list(outcome.changes),
    }
    good = outcome.state is PromotionState.COMMITTED
    return Answer(body, exit_code=0 if good else PromotionError.exit_code)
