"""Every file below some directories, opened for its first bytes only, recognised by its shape."""

import os
import stat
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from clm.verbs.discovery.assets import Asset, told
from clm.verbs.discovery.shapes import DATABASES, recognise

MAX_FILES = 20_000
MAX_DEPTH = 5


@dataclass(slots=True)
class Walk:
    """What a walk leaves behind beside the assets it yields."""

    unreadable: list[str] = field(default_factory=list)
    """Each a path and why."""
    passed_over: Counter[str] = field(default_factory=Counter)
    """Files that are nothing we know, by suffix; links and devices by what they are."""
    seen: set[tuple[int, int]] = field(default_factory=set)
    """Device and inode, as directories to look at may lie in each other."""

    def assets(self, roots: Iterable[Path]) -> Iterator[Asset]:
        """Yield what is recognised; what cannot be read is noted, never raised."""
        for root in roots:
            yield from self._below(root, 0, None)

    def databases_in(self, directories: Iterable[Path]) -> Iterator[Asset]:
        """Yield the databases that lie in these directories themselves; nothing else there is opened."""
        for directory in directories:
            try:
                entries = [entry for entry in os.scandir(directory) if entry.name.endswith(DATABASES)]
            except OSError as error:
                self.unreadable.append(f"{told(directory)}: {error.strerror}")
                continue
            for entry in sorted(entries, key=lambda entry: entry.name):
                yield from self._entry(entry, MAX_DEPTH, None)

    def _below(self, directory: Path, depth: int, device: int | None) -> Iterator[Asset]:
        try:
            entries = sorted(os.scandir(directory), key=lambda entry: entry.name)
        except FileNotFoundError:
            return
        except OSError as error:
            self.unreadable.append(f"{told(directory)}: {error.strerror}")
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
            self.unreadable.append(f"{told(entry.path)}: {error.strerror}")
            return
        key = (status.st_dev, status.st_ino)
        if key in self.seen:
            return
        self.seen.add(key)
        if stat.S_ISDIR(status.st_mode):
            # Other file systems are other matters: backups, network shares, /proc.
            if depth < MAX_DEPTH and device in (None, status.st_dev):
                yield from self._below(Path(entry.path), depth + 1, status.st_dev)
            else:
                self.passed_over["directories too deep, or of another file system"] += 1
        elif stat.S_ISREG(status.st_mode):
            yield from self._file(Path(entry.path), status.st_size)
        else:
            # Never opened: a pipe would wait for a writer.
            self.passed_over["links" if stat.S_ISLNK(status.st_mode) else "devices, pipes and sockets"] += 1

    def _file(self, path: Path, size_bytes: int) -> Iterator[Asset]:
        try:
            asset = recognise(path, size_bytes)
        except OSError as error:
            self.unreadable.append(f"{told(path)}: {error.strerror or error}")
            return
        if asset is None:
            self.passed_over[told(path.suffix) or "no suffix"] += 1
        else:
            yield asset
