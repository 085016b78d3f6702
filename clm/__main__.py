"""The console script."""

import os
import sys

from clm.errors import ClmError
from clm.owner import give_up_root


def main() -> None:
    """Give up root's rights, then load and run the command line."""
    arguments = sys.argv[1:]
    try:
        working_as = give_up_root(arguments, os.environ)  # noqa: TID251  before clm.settings can be loaded
    except ClmError as error:
        sys.stderr.write(f"clm: {error}\n")
        raise SystemExit(error.exit_code) from error
    if working_as and "--json" not in arguments and "serve" not in arguments:
        sys.stderr.write(f"{working_as}\n")
    # structlog loads rich, where that is installed, for tracebacks that a journal never shows: megabytes of a
    # daemon that shares its server with the engine.
    sys.modules["rich"] = None  # type: ignore[assignment]  # import's own way of saying "not there"
    import structlog  # noqa: F401

    del sys.modules["rich"]
    from clm.cli import main as run

    run()


if __name__ == "__main__":
    main()
