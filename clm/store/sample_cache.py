"""A cache of settled samples, stored as columns, so that a cycle reads only the new rows of a growing store.

The file `manifest` describes the cache and lists its other files, each a block of columns
(`clm.store.block_files`): large blocks that never change and are memory-mapped, and small blocks of newer
rows. Nothing is synced. Files that do not match the manifest, belong to another store or version, or are
too old are ignored, and the store is read again.
"""

import os
import zlib
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from secrets import token_hex
from typing import Any

import numpy as np
import orjson
import structlog

import clm
from clm.clock import HOUR, to_micros
from clm.data.columns import Block, merged_block
from clm.store.block_files import BlockFile, read_block, write_block
from clm.store.sample_growth import Known

log = structlog.get_logger()

_FORMAT = 2
_MANIFEST = "manifest"
_BLOCKS = "*.block"
_LAYOUTS = 4
"""Maximum layouts in the cache; rows with rarer layouts stay pending."""
_PENDING_AT_MOST = 200_000
"""A store with more pending rows than this is not cached."""
_LARGE_FROM_SHARE = 1 / 16
"""Newer rows are merged into the large block above this share of its rows."""
_FREE_BYTES = 500 << 20
"""Free space in bytes that the cache leaves to others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Kept:
    file: BlockFile
    block: Block


class SampleCache:
    """The cache of one store, in its own directory."""

    def __init__(self, directory: Path, *, max_age_h: float = 24.0, from_rows: int = 50_000) -> None:
        self.from_rows = from_rows
        """Minimum rows; a smaller store is not cached."""
        self._directory = directory
        self._max_age_h = max_age_h
        self._kept: list[_Kept] = []
        self._built_at = 0

    def load(self, store: Path, now: datetime) -> Known:
        """Return the cached rows; nothing if the cache is missing, corrupt, outdated or of another store."""
        self._kept, self._built_at = [], to_micros(now)
        try:
            manifest = _unsealed((self._directory / _MANIFEST).read_bytes())
            if manifest["about"] != _about(store):
                return self._nothing("it is of another store or version")
            if not 0 <= to_micros(now) - manifest["built_at"] < self._max_age_h * HOUR:
                return self._nothing("it is too old")
            files = [BlockFile.of_json(shown) for shown in manifest["blocks"]]
            kept = [_Kept(file=file, block=read_block(self._directory, file)) for file in files]
            known = Known(
                settled=tuple(each.block for each in kept),
                pending=np.array(manifest["pending"], dtype=np.int64),
                last_id=int(manifest["last_id"]),
                rows=int(manifest["rows"]),
                spellings={symbol: tuple(names) for symbol, names in manifest["spellings"].items()},
            )
        except FileNotFoundError:
            return self._nothing("there is none")
        except (OSError, ValueError, KeyError, TypeError) as exc:
            return self._nothing(f"it is damaged: {exc!r:.200}")
        self._kept, self._built_at = kept, manifest["built_at"]
        return known

    def save(self, store: Path, known: Known) -> None:
        """Save the cache; a failed write is logged and otherwise ignored."""
        if known.rows == 0 or len(known.pending) > _PENDING_AT_MOST:
            return
        try:
            self._directory.mkdir(parents=True, exist_ok=True, mode=0o750)
            self._save(store, known)
        except OSError as exc:
            log.warning("sample_cache.not_kept", directory=str(self._directory), error=str(exc))

    def _save(self, store: Path, known: Known) -> None:
        files, dropped = self._write_blocks(known)
        manifest = {
            "about": _about(store),
            "built_at": self._built_at,
            "last_id": known.last_id,
            "rows": known.rows,
            "spellings": known.spellings,
            "pending": np.concatenate([known.pending, *dropped]).tolist(),
            "blocks": [file.as_json() for file in files],
        }
        # The manifest comes last and by a rename: until then, the old one names complete old files.
        temporary = self._directory / f"{token_hex(4)}.tmp"
        temporary.write_bytes(_sealed(manifest))
        temporary.replace(self._directory / _MANIFEST)
        named = {file.name for file in files}
        # Only after the rename: the old manifest still named them. A reader's mapping stays valid
        # (unlink(2)).
        for path in (*self._directory.glob(_BLOCKS), *self._directory.glob("*.tmp")):
            if path.name not in named:
                path.unlink(missing_ok=True)

    def _write_blocks(self, known: Known) -> tuple[list[BlockFile], list[np.ndarray[Any, Any]]]:
        """Return the files of the settled rows, and the ids of settled rows that are not stored."""
        by_layout: dict[tuple[str, ...], list[Block]] = {}
        for block in known.settled:
            by_layout.setdefault(block.names, []).append(block)
        largest = sorted(by_layout, key=lambda names: -sum(map(len, by_layout[names])))
        files: list[BlockFile] = []
        for names in largest[:_LAYOUTS]:
            large, *small = sorted(by_layout[names], key=len, reverse=True)
            if sum(map(len, small)) > len(large) * _LARGE_FROM_SHARE:
                large, small = merged_block([large, *small]), []
            files.append(self._file_of(large))
            if small:
                files.append(self._file_of(merged_block(small)))
        dropped = [block.sample_id_R for names in largest[_LAYOUTS:] for block in by_layout[names]]
        return files, dropped

    def _file_of(self, block: Block) -> BlockFile:
        """Return the file that holds exactly this block; write it if it does not exist."""
        for kept in self._kept:
            if kept.block is block:
                return kept.file
        needed = block.features_RC.nbytes + 64 * len(block)
        if free_bytes(self._directory) < needed + _FREE_BYTES:
            raise OSError(f"{needed / 1e6:.0f} MB would leave too little free space")
        return write_block(self._directory, block)

    def _nothing(self, why: str) -> Known:
        log.debug("sample_cache.unused", directory=str(self._directory), reason=why)
        return Known.nothing()


def _sealed(manifest: dict[str, Any]) -> bytes:
    shown = orjson.dumps(manifest)
    return b"%d %s" % (zlib.crc32(shown), shown)


def _unsealed(text: bytes) -> dict[str, Any]:
    """Return the manifest after verifying its checksum.

    Raises:
        ValueError: the text has no valid checksum.
    """
    crc32, _, shown = text.partition(b" ")
    if int(crc32) != zlib.crc32(shown):
        raise ValueError(f"{_MANIFEST} is not what was written")
    manifest: dict[str, Any] = orjson.loads(shown)
    return manifest


def _about(store: Path) -> dict[str, Any]:
    """Return the identity a cache must have to be valid for this store and program version."""
    status = store.stat()
    return {
        "format": _FORMAT,
        "version": clm.__version__,
        "store": str(store.absolute()),
        # A restored store has another inode, and its rows may have other contents under the same ids.
        "device": status.st_dev,
        "inode": status.st_ino,
    }


def free_bytes(directory: Path) -> int:
    """Return the free bytes available to this process."""
    disk = os.statvfs(directory)
    return disk.f_bavail * disk.f_frsize
