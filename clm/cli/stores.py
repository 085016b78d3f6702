"""Verbs that make something new: store init, demo."""

from pathlib import Path

import click

from clm.cli.learn import show_epoch, stop_on_signals
from clm.cli.verbs import Say, cli, json_option, verb
from clm.settings import Settings


@cli.group()
def store() -> None:
    """Make a store, or bring our tables in it up to date."""


@verb("init", group=store)
def init(settings: Settings, say: Say) -> object:
    """Make an empty store of the existing shape; an existing file is left alone."""
    from clm.store.create import create_store

    create_store(settings.store)
    say(f"made {settings.store}")
    return {"store": str(settings.store)}


@cli.command("demo")
@click.option(
    "--root", type=click.Path(path_type=Path), default=Path("var"), help="Where everything is made."
)
@json_option
def demo(root: Path, as_json: bool) -> None:
    """Make a market, a store, an engine; run one learning cycle on them."""
    from clm import logs
    from clm.cli.verbs import emit
    from clm.verbs.demo import run_demo

    logs.configure("warning")
    answer = run_demo(
        root.resolve(), (lambda _line: None) if as_json else click.echo, stop_on_signals(), show_epoch
    )
    if as_json:
        emit(answer)


@verb("migrate", group=store)
def bring_up_to_date(settings: Settings, say: Say) -> object:
    """Bring our own tables in the store up to date; the daemon also does this when it starts."""
    from clm.store.contract import check_contract
    from clm.store.migrate import migrate

    check_contract(settings.store)
    migrate(settings.store)
    say(f"our tables in {settings.store} are up to date")
    return {"store": str(settings.store)}
