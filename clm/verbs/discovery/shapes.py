"""Recognise a file by its first bytes; nothing is unpickled or executed.

To recognise another shape, write a function and list it in SHAPES; the first match wins.
"""

import gzip
import re
import zipfile
import zlib
from collections.abc import Callable
from datetime import datetime
from itertools import islice
from pathlib import Path

import orjson

from clm.domain.line import DEFAULT_LINE
from clm.verbs.discovery.assets import Asset, printable
from clm.verbs.discovery.candles import candle_asset
from clm.verbs.discovery.databases import database_asset

HEAD_BYTES = 8192
_SERVED = DEFAULT_LINE.file_pattern
DATABASES = (".db", ".sqlite", ".sqlite3")
_LOG_LINES_READ = 200_000

Shape = Callable[[Path, int, bytes], Asset | None]


def recognise(path: Path, size_bytes: int) -> Asset | None:
    """Return what the file is, or None if it is irrelevant.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as handle:
        head = handle.read(HEAD_BYTES)
    answers = (shape(path, size_bytes, head) for shape in SHAPES)
    return next((asset for asset in answers if asset is not None), None)


def _empty_database(path: Path, size_bytes: int, head: bytes) -> Asset | None:
    if size_bytes or path.suffix not in DATABASES:
        return None
    why = "0 bytes: SQLite created it for a mistyped path; nothing was ever written to it"
    return Asset(kind="empty database", path=printable(path), size_bytes=0, usable=False, because=why)


def _database(path: Path, size_bytes: int, head: bytes) -> Asset | None:
    return database_asset(path, size_bytes) if head.startswith(b"SQLite format 3\0") else None


def _redis_dump(path: Path, size_bytes: int, head: bytes) -> Asset | None:
    if not re.match(rb"REDIS\d{4}", head):
        return None
    return Asset(
        kind="Redis dump",
        path=printable(path),
        size_bytes=size_bytes,
        usable=False,
        because="the last save of Redis: current streams and keys, no history of features",
        details={"version": head[5:9].decode()},
    )


def _model(path: Path, size_bytes: int, head: bytes) -> Asset | None:
    if path.suffix not in (".pt", ".pth", ".pkl", ".zip") or not _is_model(path, head):
        return None
    served = _SERVED.fullmatch(path.name) is not None
    of_another_kind = bool({"rl", "ppo", "dqn", "sac"} & set(re.split(r"[^a-z]+", str(path).lower())))
    if served:
        kind, why = (
            "PatchTST model",
            "a model, not data; the engine loads such files from its models directory",
        )
    elif of_another_kind or "rl_v" in str(path).lower():
        kind, why = "reinforcement-learning model", "a model of another kind (it sizes positions), not data"
    else:
        kind, why = "model", "a model, no data"
    return Asset(kind=kind, path=printable(path), size_bytes=size_bytes, usable=False, because=why)


def _is_model(path: Path, head: bytes) -> bool:
    """Return whether it is a pickle or a torch archive of one; only its names are read."""
    if head.startswith(b"PK"):
        try:
            with zipfile.ZipFile(path) as archive:
                return any(name.endswith("data.pkl") for name in archive.namelist())
        except (zipfile.BadZipFile, NotImplementedError, ValueError):
            return False
    return len(head) > 1 and head[0] == 0x80 and head[1] in range(2, 6)


def _json_lines(path: Path, size_bytes: int, head: bytes) -> Asset | None:
    if path.suffix not in (".jsonl", ".ndjson"):
        return None
    keys, details = _scanned(path)
    kind, why = _kind_of_log(keys)
    return Asset(
        kind=kind,
        path=printable(path),
        size_bytes=size_bytes,
        usable=False,
        because=why,
        details=details,
    )


def _scanned(path: Path) -> tuple[set[str], dict[str, object]]:
    """Return the keys of a log's first documents, and their other properties."""
    count, unreadable, times, keys = 0, 0, list[str](), set[str]()
    with path.open("rb") as lines:
        for line in islice(lines, _LOG_LINES_READ):
            count += 1
            try:
                document = orjson.loads(line)
            except orjson.JSONDecodeError:
                unreadable += 1
                continue
            if isinstance(document, dict):
                keys |= document.keys()
                if _is_time(moment := document.get("timestamp")):
                    times.append(str(moment))
    return keys, {
        "lines": count,
        "unreadable_lines": unreadable,
        "first": min(times, default=None),
        "last": max(times, default=None),
        "keys": sorted(keys)[:40],
    }


def _kind_of_log(keys: set[str]) -> tuple[str, str]:
    if keys >= {"signal", "policy_verdict"} or keys >= {"signal", "actual_decision"}:
        return "signal log", (
            "the votes of the ensemble and what a policy made of them: no features, no outcome of a trade, "
            "and no even series in time"
        )
    if keys >= {"inputs", "mode"}:
        return "policy log", (
            "what a risk policy saw and decided: states of the account, not of the market, without outcomes"
        )
    return "JSON lines", "a log without the columns of a sample or of a candle"


def _is_time(value: object) -> bool:
    try:
        return isinstance(value, str) and bool(datetime.fromisoformat(value))
    except ValueError:
        return False


def _candles(path: Path, size_bytes: int, head: bytes) -> Asset | None:
    name = path.name.lower()
    if name.endswith(".parquet"):
        return candle_asset(path, size_bytes) if head.startswith(b"PAR1") else None
    if not name.endswith((".csv", ".csv.gz")):
        return None
    return candle_asset(path, size_bytes, _first_line(path, packed=name.endswith(".gz")))


def _first_line(path: Path, *, packed: bool) -> str:
    try:
        with gzip.open(path) if packed else path.open("rb") as lines:
            return lines.readline(HEAD_BYTES).decode("utf-8-sig", errors="replace")
    except (EOFError, zlib.error) as error:
        raise OSError(f"it cannot be unpacked: {error}") from error


SHAPES: tuple[Shape, ...] = (_empty_database, _database, _redis_dump, _model, _json_lines, _candles)
