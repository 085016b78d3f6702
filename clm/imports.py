"""Hide optional packages that a library imports but we never use, to save start-up time and memory."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def hidden(*names: str) -> Iterator[None]:
    """Make these packages look uninstalled to imports in the block; loaded packages are unaffected."""
    absent = [name for name in names if name not in sys.modules]
    # A None entry makes an import fail as if the package were not installed.
    sys.modules.update(dict.fromkeys(absent))  # type: ignore[arg-type]
    try:
        yield
    finally:
        for name in absent:
            del sys.modules[name]
