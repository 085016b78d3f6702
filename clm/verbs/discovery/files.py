"""Find files below some directories and recognise them by their first bytes."""

import os
import stat
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from clm.verbs.discovery.assets import Asset, printable
from clm.verbs.discovery.shapes import DATABASES, recognise

MAX_FILES = 20_000
MAX_DEPTH = 5


@dataclass(slots=True)
class Walk:
    """What a walk reports in addition to the assets that it yields."""

    unreadable: list[str] = field(default_factory=list)
    """Path and reason for each."""
    passed_over: Counter[str] = field(default_factory=Counter)
    """Unrecognised files by suffix; links and devices by type."""
    seen: set[tuple[int, int]] = field(default_factory=set)
    """Device and inode, because the directories may be nested."""

    def assets(self, roots: Iterable[Path]) -> Iterator[Asset]:
        """Yield recognised files; unreadable ones are recorded, never raised."""
        for root in roots:
            yield from self._below(root, 0, None)

    def databases_in(self, directories: Iterable[Path]) -> Iterator[Asset]:
        """Yield the databases directly in these directories; no other file is opened."""
        for directory in directories:
            try:
                entries = [entry for entry in os.scandir(directory) if entry.name.endswith(DATABASES)]
            except OSError as error:
                self.unreadable.append(f"{printable(directory)}: {error.strerror}")
                continue
            for entry in sorted(entries, key=lambda entry: entry.name):
                yield from self._entry(entry, MAX_DEPTH, None)

    def _below(self, directory: Path, depth: int, device: int | None) -> Iterator[Asset]:
        try:
            entries = sorted(os.scandir(directory), key=lambda entry: entry.name)
        except FileNotFoundError:
            return
        except OSError as error:
            self.unreadable.append(f"{printable(directory)}: {error.strerror}")
            return
        for entry in entries:
            if len(self.seen) >= MAX_FILES:
                self.passed_over["beyond the limit of files"] += 1
                return
            yield from self._entry(entry, depth, device)

    def _entry(self, entry: "os.DirEntry[str]", depth: int, device: int | None) -> Iterator[Asset]:
        try:
            status = entry.stat(follow_symlinks=False)
        except OSError as error:
            self.unreadable.append(f"{printable(entry.path)}: {error.strerror}")
            return
        key = (status.st_dev, status.st_ino)
        if key in self.seen:
            return
        self.seen.add(key)
        if stat.S_ISDIR(status.st_mode):
            # Other file systems are excluded: backups, network shares, /proc.
            if depth < MAX_DEPTH and device in (None, status.st_dev):
                yield from self._below(Path(entry.path), depth + 1, status.st_dev)
            else:
                self.passed_over["directories too deep, or of another file system"] += 1
        elif stat.S_ISREG(status.st_mode):
            yield from self._file(Path(entry.path), status.st_size)
        else:
            # Never opened: opening a pipe would wait for a writer.
            self.passed_over["links" if stat.S_ISLNK(status.st_mode) else "devices, pipes and sockets"] += 1

    def _file(self, path: Path, size_bytes: int) -> Iterator[Asset]:
        try:
            asset = recognise(path, size_bytes)
        except OSError as error:
            self.unreadable.append(f"{printable(path)}: {error.strerror or error}")
            return
        if asset is None:
            self.passed_over[printable(path.suffix) or "no suffix"] += 1
        else:
            yield asset
