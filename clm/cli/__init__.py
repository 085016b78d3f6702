"""The command line: every verb answers people on a terminal and, with --json, machines on stdout."""

import sys
from typing import NoReturn

import click

from clm.cli import backfill, check, data, learn, look, stores
from clm.cli.verbs import cli, emit
from clm.errors import ClmError, UsageError

__all__ = ["backfill", "check", "data", "learn", "look", "main", "stores"]


def main() -> NoReturn:
    """Run the command line; every error is one line and an exit code of sysexits.h."""
    try:
        code = cli.main(standalone_mode=False)
    except ClmError as error:
        if "--json" in sys.argv[1:]:
            emit({"error": {"code": error.code, "message": error.message}})
        click.echo(f"clm: {error}", err=True)
        sys.exit(error.exit_code)
    except click.UsageError as error:
        click.echo(f"clm: USAGE: {error.format_message()}; `clm --help` lists the verbs", err=True)
        sys.exit(UsageError.exit_code)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(130)
    sys.exit(code if isinstance(code, int) else 0)
