"""What brings a model to the engine."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from clm.artefacts.manifest import Artefact
from clm.domain.job import ChampionRef
from clm.events import Event


class PromotionState(StrEnum):
    """Where a promotion stands; promotion.md's states."""

    PREPARED = "PREPARED"
    STAGED = "STAGED"
    SWITCHING = "SWITCHING"
    RESTARTING = "RESTARTING"
    COMMITTED = "COMMITTED"
    ABORTED = "ABORTED"
    ROLLING_BACK = "ROLLING_BACK"
    ROLLED_BACK = "ROLLED_BACK"
    ROLLBACK_FAILED = "ROLLBACK_FAILED"
    SUPERSEDED = "SUPERSEDED"

    @property
    def is_open(self) -> bool:
        """True while something is still to be done."""
        return self in {
            PromotionState.PREPARED,
            PromotionState.STAGED,
            PromotionState.SWITCHING,
            PromotionState.RESTARTING,
            PromotionState.ROLLING_BACK,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class PromotionRecord:
    """A row of clm_promotions: what was meant, and how far it got."""

    promotion_id: int
    run_id: str
    version: str
    candidate_path: Path
    candidate_sha256: str
    previous_path: Path | None
    """None where the env file named no model before."""
    previous_sha256: str | None
    env_sha256_before: str
    state: PromotionState
    attempts: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PromotionOutcome:
    """How a promotion ended, and what was changed on the server."""

    state: PromotionState
    version: str
    reason: str
    changes: tuple[str, ...]
    """Each one sentence: file installed, line rewritten, unit restarted."""
    engine_pid: int | None = None


class Promoter(Protocol):
    """Brings an artefact to the engine and proves it, or brings the previous one back."""

    def champion(self) -> ChampionRef | None:
        """Return the model that the engine's environment file names, None where it names none."""
        ...

    def promote(self, artefact: Artefact, run_id: str) -> PromotionOutcome:
        """Promote and verify by effect; every failure after the switch ends with the previous model.

        A promotion that cannot begin (no env file, no engine) ends ABORTED with the reason.
        """
        ...

    def recover(self) -> PromotionOutcome | None:
        """Bring an interrupted promotion to its end; None where there was none."""
        ...


class PromotionLog(Protocol):
    """The durable record of promotions; each write commits state and events together."""

    def open_promotion(self) -> PromotionRecord | None: ...
    def begin(
        self,
        *,
        run_id: str,
        version: str,
        candidate_path: Path,
        candidate_sha256: str,
        previous_path: Path | None,
        previous_sha256: str | None,
        env_sha256_before: str,
    ) -> PromotionRecord:
        """Insert a PREPARED row.

        Raises:
            PromotionError: PROMOTION_BUSY when one is open already.
        """
        ...

    def advance(
        self,
        promotion_id: int,
        state: PromotionState,
        *,
        reason: str = "",
        attempts: int | None = None,
        events: Sequence[Event] = (),
    ) -> PromotionRecord:
        """Store the next state with its events; COMMITTED also flips ai_model_versions.is_active."""
        ...

    def known_sha256(self, path: Path) -> str | None:
        """Return the recorded hash of a promoted file at this path, None for a stranger."""
        ...


class EngineStatus(StrEnum):
    """What the service manager says of the engine."""

    ACTIVE = "active"
    ACTIVATING = "activating"
    INACTIVE = "inactive"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineObservation:
    """The engine as observed, never as meant."""

    status: EngineStatus
    main_pid: int | None
    invocation_id: str
    """Changes with every start."""
    restarts: int
    model_path: str | None
    """PATCHTST_MODEL_PATH of /proc/<pid>/environ; None where unreadable or unset."""
    detail: str = ""
    runs_as_root: bool = False
    """Who writes the environment of such an engine is root."""


class Engine(Protocol):
    """The unit (or process) that serves the model."""

    def observe(self) -> EngineObservation:
        """Raises PromotionError ENGINE_UNREACHABLE where the service manager does not answer."""
        ...

    def restart(self) -> None:
        """Clear a start limit and restart; returns when the start job is done.

        Raises:
            PromotionError: ENGINE_RESTART_FAILED, ENGINE_UNREACHABLE.
        """
        ...

    def refuse_uncontrollable(self) -> None:
        """Return when this user may restart the engine; nothing is touched.

        Raises:
            PromotionError: ENGINE_RESTART_FAILED, ENGINE_UNREACHABLE.
        """
        ...


class Switch(Protocol):
    """Does the two visible things of a promotion: the environment file names a model, the engine restarts.

    Both can be done again: a file that names the target already is left as it is.
    """

    def refuse_unusable(self) -> None:
        """Return when a switch could be made now; nothing is touched.

        Raises:
            PromotionError: the first thing that stands in the way.
        """
        ...

    def point(self, *, expected: Path | None, target: Path | None, env_sha256_before: str) -> None:
        """Make the environment file name `target` where it names `expected`; durable when this returns.

        A `target` of None takes the line away; `env_sha256_before` says in which form it was absent.

        Raises:
            PromotionError: ENV_CHANGED where it names something else, the codes of `EnvFile`, and those of
                whoever does it for us.
            ArtefactError: DISK_FULL, READ_ONLY_FS, PERMISSION; the file is whole, old or new.
        """
        ...

    def restart(self, model_path: Path | None) -> None:
        """Restart the engine on the model that the file names, which is `model_path`.

        Raises:
            PromotionError: as `Engine.restart`.
        """
        ...

    def sweep(self) -> tuple[str, ...]:
        """Remove what a killed writer of the environment file left beside it, and return the names."""
        ...
