"""The console script."""

import sys

# structlog loads rich, where that is installed, for tracebacks that a journal never shows: megabytes of a
# daemon that shares its server with the engine.
sys.modules["rich"] = None  # type: ignore[assignment]  # import's own way of saying "not there"
import structlog  # noqa: E402, F401

del sys.modules["rich"]

from clm.cli import main  # noqa: E402

if __name__ == "__main__":
    main()
