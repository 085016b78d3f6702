"""Check every precondition of a promotion before anything is changed."""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from clm.artefacts.files import sha256_of
from clm.artefacts.registry import check_whole
from clm.domain.architecture import KNOWN
from clm.engine.env_file import EnvSnapshot, value_of, with_value, without_value
from clm.engine.health import Grade
from clm.errors import PromotionError
from clm.ports import EngineStatus
from clm.promotion.candidate import Candidate
from clm.promotion.policy import Workplace


@dataclass(frozen=True, slots=True, kw_only=True)
class Preflight:
    """Starting point of a promotion."""

    candidate_stays: bool
    """The file is already in its place."""
    previous_path: Path | None
    previous_sha256: str | None
    env_sha256: str
    engine_was_running: bool
    health: Grade
    """Health of the engine before any change; HEALTHY without a health endpoint."""


def preflight(work: Workplace, candidate: Candidate) -> Preflight:
    """Return the starting point if a promotion can begin and can be rolled back.

    Raises:
        PromotionError, ArtefactError: the first failed precondition.
    """
    _refuse_unloadable(work, candidate)
    if candidate.source is not None:
        check_whole(candidate.source, sha256=candidate.sha256, size_bytes=candidate.size_bytes)
    snapshot = work.env_file.read()
    previous = previous_path(work, snapshot)
    if previous == candidate.path:
        raise PromotionError(
            "ALREADY_NAMED", f"{work.env_file.path} already names {candidate.path}; there is nothing to do"
        )
    _refuse_irreversible(work, snapshot, candidate.path, previous)
    previous_sha256 = None if previous is None else _verified_hash(work, previous)
    _refuse_unusable_directory(work, candidate)
    work.switch.refuse_unusable()
    was_running, health = baseline(work, previous)
    return Preflight(
        candidate_stays=candidate.path.exists(),
        previous_path=previous,
        previous_sha256=previous_sha256,
        env_sha256=snapshot.sha256,
        engine_was_running=was_running,
        health=health,
    )


def _refuse_unloadable(work: Workplace, candidate: Candidate) -> None:
    """Reject an unsupported architecture: not even an override makes the engine load it."""
    facts = KNOWN.get(candidate.architecture)
    if facts is None or not facts.loads_in(work.policy.engine_loads):
        raise PromotionError(
            "ENGINE_CANNOT_LOAD",
            f"{candidate.version} is of architecture {candidate.architecture}, which the existing engine "
            "does not load; set CLM_ENGINE__LOADS=serving if the engine uses clm.serving",
        )


def previous_path(work: Workplace, snapshot: EnvSnapshot) -> Path | None:
    """Return the model that this environment file names."""
    value = value_of(snapshot.data, work.line.model_key)
    return None if value is None else Path(value)


def _refuse_irreversible(
    work: Workplace, snapshot: EnvSnapshot, candidate: Path, previous: Path | None
) -> None:
    changed = with_value(snapshot.data, work.line.model_key, str(candidate))
    if previous is None:
        back = without_value(changed, work.line.model_key, snapshot.sha256)
    else:
        back = with_value(changed, work.line.model_key, str(previous))
    if back != snapshot.data:
        raise PromotionError(
            "ENV_UNSAFE",
            f"{work.env_file.path}: {work.line.model_key} has a format that could not be "
            "restored byte for byte; write it plain or in one pair of quotes",
        )


def _verified_hash(work: Workplace, previous: Path) -> str:
    """Return the hash of the previous model; without it, no rollback and so no promotion is possible."""
    if not previous.is_file():
        raise PromotionError(
            "CHAMPION_MISSING",
            f"{work.env_file.path} names {previous}, which does not exist: a rollback would be impossible; "
            f"restore it or correct {work.line.model_key}",
        )
    found, known = sha256_of(previous), work.log.known_sha256(previous)
    if known is not None and found != known:
        raise PromotionError(
            "CHAMPION_CHANGED",
            f"{previous} has sha256 {found}, but {known} is recorded: restore it first",
        )
    return found


def _refuse_unusable_directory(work: Workplace, candidate: Candidate) -> None:
    if work.models_dir.resolve() == work.env_file.path.resolve().parent:
        raise PromotionError(
            "SAME_DIRECTORY", f"{work.models_dir} also holds {work.env_file.path}: separate them"
        )
    if os.statvfs(work.models_dir).f_flag & os.ST_RDONLY:
        raise PromotionError(
            "READ_ONLY_FS", f"{work.models_dir}: the file system is read-only; remount it writable"
        )
    free = shutil.disk_usage(work.models_dir).free
    needed = max(3 * candidate.size_bytes, work.policy.min_free_bytes)
    if not free >= needed:
        raise PromotionError(
            "DISK_FULL", f"{work.models_dir}: need {needed / 1e6:.0f} MB, have {free / 1e6:.0f} MB; free some"
        )
    path = candidate.path
    if path.is_symlink() or (path.exists() and sha256_of(path) != candidate.sha256):
        raise PromotionError(
            "FILE_TAKEN", f"{path} already exists with other content; it was not overwritten"
        )
    if candidate.source is None and not path.exists():
        raise PromotionError(
            "CHAMPION_MISSING", f"{path} is missing and the registry has no copy: restore it first"
        )


def baseline(work: Workplace, previous: Path | None) -> tuple[bool, Grade]:
    """Return the engine's current state and health, as the baseline for verification.

    A dependency that is already down does not count against the next model; a silent engine does.
    """
    seen = work.engine.observe()
    if seen.runs_as_root and work.env_file.is_ours_to_write():
        raise PromotionError(
            "ENGINE_RUNS_AS_ROOT",
            f"the engine runs as root; writing {work.env_file.path} would give this user root: "
            "set User= in its unit, or remove this user's write permission",
        )
    if seen.status is not EngineStatus.ACTIVE:
        down = seen.status in {EngineStatus.INACTIVE, EngineStatus.FAILED}
        if work.policy.engine_may_be_down and down:
            return False, Grade.HEALTHY
        raise PromotionError(
            "ENGINE_NOT_ACTIVE",
            f"the engine is {seen.status.value} ({seen.detail}): start it on its current model first",
        )
    if seen.model_path != (None if previous is None else str(previous)):
        raise PromotionError(
            "ENGINE_MISMATCH",
            f"the engine (pid {seen.main_pid}) runs with {seen.model_path or 'no model path'} while "
            f"{work.env_file.path} names {previous or 'none'} {seen.detail}: restart it or correct the file",
        )
    if work.health is None:
        return True, Grade.HEALTHY
    answer = work.health()
    if answer.grade is Grade.SILENT:
        raise PromotionError(
            "ENGINE_UNHEALTHY",
            f"the engine is unhealthy before any change ({answer.detail}); nothing was changed",
        )
    return True, answer.grade
