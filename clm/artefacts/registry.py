"""The registry: each trained model in its own directory, outside the engine's models directory."""

import dataclasses
import hashlib
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from pathlib import Path

import orjson

from clm.artefacts.files import (
    create_durably,
    remove_directory,
    sha256_of,
    sweep_temporaries,
    sync_directory,
    temporary_name,
    translated,
)
from clm.artefacts.manifest import GOLDEN_NAME, Artefact, InputContract, Lineage, Manifest
from clm.domain.line import DEFAULT_LINE, Line
from clm.errors import ArtefactError

MODEL_NAME = "model.pth"
MANIFEST_NAME = "manifest.json"

_SECONDS_AHEAD = 3600
_SEAL = "seal"
"""Key of manifest.json: sha256 over the rest of it."""


def names_in(models_dir: Path) -> Callable[[str], bool]:
    """Return a predicate: does a file in the engine's models directory have this version's name?"""
    return lambda version: next(models_dir.glob(f"{version}*"), None) is not None


class DirectoryRegistry:
    """Stores artefacts as `<root>/<version>/{model.pth, golden.npz, manifest.json}`, complete or absent."""

    def __init__(
        self,
        root: Path,
        *,
        line: Line = DEFAULT_LINE,
        taken: Callable[[str], bool] = lambda _version: False,
    ) -> None:
        self._root = root
        self._line = line
        self._taken = taken

    def new_version(self, now: datetime) -> str:
        """Return the first unused version name, counting seconds from `now`."""
        for ahead in range(_SECONDS_AHEAD):
            version = self._line.version(now + timedelta(seconds=ahead))
            if not self._directory(version).exists() and not self._taken(version):
                return version
        raise ArtefactError(
            "NO_FREE_VERSION", f"{self._root}: an hour of version names is taken; check the clock"
        )

    def register(self, weights_path: Path, manifest: Manifest, golden: bytes = b"") -> Artefact:
        """Copy the model, manifest and golden rows durably into a directory that appears atomically.

        Raises:
            ArtefactError: ARTEFACT_TORN if the file does not match the manifest, ARTEFACT_EXISTS,
                DISK_FULL, READ_ONLY_FS, PERMISSION.
        """
        directory = self._directory(manifest.version)
        _check(weights_path, manifest)
        with translated(f"cannot register {manifest.version} in {self._root}"):
            if directory.exists():
                raise ArtefactError(
                    "ARTEFACT_EXISTS", f"{directory} exists already; a version is written once"
                )
            self._root.mkdir(mode=0o750, parents=True, exist_ok=True)
            building = temporary_name(directory)
            building.mkdir(mode=0o750)
            try:
                create_durably(building / MODEL_NAME, weights_path, mode=0o640)
                if golden:
                    create_durably(building / GOLDEN_NAME, golden, mode=0o640)
                create_durably(building / MANIFEST_NAME, _encode(manifest), mode=0o640)
                building.rename(directory)
            except BaseException:
                _discard(building)
                raise
            sync_directory(self._root)
        return self._artefact(directory, manifest)

    def get(self, version: str) -> Artefact:
        """Return a registered artefact after verifying size and hash of its model file.

        Raises:
            ArtefactError: ARTEFACT_MISSING, ARTEFACT_TORN.
        """
        directory = self._directory(version)
        manifest = self._manifest(directory)
        _check(directory / MODEL_NAME, manifest)
        if manifest.golden_sha256:
            _check_hash(directory / GOLDEN_NAME, manifest.golden_sha256)
        return self._artefact(directory, manifest)

    def manifest(self, version: str) -> Manifest:
        """Return the manifest of a registered model without reading the model file.

        Raises:
            ArtefactError: ARTEFACT_MISSING, ARTEFACT_TORN.
        """
        return self._manifest(self._directory(version))

    def list(self) -> tuple[Artefact, ...]:
        """Return all registered artefacts, oldest version first, without reading the model files."""
        directories = [self._directory(version) for version in self.versions()]
        return tuple(self._artefact(d, self._manifest(d)) for d in directories)

    def versions(self) -> tuple[str, ...]:
        """Return the registered version names, oldest first, without reading any file."""
        if not self._root.is_dir():
            return ()
        return tuple(sorted(p.name for p in self._root.iterdir() if self._line.is_version(p.name)))

    def remove(self, version: str) -> None:
        """Remove a model; the caller has checked that it is no longer needed.

        Raises:
            ArtefactError: ARTEFACT_MISSING, PERMISSION, IO_ERROR.
        """
        remove_directory(self._directory(version))

    def sweep(self) -> tuple[str, ...]:
        """Remove leftovers of killed registrations; the caller holds the lock of the state directory."""
        return sweep_temporaries(self._root) if self._root.is_dir() else ()

    def _directory(self, version: str) -> Path:
        if not self._line.is_version(version):
            raise ArtefactError(
                "ARTEFACT_MISSING",
                f"{version!r} is no version name; they look like {self._line.family}_v20260109_233444",
            )
        return self._root / version

    def _manifest(self, directory: Path) -> Manifest:
        path = directory / MANIFEST_NAME
        if not path.is_file():
            raise ArtefactError(
                "ARTEFACT_MISSING", f"{directory.name} is not registered: there is no {path}; see `clm runs`"
            )
        try:
            manifest = _decode(path.read_bytes())
        except (ValueError, TypeError, KeyError, AttributeError) as exc:
            raise ArtefactError("ARTEFACT_TORN", f"{path} is not a manifest ({exc}); train again") from exc
        if manifest.version != directory.name:
            raise ArtefactError(
                "ARTEFACT_TORN",
                f"{path} is of version {manifest.version}, not {directory.name}; it was moved",
            )
        return manifest

    @staticmethod
    def _artefact(directory: Path, manifest: Manifest) -> Artefact:
        return Artefact(directory=directory, model_path=directory / MODEL_NAME, manifest=manifest)


def check_whole(path: Path, *, sha256: str, size_bytes: int) -> None:
    """Verify that the file has exactly this size and hash.

    Raises:
        ArtefactError: ARTEFACT_MISSING, ARTEFACT_TORN; the message names both sizes or both hashes.
    """
    if not path.is_file():
        raise ArtefactError(
            "ARTEFACT_MISSING", f"{path} does not exist; it was removed since it was registered"
        )
    size = path.stat().st_size
    if size != size_bytes:
        raise ArtefactError(
            "ARTEFACT_TORN",
            f"{path} has {size} bytes, its manifest says {size_bytes}; restore it or train again",
        )
    _check_hash(path, sha256)


def _check_hash(path: Path, sha256: str) -> None:
    found = sha256_of(path)
    if found != sha256:
        raise ArtefactError(
            "ARTEFACT_TORN",
            f"{path} has sha256 {found}, its manifest says {sha256}; restore it or train again",
        )


def _check(path: Path, manifest: Manifest) -> None:
    check_whole(path, sha256=manifest.sha256, size_bytes=manifest.size_bytes)


def _encode(manifest: Manifest) -> bytes:
    plain = {f.name: getattr(manifest, f.name) for f in dataclasses.fields(manifest)}
    options = orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS | orjson.OPT_SERIALIZE_NUMPY
    # A round trip through JSON, so that the seal covers the values a reader gets.
    plain = orjson.loads(orjson.dumps(plain, option=options))
    return orjson.dumps({**plain, _SEAL: _seal(plain)}, option=options) + b"\n"


def _decode(data: bytes) -> Manifest:
    """Return the manifest; its seal detects any flipped bit.

    Raises:
        ValueError, TypeError, KeyError, AttributeError: not a manifest, or changed after it was written.
    """
    plain = orjson.loads(data)
    seal = plain.pop(_SEAL, None)
    if seal is not None and seal != _seal(plain):
        raise ValueError("it was changed since it was written")
    inputs = plain.pop("inputs", None)
    if inputs is not None:
        lists = {name: tuple(value) for name, value in inputs.items() if isinstance(value, list)}
        inputs = InputContract(**{**inputs, **lists})
    lineage = Lineage(**plain.pop("lineage"))
    names = tuple(plain.pop("feature_names"))
    return Manifest(**plain, feature_names=names, lineage=lineage, inputs=inputs)


def _seal(plain: Mapping[str, object]) -> str:
    return hashlib.sha256(orjson.dumps(plain, option=orjson.OPT_SORT_KEYS)).hexdigest()


def _discard(building: Path) -> None:
    for part in building.iterdir():
        part.unlink()
    building.rmdir()
