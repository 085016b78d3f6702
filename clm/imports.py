"""Packages that others load for users we are not: what is not imported costs neither seconds nor memory."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def hidden(*names: str) -> Iterator[None]:
    """Let these packages seem not installed to what is imported meanwhile; what is loaded stays as it is."""
    absent = [name for name in names if name not in sys.modules]
    # None says "not installed" to an import.
    sys.modules.update(dict.fromkeys(absent))  # type: ignore[arg-type]
    try:
        yield
    finally:
        for name in absent:
            del sys.modules[name]
