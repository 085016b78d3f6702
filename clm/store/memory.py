"""Memory available to this process, and memory needed to read samples."""

import contextlib
import ctypes
from pathlib import Path

_MEMINFO = Path("/proc/meminfo")
_CGROUP = Path("/proc/self/cgroup")
_CGROUPS = Path("/sys/fs/cgroup")

_COLUMN_BYTES = 60
"""Bytes per row in addition to its features."""
_TWICE = 2.0
"""Columns are partly held twice while they are sorted and merged."""
_WORKING_BYTES = 100 << 20


def bytes_to_read(rows: int, features: int) -> int:
    """Return the approximate peak memory in bytes for reading this many samples."""
    return int(rows * (_COLUMN_BYTES + 8 * features) * _TWICE) + _WORKING_BYTES


def give_back() -> None:
    """Return freed memory to the machine: glibc keeps it, in pieces too small for the next large array."""
    with contextlib.suppress(OSError, AttributeError):  # another C library has no malloc_trim
        ctypes.CDLL(None).malloc_trim(0)


def available_bytes() -> int | None:
    """Return the bytes that the machine and the control group leave available; None if unknown."""
    limits = [limit for limit in (_of_the_machine(), _of_the_group()) if limit is not None]
    return min(limits, default=None)


def _of_the_machine() -> int | None:
    try:
        lines = _MEMINFO.read_text().splitlines()
    except OSError:
        return None
    kilobytes = [line.split()[1] for line in lines if line.startswith("MemAvailable:")]
    return int(kilobytes[0]) * 1024 if kilobytes else None


def _of_the_group() -> int | None:
    try:
        group = _CGROUP.read_text().partition("0::")[2].strip()
        directory = _CGROUPS / group.lstrip("/")
        limit = (directory / "memory.max").read_text().strip()
        current = int((directory / "memory.current").read_text())
        # The page cache counts as used, but the kernel reclaims it on demand.
        kept = (directory / "memory.stat").read_text().split("inactive_file ")[1].split()[0]
    except (OSError, ValueError, IndexError):
        return None
    return None if limit == "max" else int(limit) - current + int(kept)
