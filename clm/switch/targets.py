"""Which value of the environment file a name stands for, and whether its file is what it must be."""

import json
from dataclasses import dataclass
from pathlib import Path

from clm.artefacts.files import replace_durably
from clm.errors import PromotionError
from clm.promotion.switch_order import MAX_BYTES, is_version, name_of
from clm.switch.careful import hash_regular, read_small
from clm.switch.site import Site

FOUND = "found"
"""Of the helper's own directory: notes of what it found in the environment file."""
_MAX_MANIFEST_BYTES = 4 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A verified value of the environment file."""

    value: str | None
    """None: no model is named."""
    env_sha256: str
    """Of the environment file when the helper found this value there; empty for a registered version."""


def target_of(site: Site, name: str) -> Target:
    """Return what may be named under this name, its file verified now.

    Raises:
        PromotionError: SWITCH_REFUSED.
    """
    if is_version(name) and _manifest_path(site, name).exists():
        return _registered(site, name)
    return _found_before(site, name)


def remember(site: Site, value: str | None, env_sha256: str) -> None:
    """Note a value that the environment file has now, so that there is a way back to it.

    A registered version needs no note, and a file that is gone is no way back.
    """
    name = name_of(value, site.models_dir)
    if is_version(name) and _manifest_path(site, name).exists():
        return
    sha256 = ""
    if value is not None:
        if not Path(value).is_file():
            return
        sha256, _ = hash_regular(Path(value).resolve())
    note = {"value": value, "sha256": sha256, "env_sha256": env_sha256}
    directory = site.own_dir / FOUND
    directory.mkdir(mode=0o750, exist_ok=True)
    replace_durably(directory / f"{name}.json", json.dumps(note).encode(), mode=0o640)


def _manifest_path(site: Site, version: str) -> Path:
    return site.artefacts_dir / version / "manifest.json"


def _registered(site: Site, version: str) -> Target:
    path = _manifest_path(site, version)
    manifest = _object(read_small(path, _MAX_MANIFEST_BYTES), path)
    if manifest.get("version") != version:
        raise PromotionError("SWITCH_REFUSED", f"{path} is the manifest of another version")
    model = site.models_dir / f"{version}.pth"
    sha256, size = hash_regular(model)
    if (sha256, size) != (manifest.get("sha256"), manifest.get("size_bytes")):
        raise PromotionError(
            "SWITCH_REFUSED", f"{model} has sha256 {sha256}, which is not its manifest's; nothing was done"
        )
    return Target(value=str(model), env_sha256="")


def _found_before(site: Site, name: str) -> Target:
    path = site.own_dir / FOUND / f"{name}.json"
    if not path.is_file():
        raise PromotionError(
            "SWITCH_REFUSED",
            f"{name} is neither registered nor did the helper ever find it in {site.env_file.path}",
        )
    note = _object(read_small(path, MAX_BYTES), path)
    value, env_sha256 = note.get("value"), str(note.get("env_sha256"))
    if value is None:
        return Target(value=None, env_sha256=env_sha256)
    if name_of(str(value), site.models_dir) != name:
        raise PromotionError("SWITCH_REFUSED", f"{path} is the note of another value")
    sha256, _ = hash_regular(Path(str(value)).resolve())
    if sha256 != note.get("sha256"):
        raise PromotionError(
            "SWITCH_REFUSED", f"{value} has sha256 {sha256}; it was another when it was last named"
        )
    return Target(value=str(value), env_sha256=env_sha256)


def _object(data: bytes, path: Path) -> dict[str, object]:
    try:
        plain = json.loads(data)
    except (ValueError, RecursionError) as exc:
        raise PromotionError("SWITCH_REFUSED", f"{path} is no JSON; nothing was done") from exc
    if not isinstance(plain, dict):
        raise PromotionError("SWITCH_REFUSED", f"{path} is no JSON object; nothing was done")
    return plain
