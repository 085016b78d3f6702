"""What discovery answers about one thing that lies on the server."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Asset:
    """A file or a group of files, and of what use it is."""

    kind: str
    path: str
    size_bytes: int
    usable: bool
    """For this model: as samples or as candles."""
    because: str
    details: Mapping[str, object] = field(default_factory=dict)


def told(path: Path | str) -> str:
    """Return a path as text that any encoding and any terminal bears; file names are strangers' words."""
    text = str(path).encode("utf-8", "replace").decode()
    return "".join(char if char.isprintable() else "?" for char in text)
