"""One block of sample columns in one file, in its memory layout."""

import zlib
from dataclasses import asdict, dataclass
from pathlib import Path
from secrets import token_hex
from typing import Any

import numpy as np

from clm.data.columns import FORMS, Block, block_of

_ALIGNMENT = 64
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockFile:
    """The manifest's entry for a file, which detects a corrupt or replaced file."""

    name: str
    rows: int
    features: tuple[str, ...]
    symbols: tuple[str, ...]
    size_bytes: int
    crc32: int
    inode: int
    modified_ns: int
    boot_id: str
    """Boot that wrote the file; within the same boot, an untouched file skips the checksum."""

    def as_json(self) -> dict[str, Any]:
        """Return the JSON object that `of_json` reads."""
        return asdict(self)

    @classmethod
    def of_json(cls, shown: dict[str, Any]) -> "BlockFile":
        """Return the entry that `as_json` wrote.

        Raises:
            TypeError: the object is not such an entry.
        """
        return cls(**{**shown, "features": tuple(shown["features"]), "symbols": tuple(shown["symbols"])})


def write_block(directory: Path, block: Block) -> BlockFile:
    """Write a block of usable samples to a new file, column by column.

    Raises:
        OSError: the file cannot be written.
    """
    path = directory / f"{token_hex(8)}.block"
    crc32 = 0
    with path.open("xb") as file:
        for name, form in FORMS.items():
            column = np.ascontiguousarray(block.columns()[name], dtype=form)
            # Padding aligns each column, so that a view of the mapped file has aligned elements.
            for part in (column.tobytes(), bytes(-column.nbytes % _ALIGNMENT)):
                file.write(part)
                crc32 = zlib.crc32(part, crc32)
    status = path.stat()
    return BlockFile(
        name=path.name,
        rows=len(block),
        features=block.names,
        symbols=block.symbols,
        size_bytes=status.st_size,
        crc32=crc32,
        inode=status.st_ino,
        modified_ns=status.st_mtime_ns,
        boot_id=_boot_id(),
    )


def read_block(directory: Path, file: BlockFile) -> Block:
    """Return a block whose columns are mapped into memory, read-only.

    Raises:
        OSError, ValueError: the file cannot be read, or has changed since it was written.
    """
    path = directory / file.name
    status = path.stat()
    if path.name != Path(file.name).name or status.st_size != file.size_bytes:
        raise ValueError(f"{path} has {status.st_size} bytes, {file.size_bytes} were written")
    data = np.asarray(np.memmap(path, dtype=np.uint8, mode="r"))
    untouched = (status.st_ino, status.st_mtime_ns, _boot_id()) == (
        file.inode, file.modified_ns, file.boot_id
    )  # fmt: skip
    # Nothing is synced, so after a reboot a file may have lost pages that were never written.
    if not untouched and zlib.crc32(data.data) != file.crc32:
        raise ValueError(f"{path} is not what was written")
    columns, at = {}, 0
    for name, form in FORMS.items():
        shape = (file.rows, len(file.features)) if name == "features" else (file.rows,)
        size_bytes = int(np.prod(shape)) * np.dtype(form).itemsize
        columns[name] = data[at : at + size_bytes].view(form).reshape(shape)
        at += size_bytes + -size_bytes % _ALIGNMENT
    if at != file.size_bytes:
        raise ValueError(f"{path} has {file.size_bytes} bytes, {file.rows} rows take {at}")
    return block_of(columns, names=file.features, whole=True, symbols=file.symbols)


def _boot_id() -> str:
    try:
        return _BOOT_ID.read_text().strip()
    except OSError:
        return ""
