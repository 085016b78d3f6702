"""What a real systemd makes of environment files: one boot, one unit a file."""

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from clm.engine.env_file import parse, with_value
from clm.errors import PromotionError
from tests.chaos.env_files import KEY, NEW
from tests.systemd.boxes import booted

_UNIT = """\
[Unit]
StartLimitIntervalSec=0
[Service]
Type=oneshot
EnvironmentFile=/cases/%i.env
ExecStart=/usr/bin/env -0
StandardOutput=truncate:/seen/%i
"""


def disagreements(files: Sequence[bytes], directory: Path) -> list[str]:
    """Return where systemd reads a file otherwise than we do, or where we change what it reads."""
    changed = {n: after for n, data in enumerate(files) if (after := changed_or_refused(data))}
    seen = read_by_systemd([*files, *changed.values()], directory)
    before, after = seen[: len(files)], dict(zip(changed, seen[len(files) :], strict=True))
    found = [
        f"{data!r}: systemd reads {env}"
        for data, env in zip(files, before, strict=True)
        if _ours(data) != env
    ]
    for n, env in after.items():
        was = before[n]
        if was is None or env != {**was, KEY.encode(): NEW.encode()}:
            found.append(f"{changed[n]!r}, rewritten: systemd reads {env} and read {was} before")
    return found


def changed_or_refused(data: bytes) -> bytes | None:
    """Return the changed file, None where the editor refuses it in its own words."""
    with contextlib.suppress(PromotionError):
        return with_value(data, KEY, NEW)
    return None


def _ours(data: bytes) -> Mapping[bytes, bytes] | None:
    with contextlib.suppress(PromotionError):
        return {name.encode(): value.encode() for name, value in parse(data).items()}
    return None


def read_by_systemd(files: Sequence[bytes], directory: Path) -> list[Mapping[bytes, bytes] | None]:
    """Return what each file sets, None where systemd refuses it."""
    cases, seen = directory / "cases", directory / "seen"
    for place in (cases, seen):
        place.mkdir()
    for n, data in enumerate([b"", *files]):
        (cases / f"{n}.env").write_bytes(data)
    with booted(f"--ro={cases}:/cases", f"--rw={seen}:/seen") as box:
        box.write("/etc/systemd/system/case@.service", _UNIT)
        box.run("systemctl", "daemon-reload")
        for first in range(0, len(files) + 1, 200):
            last = min(first + 200, len(files) + 1)
            units = [f"case@{n}.service" for n in range(first, last)]
            box.run("systemctl", "start", *units, check=False, timeout_s=240)
    own = _environment(seen / "0")
    assert own
    found = (_environment(seen / str(n)) for n in range(1, len(files) + 1))
    return [None if env is None else {k: v for k, v in env.items() if k not in own} for env in found]


def _environment(path: Path) -> dict[bytes, bytes] | None:
    """Return what `env -0` wrote; it never writes nothing, so an empty file is a unit that did not start."""
    data = path.read_bytes() if path.exists() else b""
    entries = (entry.partition(b"=") for entry in data.split(b"\0") if entry)
    return {name: value for name, _, value in entries} if data else None
