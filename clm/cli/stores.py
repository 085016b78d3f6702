"""Verbs that create something: store init, store migrate, demo."""

from pathlib import Path

import click

from clm.cli.learn import show_epoch, stop_on_signals
from clm.cli.verbs import Say, cli, json_option, verb
from clm.settings import Settings


@cli.group()
def store() -> None:
    """Create a store, or migrate our tables in it."""


@verb("init", group=store)
def init(settings: Settings, say: Say) -> object:
    """Create an empty store with the existing schema; an existing file is never changed."""
    from clm.store.create import create_store

    create_store(settings.store)
    say(f"made {settings.store}")
    return {"store": str(settings.store)}


@cli.command("demo")
@click.option("--root", type=click.Path(path_type=Path), default=Path("var"), help="Directory for all files.")
@json_option
def demo(root: Path, as_json: bool) -> None:
    """Simulate a market, create a store, start an engine, and run one learning cycle."""
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
    """Migrate our tables in the store to the current version; the daemon also does this at start."""
    from clm.store.contract import check_contract
    from clm.store.migrate import migrate

    # Before the migration: a mistyped path must not get our tables.
    check_contract(settings.store)
    migrate(settings.store)
    say(f"our tables in {settings.store} are up to date")
    return {"store": str(settings.store)}
