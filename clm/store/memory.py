"""How much memory this process may still take, and how much a reading will."""

from pathlib import Path

_MEMINFO = Path("/proc/meminfo")
_CGROUP = Path("/proc/self/cgroup")
_CGROUPS = Path("/sys/fs/cgroup")

_COLUMN_BYTES = 51
"""Of a row in addition to its features."""
_TWICE = 2.0
"""Columns are held twice, in part, while they are put in order and merged."""
_WORKING_BYTES = 100 << 20


def bytes_to_read(rows: int, features: int) -> int:
    """Return about how much memory reading so many samples takes at its peak."""
    return int(rows * (_COLUMN_BYTES + 8 * features) * _TWICE) + _WORKING_BYTES


def available_bytes() -> int | None:
    """Return what may still be taken, by the machine and by the control group; None where nothing says."""
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
        # Pages of files count as used and are given up when memory is wanted.
        kept = (directory / "memory.stat").read_text().split("inactive_file ")[1].split()[0]
    except (OSError, ValueError, IndexError):
        return None
    return None if limit == "max" else int(limit) - current + int(kept)
