"""The model to promote: a registered model or a former champion."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import orjson

from clm.artefacts.manifest import Artefact, Lineage
from clm.artefacts.registry import DirectoryRegistry
from clm.domain.architecture import ENGINE
from clm.errors import ArtefactError
from clm.gates.decision import DecisionKind
from clm.ports import PromotionLog, Registry, Reign


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A model, its target path and its source."""

    version: str
    path: Path
    sha256: str
    source: Path | None
    """None if the file must already be at `path`: a former champion that was never registered."""
    size_bytes: int
    """0 without a source: no file is copied."""
    lineage_sha256: str | None
    architecture: str = ENGINE
    """An unregistered file is assumed to have the existing engine's architecture."""


def registered(artefact: Artefact, path: Path) -> Candidate:
    """Return a registered model as a candidate for `path`."""
    manifest = artefact.manifest
    return Candidate(
        version=manifest.version,
        path=path,
        sha256=manifest.sha256,
        source=artefact.model_path,
        size_bytes=manifest.size_bytes,
        lineage_sha256=lineage_sha256(manifest.lineage),
        architecture=manifest.architecture,
    )


def former(reign: Reign, registry: Registry) -> Candidate:
    """Return a former champion as a candidate; if its file is missing, the registry's copy is used."""
    try:
        artefact = registry.get(reign.version)
    except ArtefactError:
        artefact = None
    if artefact is not None and artefact.manifest.sha256 == reign.sha256:
        return registered(artefact, reign.path)
    return Candidate(
        version=reign.version,
        path=reign.path,
        sha256=reign.sha256,
        source=None,
        size_bytes=0,
        lineage_sha256=None,
    )


def waiting(registry: DirectoryRegistry, log: PromotionLog) -> str | None:
    """Return the newest untried model that passed after the champion's promotion, or None."""
    reigns = log.reigns()
    since = reigns[0].since if reigns else ""
    for version in reversed(registry.versions()):
        try:
            manifest = registry.manifest(version)
        except ArtefactError:
            continue  # a corrupt artefact can never be promoted
        if manifest.created_at <= since:
            break
        passed = manifest.decision == DecisionKind.PROMOTE.value
        if passed and log.ended_like(lineage_sha256(manifest.lineage)) is None:
            return version
    return None


def lineage_sha256(lineage: Lineage) -> str:
    """Return a hash of a model's lineage: the same data, code, settings and seed give the same model."""
    origin = (lineage.data_fingerprint, lineage.code_version, lineage.settings, lineage.seed)
    return hashlib.sha256(orjson.dumps(origin, option=orjson.OPT_SORT_KEYS)).hexdigest()
