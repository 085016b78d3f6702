"""The champion: the model that the engine's environment file names, whatever the store records."""

import structlog

from clm.artefacts.files import sha256_of
from clm.artefacts.manifest import Manifest
from clm.clock import iso
from clm.domain.architecture import ENGINE
from clm.domain.job import ChampionRef
from clm.errors import ArtefactError, PromotionError
from clm.events import PerformanceAlert
from clm.promotion.policy import Workplace
from clm.promotion.preflight import previous_path

log = structlog.get_logger(__name__)


def champion_of(work: Workplace) -> ChampionRef | None:
    """Return the champion; if there is none or it cannot be determined, log why and return None."""
    try:
        return _named(work)
    except (PromotionError, ArtefactError) as error:
        log.warning("promotion.champion_absent", code=error.code, reason=error.message)
        return None


def adopt(work: Workplace) -> str | None:
    """Record a champion that the store does not know; the environment file is authoritative."""
    champion = champion_of(work)
    if champion is None:
        return None
    sha256 = sha256_of(champion.path)
    reigns = work.log.reigns()
    if reigns and (reigns[0].path, reigns[0].sha256) == (champion.path, sha256):
        return None
    facts = f"{work.env_file.path} names {champion.path}"
    if reigns:
        facts += f" while {reigns[0].path} (sha256 {reigns[0].sha256[:12]}) was the last recorded champion"
    message = f"{facts}; it is the recorded champion from now on"
    log.warning("promotion.champion_adopted", version=champion.version, reason=message)
    work.log.adopt(
        path=champion.path,
        sha256=sha256,
        env_sha256=work.env_file.read().sha256,
        reason=message,
        known=work.log.known_sha256(champion.path) == sha256,
        events=[
            PerformanceAlert(
                model_id=champion.version,
                severity="warning" if reigns else "info",
                message=message,
                timestamp=iso(work.clock.now()),
                metadata={"sha256": sha256, "adopted": True},
            )
        ],
    )
    return champion.version


def _named(work: Workplace) -> ChampionRef:
    path = previous_path(work, work.env_file.read())
    if path is None:
        raise PromotionError(
            "CHAMPION_UNNAMED",
            f"{work.env_file.path} sets no {work.line.model_key}: there is no champion yet",
        )
    if not path.is_file():
        raise PromotionError("CHAMPION_MISSING", f"{work.env_file.path} names {path}, which does not exist")
    known = work.log.known_sha256(path)
    sha256 = known or sha256_of(path)
    manifest = _manifest(work, path.stem, sha256)
    return ChampionRef(
        version=path.stem,
        path=path,
        sha256=sha256,
        feature_names=manifest.feature_names if manifest else (),
        adopted=known is None,
        architecture=manifest.architecture if manifest else ENGINE,
    )


def _manifest(work: Workplace, version: str, sha256: str) -> Manifest | None:
    if not work.line.is_version(version):
        return None
    try:
        manifest = work.registry.get(version).manifest
    except ArtefactError:
        return None
    return manifest if manifest.sha256 == sha256 else None
