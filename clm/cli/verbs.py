"""Shared parts of all verbs: the group, --store, --json, settings and logs."""

import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
import orjson

from clm import __version__, logs
from clm.verbs.configuration import settings_for, warn_of_old_names


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="clm")
def cli() -> None:
    """Train, judge and promote the PatchTST model, and report the reasons."""


Say = Callable[[str], None]

store_option = click.option(
    "--store", type=click.Path(path_type=Path), default=None, help="Store to use instead of CLM_STORE."
)
json_option = click.option(
    "--json", "as_json", is_flag=True, help="One JSON object on stdout; logs on stderr."
)


@dataclass(frozen=True, slots=True)
class Answer:
    """A verb's answer with its own exit code."""

    body: object
    exit_code: int = field(default=0, kw_only=True)


def verb(name: str, *, group: click.Group = cli) -> Callable[[Callable[..., Any]], click.Command]:
    """Register a verb: it receives the settings and returns a JSON object; it prints text for people itself.

    The function is called as `function(settings, say, **arguments)`, where `say` prints a line for
    people and is silent with --json.
    """

    def wrap(function: Callable[..., object]) -> click.Command:
        @group.command(name=name, help=function.__doc__)
        @store_option
        @json_option
        @functools.wraps(function)
        def run(store: Path | None, as_json: bool, **arguments: object) -> None:
            settings = settings_for(store)
            logs.configure(settings.log_level)
            warn_of_old_names()
            answer = function(settings, _silent if as_json else click.echo, **arguments)
            full = answer if isinstance(answer, Answer) else Answer(answer)
            if as_json:
                emit(full.body)
            # After the output: a script needs the answer also if the exit code is not 0.
            if full.exit_code:
                click.get_current_context().exit(full.exit_code)

        return run

    return wrap


def _silent(_line: str) -> None:
    return None


def emit(answer: object) -> None:
    """Print one JSON object on stdout; figures that are not finite become null."""
    # orjson writes NaN as null, which every JSON reader accepts.
    click.echo(orjson.dumps(answer, option=orjson.OPT_SERIALIZE_NUMPY, default=str).decode())
