"""The server around the data: file systems, Redis, and units and environment files that name a model."""

import os
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path

import redis

from clm.bus.client import connect, redacted
from clm.clock import iso
from clm.domain.line import DEFAULT_LINE
from clm.engine.env_file import parse
from clm.errors import ClmError
from clm.settings import Settings, redis_password
from clm.verbs.discovery.assets import printable

_NAMES_A_MODEL = re.compile(rf"MODEL|{DEFAULT_LINE.family}", re.IGNORECASE)
_IN_A_UNIT = re.compile(r"^(?:ExecStart\w*|Environment|EnvironmentFile|ReadWritePaths)=(.*)$", re.MULTILINE)
_PATH = re.compile(r"/[^\s\"'=:;,]+")
_REDIS_S = 2.0
_MAX_TEXT_BYTES = 1_000_000


def file_systems(written: Mapping[str, Path]) -> list[dict[str, object]]:
    """Return free space and inodes of each file system that a run writes to, each once."""
    found: dict[int, dict[str, object]] = {}
    for purpose, path in written.items():
        there = next((p for p in (path, *path.parents) if p.exists()), Path("/"))
        try:
            device, disk = there.stat().st_dev, os.statvfs(there)
        except OSError as error:
            found[-len(found) - 1] = {"for": [purpose], "path": str(there), "unreadable": error.strerror}
            continue
        if device in found:
            purposes = found[device]["for"]
            assert isinstance(purposes, list)  # noqa: S101  # made below
            purposes.append(purpose)
            continue
        found[device] = {
            "for": [purpose],
            "path": str(there),
            "free_bytes": disk.f_bavail * disk.f_frsize,
            "free_share": disk.f_bavail / disk.f_blocks if disk.f_blocks else None,
            "free_inodes": disk.f_favail,
            "free_inodes_share": disk.f_favail / disk.f_files if disk.f_files else None,
            "read_only": bool(disk.f_flag & os.ST_RDONLY),
        }
    return list(found.values())


def redis_facts(settings: Settings) -> dict[str, object]:
    """Return the persistence and eviction settings of Redis."""
    facts: dict[str, object] = {"url": redacted(settings.redis_url)}
    try:
        client = connect(settings.redis_url, redis_password(settings), socket_timeout_s=_REDIS_S)
        try:
            persistence = _info(client, "persistence")
            memory = _info(client, "memory")
        finally:
            client.close()
    except ClmError as error:
        return facts | {"answers": False, "because": error.message}
    except (redis.RedisError, OSError) as error:
        return facts | {"answers": False, "because": " ".join(str(error).split())[:300]}
    policy = str(memory.get("maxmemory_policy", "unknown"))
    return facts | {
        "answers": True,
        "rdb_last_save": _moment(persistence.get("rdb_last_save_time")),
        "rdb_last_save_status": persistence.get("rdb_last_bgsave_status"),
        "rdb_changes_since": persistence.get("rdb_changes_since_last_save"),
        "aof": str(persistence.get("aof_enabled", "")) == "1",
        "maxmemory": memory.get("maxmemory"),
        "eviction": policy,
        "streams_are_safe": not policy.startswith("allkeys"),
    }


def _info(client: redis.Redis, section: str) -> Mapping[str, object]:
    answer: object = client.info(section)
    return answer if isinstance(answer, dict) else {}


def _moment(seconds: object) -> str | None:
    return iso(datetime.fromtimestamp(seconds, UTC)) if isinstance(seconds, int) and seconds > 0 else None


def model_settings(env_files: Iterable[Path]) -> list[dict[str, object]]:
    """Return each environment file's variables that name a model; other values are not shown."""
    found: list[dict[str, object]] = []
    for path in env_files:
        try:
            values = parse(path.read_bytes())
        except ClmError as error:
            found.append({"path": printable(path), "unreadable": error.message})
        except OSError as error:
            found.append({"path": printable(path), "unreadable": error.strerror})
        else:
            named = {
                name: value if value.startswith("/") or value.lower() in ("true", "false") else "…"
                for name, value in values.items()
                if _NAMES_A_MODEL.search(name)
            }
            found.append({"path": printable(path), "variables": named})
    return found


def model_units(directories: Iterable[Path]) -> list[dict[str, object]]:
    """Return the units that name a model, with only the paths of those lines."""
    found: list[dict[str, object]] = []
    seen: set[str] = set()
    for directory in directories:
        try:
            paths = sorted(p for p in directory.iterdir() if p.suffix == ".service" and p.name not in seen)
        except OSError:
            continue
        for path in paths:
            seen.add(path.name)
            try:
                with path.open("rb") as handle:
                    text = handle.read(_MAX_TEXT_BYTES).decode(errors="replace")
            except OSError as error:
                found.append({"unit": printable(path.name), "unreadable": error.strerror})
                continue
            lines = _IN_A_UNIT.findall(text)
            if any(_NAMES_A_MODEL.search(line) for line in lines):
                named = sorted({match for line in lines for match in _PATH.findall(line)})
                found.append({"unit": printable(path.name), "path": printable(path), "paths": named[:50]})
    return found
