"""The result of discovery for one asset on the server."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Asset:
    """A file or a group of files, and its use."""

    kind: str
    path: str
    size_bytes: int
    usable: bool
    """For this model: as samples or as candles."""
    because: str
    details: Mapping[str, object] = field(default_factory=dict)


def printable(path: Path | str) -> str:
    """Return a path as text that is safe in any encoding and terminal; file names are untrusted."""
    text = str(path).encode("utf-8", "replace").decode()
    return "".join(char if char.isprintable() else "?" for char in text)
