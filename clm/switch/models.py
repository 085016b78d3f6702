"""The model files that the helper has verified: their paths and hashes."""

import contextlib
import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from clm.artefacts.files import replace_durably
from clm.engine.switch_request import MAX_BYTES, name_of
from clm.errors import PromotionError
from clm.switch.paths import (
    Identity,
    copied_sha256,
    exists,
    identity,
    may_read,
    mount_of,
    opened_directory,
    opened_file,
)
from clm.switch.site import Site

NOTES = "found"
"""Directory of root's notes, one file per target."""
_REGISTERED = "model.pth"
_SERVED = "served.json"
_MODE = 0o444
_NAMELESS = os.O_RDWR | os.O_TMPFILE | os.O_CLOEXEC
"""An unnamed file: it cannot be replaced before it is complete, and a kill leaves no file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """An allowed value of the environment file: the helper installed the model, or found the value there."""

    value: str | None
    """None: no model is named."""
    sha256: str
    """Hash of the file; empty if it is outside the models directory or unreadable."""
    env_sha256: str
    """Hash of the environment file in which the value was found; empty for an installed file."""

    @property
    def is_installed(self) -> bool:
        """Return whether the helper installed the file."""
        return not self.env_sha256

    def is_verifiable(self, site: Site) -> bool:
        """Return whether there is a hash, of a file in the models directory."""
        return bool(self.sha256) and Path(str(self.value)).parent == site.models_dir


def install(site: Site, version: str, sha256: str, *, uid: int) -> None:
    """Copy a version into the models directory as root's read-only file, hashing the bytes written.

    The source is the registry's file or, without one, the file already in the models directory. A file that
    user `uid` cannot read is not opened, because a reply about it would reveal its content.

    Raises:
        PromotionError: SWITCH_REFUSED if the source does not have this hash; FILE_TAKEN.
    """
    name = f"{version}.pth"
    with opened_models(site) as models:
        if not _is_installed(site, models, name, sha256, uid):
            with _source(site, models, version, uid) as source:
                _copy(site, models, name, source, sha256)
        note = Note(value=str(site.models_dir / name), sha256=sha256, env_sha256="")
        _write_note(site, version, note)


@contextlib.contextmanager
def opened_models(site: Site) -> Iterator[int]:
    """Yield a descriptor of the models directory.

    Raises:
        PromotionError: SWITCH_REFUSED if the sandbox grants another directory: systemd follows links when it
            sets up the sandbox, and the link may have changed since.
    """
    with opened_directory(site.models_dir) as models:
        if site.is_sandboxed:
            with opened_directory(site.models_dir.parent) as parent:
                if mount_of(models) == mount_of(parent):
                    raise PromotionError(
                        "SWITCH_REFUSED",
                        f"{site.models_dir} is not what ReadWritePaths= of the helper's unit granted; "
                        "correct the path there, or find out why the directory moved",
                    )
        yield models


def target_of(site: Site, name: str) -> Note:
    """Return the value for this name, after verifying its file.

    Raises:
        PromotionError: SWITCH_REFUSED.
    """
    note = _note(site, name)
    if note is None:
        raise PromotionError(
            "SWITCH_REFUSED",
            f"{name} was neither installed by the helper nor found by it in {site.env_file.path}",
        )
    if note.is_verifiable(site):
        fingerprint(site, note)
    return note


def fingerprint(site: Site, note: Note) -> Identity:
    """Return the identity of the note's file, after comparing its hash.

    Raises:
        PromotionError: SWITCH_REFUSED, MODEL_CHANGED.
    """
    name = Path(str(note.value)).name
    with (
        opened_models(site) as models,
        opened_file(models, name, max_bytes=site.max_file_bytes, where=site.models_dir) as handle,
    ):
        if copied_sha256(handle) != note.sha256:
            raise PromotionError("MODEL_CHANGED", f"{note.value} is not the file that was verified before")
        return identity(handle)


def note_served(site: Site, before: Identity | None) -> None:
    """Record the identity of the file that the engine is about to load; None if there is none."""
    replace_durably(site.own_dir / _SERVED, json.dumps(before).encode(), mode=0o600)


def served(site: Site) -> Identity | None:
    """Return the identity of the file before the last restart, None if it is unknown."""
    try:
        device, inode, size, changed = json.loads((site.own_dir / _SERVED).read_bytes())
    except (OSError, ValueError, TypeError):
        return None
    return device, inode, size, changed


def named_now(site: Site, value: str | None) -> Note:
    """Return the note for the environment file's current value; without one, make one with the current hash.

    Raises:
        PromotionError: SWITCH_REFUSED for a note that cannot be read.
    """
    known = _note(site, name_of(value, site.models_dir, site.line))
    if known is not None:
        return known
    return Note(value=value, sha256=_hash_now(site, value) or "", env_sha256="")


def remember(site: Site, value: str | None, env_sha256: str) -> None:
    """Record the environment file's current value, so that a rollback to it is possible.

    The note of an installed file stays: if the file has changed since, there is no rollback to it.

    Raises:
        PromotionError: SWITCH_REFUSED for a file in the models directory that cannot be read.
    """
    name = name_of(value, site.models_dir, site.line)
    known = _note(site, name)
    if known is not None and known.is_installed:
        return
    sha256 = _hash_now(site, value)
    if sha256 is None:
        raise PromotionError(
            "SWITCH_REFUSED",
            f"{value} cannot be read as a regular file: a rollback to it would be impossible",
        )
    _write_note(site, name, Note(value=value, sha256=sha256, env_sha256=env_sha256))


def remove(site: Site, version: str) -> None:
    """Remove a version's file and its note; a missing file is not an error.

    Raises:
        PromotionError: SWITCH_REFUSED.
    """
    name = f"{version}.pth"
    with opened_models(site) as models:
        if exists(models, name):
            with opened_file(models, name, max_bytes=1 << 62, where=site.models_dir):
                os.unlink(name, dir_fd=models)
            os.fsync(models)
    (site.own_dir / NOTES / f"{version}.json").unlink(missing_ok=True)


def sweep(site: Site) -> None:
    """Remove temporary files of a killed helper from the models directory."""
    with opened_models(site) as models:
        for name in os.listdir(models):  # noqa: PTH208  a descriptor, not a path
            if name.startswith(f".{site.line.family}_v") and ".clm-" in name and name.endswith(".tmp"):
                with contextlib.suppress(IsADirectoryError):  # not the helper's
                    os.unlink(name, dir_fd=models)


def _hash_now(site: Site, value: str | None) -> str | None:
    """Return the hash of a file in the models directory, None if unreadable, "" for any other value.

    No other file is hashed: comparing hashes would reveal files that the user cannot read.
    """
    if value is None or Path(value).parent != site.models_dir:
        return ""
    name, limit = Path(value).name, site.max_file_bytes
    with (
        contextlib.suppress(PromotionError),
        opened_models(site) as models,
        opened_file(models, name, max_bytes=limit, where=site.models_dir) as handle,
    ):
        return copied_sha256(handle)
    return None


def _is_installed(site: Site, models: int, name: str, sha256: str, uid: int) -> bool:
    """Return whether root's file with this hash already exists.

    Raises:
        PromotionError: FILE_TAKEN if the name belongs to another file.
    """
    if not exists(models, name):
        return False
    with opened_file(models, name, max_bytes=site.max_file_bytes, where=site.models_dir) as handle:
        _refuse_unreadable(handle, uid, site.models_dir / name)
        if copied_sha256(handle) != sha256:
            raise PromotionError(
                "FILE_TAKEN",
                f"{site.models_dir / name} already exists with other content; it was not changed",
            )
        status = os.fstat(handle)
        return status.st_uid == os.geteuid() and status.st_mode & 0o777 == _MODE


def _refuse_unreadable(handle: int, uid: int, path: Path) -> None:
    if not may_read(os.fstat(handle), uid):
        raise PromotionError("SWITCH_REFUSED", f"{path} belongs to another user; nothing was done")


@contextlib.contextmanager
def _source(site: Site, models: int, version: str, uid: int) -> Iterator[int]:
    directory, limit = site.artefacts_dir / version, site.max_file_bytes
    with contextlib.ExitStack() as stack:
        try:
            registered = stack.enter_context(opened_directory(directory))
            place = directory / _REGISTERED
            source = opened_file(registered, _REGISTERED, max_bytes=limit, where=directory)
            handle = stack.enter_context(source)
        except PromotionError:
            place = site.models_dir / f"{version}.pth"
            if not exists(models, place.name):
                raise
            source = opened_file(models, place.name, max_bytes=limit, where=site.models_dir)
            handle = stack.enter_context(source)
        _refuse_unreadable(handle, uid, place)
        yield handle


def _copy(site: Site, models: int, name: str, source: int, sha256: str) -> None:
    target = os.open(".", _NAMELESS, 0o600, dir_fd=models)
    try:
        if copied_sha256(source, target) != sha256:
            raise PromotionError(
                "SWITCH_REFUSED", f"the file of {name} does not have the requested sha256; nothing was done"
            )
        os.fchmod(target, _MODE)
        os.fsync(target)
        if exists(models, name):  # the same bytes, but another user's file
            temporary = f".{name}.clm-{os.getpid()}-0.tmp"
            _name(target, temporary, models)
            os.rename(temporary, name, src_dir_fd=models, dst_dir_fd=models)
        else:
            _name(target, name, models)
        os.fsync(models)
        with opened_file(models, name, max_bytes=site.max_file_bytes, where=site.models_dir) as placed:
            if identity(placed)[:2] != identity(target)[:2]:
                raise PromotionError("MODEL_CHANGED", f"{name} was replaced while it was installed")
    finally:
        os.close(target)


def _name(handle: int, name: str, directory: int) -> None:
    """Name an unnamed file; an existing name, even a link, is an error."""
    os.link(f"/proc/self/fd/{handle}", name, dst_dir_fd=directory, follow_symlinks=True)


def _note_path(site: Site, name: str) -> Path:
    return site.own_dir / NOTES / f"{name}.json"


def _write_note(site: Site, name: str, note: Note) -> None:
    (site.own_dir / NOTES).mkdir(mode=0o750, exist_ok=True)
    replace_durably(_note_path(site, name), json.dumps(asdict(note)).encode(), mode=0o640)


def _note(site: Site, name: str) -> Note | None:
    """Return root's note; None if it is missing or has outdated paths.

    Raises:
        PromotionError: SWITCH_REFUSED for a note that cannot be read.
    """
    path = _note_path(site, name)
    if not path.is_file():
        return None
    try:
        plain = json.loads(path.read_bytes()[:MAX_BYTES])
        note = Note(value=plain["value"], sha256=str(plain["sha256"]), env_sha256=str(plain["env_sha256"]))
    except (ValueError, KeyError, TypeError) as exc:
        raise PromotionError("SWITCH_REFUSED", f"{path} cannot be read; remove it") from exc
    return note if name_of(note.value, site.models_dir, site.line) == name else None
