"""What brings a model to the engine."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from clm.artefacts.manifest import Artefact
from clm.domain.job import ChampionRef
from clm.domain.waiting import Waiting
from clm.events import Event


class PromotionState(StrEnum):
    """Where a promotion stands; promotion.md's states."""

    PREPARED = "PREPARED"
    STAGED = "STAGED"
    SWITCHING = "SWITCHING"
    RESTARTING = "RESTARTING"
    COMMITTED = "COMMITTED"
    WAITING = "WAITING"
    """It passed, and waits for a person or for a thaw; nothing was begun, so no row is in this state."""
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


class PromotionKind(StrEnum):
    """Who wanted it."""

    CYCLE = "CYCLE"
    """A learning cycle, by itself."""
    PROMOTE = "PROMOTE"
    """A person who names a registered model."""
    ROLLBACK = "ROLLBACK"
    """A person who wants a former champion back."""
    ADOPT = "ADOPT"
    """Not promoted here: the environment file already named it."""
    ACTIVATE = "ACTIVATE"
    """A person who let the engine trade on the champion."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PromotionRequest:
    """Who wants a model at the engine, and why."""

    kind: PromotionKind = PromotionKind.PROMOTE
    reason: str = ""
    override: bool = False
    """A person takes it on themselves: what was tried before may be tried again."""
    instead_of: ChampionRef | None = None
    """The champion that a cycle judged against; where another serves by now, the judgement is stale."""


class Control(StrEnum):
    """What an operator, or two failures in a row, suspended."""

    PAUSE = "pause"
    """Nothing is trained or promoted automatically."""
    PIN = "pin"
    """Nothing replaces the champion; `value` is its version."""
    SUSPENDED = "hold"
    """Nothing is promoted automatically: two rollbacks in a row, or one that failed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlSet:
    """A control that is in force."""

    value: str
    reason: str
    since: str


Controls = Mapping[Control, ControlSet]


@dataclass(frozen=True, slots=True, kw_only=True)
class PromotionStart:
    """What a promotion is about to do: the new model, the one it replaces, and the request behind it."""

    run_id: str
    version: str
    candidate_path: Path
    candidate_sha256: str
    previous_path: Path | None
    """None if the environment file named no model before."""
    previous_sha256: str | None
    env_sha256_before: str
    kind: PromotionKind = PromotionKind.CYCLE
    asked: str = ""
    """Why it was begun; the person's words if a person asked for it."""
    candidate_stays: bool = False
    """True if the file was in its place before the promotion, so a rollback does not remove it."""
    lineage_sha256: str | None = None
    """Hash of data, code and settings that the model was made of; None if that is not recorded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PromotionRow:
    """A row of clm_promotions: what was meant, and how far it got."""

    promotion_id: int
    kind: PromotionKind
    asked: str
    """Why it was begun; a person's words where a person did."""
    run_id: str
    version: str
    candidate_path: Path
    candidate_sha256: str
    previous_path: Path | None
    """None where the env file named no model before."""
    previous_sha256: str | None
    env_sha256_before: str
    state: PromotionState
    candidate_stays: bool
    """The file lay in its place before us; it is not ours to remove."""
    lineage_sha256: str | None
    """What the model was made of: data, code and settings; None where that is not recorded."""
    attempts: int
    store_count: int
    """How often the row was written: it bounds a loop of crashes and recoveries."""
    reason: str
    updated_at: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Reign:
    """A model's time as champion."""

    version: str
    path: Path
    sha256: str
    run_id: str
    kind: PromotionKind
    since: str
    until: str | None
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PromotionOutcome:
    """How a promotion ended, and what was changed on the server."""

    state: PromotionState
    version: str
    reason: str
    changes: tuple[str, ...]
    """Each one sentence: file installed, line rewritten, unit restarted."""
    engine_pid: int | None = None
    code: str = ""
    """Of the error that kept the promotion from beginning; empty if it began."""
    waiting: Waiting | None = None
    """Set where a freeze, a pause or a full disk holds it back."""


class Promoter(Protocol):
    """Brings an artefact to the engine and proves it, or brings the previous one back."""

    def champion(self) -> ChampionRef | None:
        """Return the model that the engine's environment file names, None where it names none."""
        ...

    def promote(self, artefact: Artefact, run_id: str, request: PromotionRequest = ...) -> PromotionOutcome:
        """Promote and verify by effect; every failure after the switch ends with the previous model.

        A promotion that cannot begin (no env file, no engine) ends ABORTED with the reason; a cycle's
        that is left to a person (mode, live engine, pin, hold) or held by a freeze ends WAITING.
        """
        ...

    def is_open(self) -> bool:
        """Return whether a promotion is not at its end: under way elsewhere, or left by a dead process."""
        ...

    def adopt(self) -> str | None:
        """Note a champion that somebody else named, and return its version; None where the record agrees."""
        ...

    def recover(self) -> PromotionOutcome | None:
        """Bring an interrupted promotion to its end; None where there was none."""
        ...


class PromotionLog(Protocol):
    """The durable record of promotions; each write commits state and events together."""

    def open_promotion(self) -> PromotionRow | None: ...
    def begin(self, start: PromotionStart, events: Callable[[int], Sequence[Event]] = ...) -> PromotionRow:
        """Insert a PREPARED row with the events that its id makes.

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
        hold: str = "",
    ) -> PromotionRow:
        """Store the next state with its events; COMMITTED also flips ai_model_versions.is_active.

        With `hold`, automatic promotion is off from this transaction on.
        """
        ...

    def give_back(self, before: PromotionRow) -> None:
        """Set `attempts` and `store_count` of an open promotion back to those of `before`."""
        ...

    def adopt(
        self,
        *,
        path: Path,
        sha256: str,
        env_sha256: str,
        reason: str,
        known: bool,
        events: Sequence[Event],
        kind: PromotionKind = ...,
    ) -> None:
        """Note that the engine's file names this model without a promotion; `known`, its file is recorded."""
        ...

    def known_sha256(self, path: Path) -> str | None:
        """Return the recorded hash of a promoted file at this path, None for a stranger."""
        ...

    def ended_like(self, lineage_sha256: str) -> PromotionRow | None:
        """Return the newest promotion of this lineage that reached the engine, whatever its end."""
        ...

    def endings(self, limit: int) -> list[PromotionState]:
        """Return how the latest promotions that reached the engine ended, newest first."""
        ...

    def reigns(self) -> list[Reign]:
        """Return who was champion when, newest first."""
        ...

    def controls(self) -> Controls:
        """Return what is in force now."""
        ...
