"""Disk usage, and when the disks are too full to train."""

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from clm.domain.freeze import Freeze, halted


@dataclass(frozen=True, slots=True, kw_only=True)
class Disk:
    """The file system of a path."""

    path: Path
    total_bytes: int
    free_bytes: int
    """Free for this user: space reserved for root does not count."""

    @property
    def used_share(self) -> float:
        """Return the share of space in use."""
        return 1 - self.free_bytes / self.total_bytes if self.total_bytes else 1.0

    def __str__(self) -> str:
        return f"{self.path}: {self.free_bytes / 1e9:.1f} GB free ({1 - self.used_share:.0%})"


def disk_of(path: Path) -> Disk:
    """Return the file system of `path`, which need not exist yet."""
    # statvfs(3) needs an existing path; a missing directory will be on the disk of its parent.
    there = next(p for p in (path, *path.parents) if p.exists())
    usage = shutil.disk_usage(there)
    return Disk(path=path, total_bytes=usage.total, free_bytes=usage.free)


class DiskBrake:
    """Stops runs on a nearly full disk: a full disk also breaks the engine's writes."""

    def __init__(
        self,
        paths: Sequence[Path],
        *,
        min_free_bytes: int,
        min_free_share: float,
        disk: Callable[[Path], Disk] = disk_of,
    ) -> None:
        self._paths = tuple(paths)
        self._min_free_bytes = min_free_bytes
        self._min_free_share = min_free_share
        self._disk = disk

    def frozen_because(self) -> str | None:
        """Return which disk is too full, or None if all have enough space."""
        for path in self._paths:
            disk = self._disk(path)
            # Both limits must hold: a share is too small on a small disk and too large on a large one.
            enough = disk.free_bytes >= self._min_free_bytes and 1 - disk.used_share >= self._min_free_share
            if not enough:
                return (
                    f"{disk}, a run needs {self._min_free_bytes / 1e9:.1f} GB and "
                    f"{self._min_free_share:.0%}; free some space"
                )
        return None

    def freeze(self) -> Freeze:
        """Return the full disk as a freeze."""
        return halted(self.frozen_because())
