"""The command line. Every verb prints text for people or, with --json, one document for programs."""

import sys
import traceback
from pathlib import Path
from typing import NoReturn

import click
from click.exceptions import NoArgsIsHelpError

from clm.cli import backfill, check, data, judge, learn, ledger, look, operate, stores, walkforward
from clm.cli.verbs import cli, emit
from clm.errors import ClmError, Interrupted, UsageError

__all__ = [
    "backfill",
    "check",
    "data",
    "judge",
    "learn",
    "ledger",
    "look",
    "main",
    "operate",
    "stores",
    "walkforward",
]


INTERRUPTED = 130
"""128 + SIGINT, the exit code that shells use."""


def _fail(error: ClmError, exit_code: int) -> NoReturn:
    if "--json" in sys.argv[1:]:
        emit({"error": {"code": error.code, "message": error.message}})
    click.echo(f"clm: {error}", err=True)
    sys.exit(exit_code)


def main() -> NoReturn:
    """Run the command line; every error is one line and an exit code of sysexits.h."""
    try:
        code = cli.main(standalone_mode=False)
    except Interrupted as stopped:
        _fail(stopped, INTERRUPTED)
    except ClmError as error:
        _fail(error, error.exit_code)
    except NoArgsIsHelpError as bare:
        click.echo(bare.format_message())
        sys.exit(UsageError.exit_code)
    except click.UsageError as error:
        said = f"{error.format_message()}; `clm --help` lists the verbs"
        _fail(UsageError("USAGE", said), UsageError.exit_code)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(INTERRUPTED)
    except Exception as bug:  # noqa: BLE001  # print one line with the place instead of a traceback
        frame = traceback.extract_tb(bug.__traceback__)[-1]
        where = f"{Path(frame.filename).name}:{frame.lineno}"
        _fail(ClmError("BUG", f"{type(bug).__name__}: {bug} ({where})"), ClmError.exit_code)
    sys.exit(code if isinstance(code, int) else 0)
