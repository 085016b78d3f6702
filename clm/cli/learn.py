"""Verbs that train: run, trigger, serve."""

import signal
import threading

import click

from clm import logs
from clm.cli.verbs import Say, cli, store_option, verb
from clm.domain.job import EpochReport
from clm.errors import ConfigError, DataError
from clm.settings import Settings, runs_under_journal
from clm.verbs.configuration import settings_for, warn_of_old_names


@verb("run")
@click.option("--no-promote", is_flag=True, help="Judge and register the model, but do not promote it.")
def run(settings: Settings, say: Say, no_promote: bool) -> object:
    """Run one learning cycle now, in the foreground."""
    from clm.verbs.run import run_once

    return run_once(settings, say, stop=stop_on_signals(), on_epoch=show_epoch, promote=not no_promote)


@verb("trigger")
@click.option("--reason", default="asked for by a person", help="Reason; stored with the task.")
def trigger(settings: Settings, say: Say, reason: str) -> object:
    """Queue a retrain for the daemon."""
    from clm.domain.task import Trigger
    from clm.wiring import wire

    wired = wire(settings)
    task_id = wired.queue.submit(
        Trigger(model=settings.line.family, reason=reason, requested_by="operator", source="cli"),
        wired.clock.now(),
    )
    say(f"task {task_id} waits for the daemon")
    return {"task_id": task_id}


@cli.command()
@store_option
def serve(store: click.Path | None) -> None:
    """Run the daemon in the foreground, as systemd does."""
    from clm.daemon.serve import serve as run_daemon

    # Twice: errors in the settings are logged too, before the configured level is known.
    logs.configure("info", journal=runs_under_journal())
    settings = settings_for(store)  # type: ignore[arg-type]  # click.Path(path_type=Path) gives a Path
    logs.configure(settings.log_level, journal=runs_under_journal())
    warn_of_old_names()
    try:
        run_daemon(settings)
    except DataError as error:
        # An unusable store at start is a configuration error: systemd must not restart the daemon.
        raise ConfigError(error.code, error.message) from error


def stop_on_signals() -> threading.Event:
    """Return an event that SIGINT and SIGTERM set, so that a foreground run stops cleanly."""
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    return stop


def show_epoch(epoch: EpochReport) -> None:
    mark = " *" if epoch.best else ""
    of = f"{epoch.network}  " if epoch.network else ""
    learnt = f"train {epoch.train_loss:.4f}" if epoch.epoch else "at start"
    click.echo(
        f"{of}epoch {epoch.epoch:3}/{epoch.epochs}  {learnt:12}  "
        f"validation {epoch.validation_log_loss:.4f}  AUROC {epoch.validation_auroc:.3f}  "
        f"std {epoch.validation_p_win_std:.3f}  {epoch.seconds:.1f} s{mark}",
        # stderr, so that stdout has only the result.
        err=True,
    )
