"""Brings an artefact to the engine and proves it, or brings the previous one back.

    PREPARED -> STAGED -> SWITCHING -> RESTARTING -> COMMITTED
        \\________\\__________\\-> ABORTED                         nothing was switched
                                \\________\\-> ROLLING_BACK -> ROLLED_BACK | ROLLBACK_FAILED
    any, when a person changed the model line meanwhile -> SUPERSEDED
    a person is to decide, or a freeze holds it, so nothing begins -> WAITING

Each state is durable before its visible step. The environment file is the truth: recovery asks it.
"""

import contextlib
import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import structlog

from clm.artefacts.files import sync_directory, translated
from clm.artefacts.manifest import Artefact
from clm.domain.freeze import THAWED, Freeze
from clm.domain.job import ChampionRef
from clm.engine.directory_lock import directory_lock
from clm.engine.env_file import parse
from clm.engine.golden_answers import GoldenCheck
from clm.engine.health import HttpHealth
from clm.engine.journal import JournalWitness
from clm.errors import ArtefactError, ClmError, Interrupted, PromotionBusy, PromotionError
from clm.events import Event
from clm.ports import (
    Clock,
    PromotionKind,
    PromotionLog,
    PromotionOutcome,
    PromotionRequest,
    PromotionRow,
    PromotionStart,
    PromotionState,
    Registry,
    Reign,
    held_by,
)
from clm.promotion.activation import Activation, go_live
from clm.promotion.announcements import started
from clm.promotion.candidate import Candidate, former, registered
from clm.promotion.champion import adopt, champion_of
from clm.promotion.endings import (
    abort,
    give_up_for_good,
    hands_off,
    no_telling,
    roll_back,
)
from clm.promotion.forward import go_forward
from clm.promotion.permission import refuse_unwanted, withheld
from clm.promotion.policy import PromotionPolicy, ServedEngine, Workplace
from clm.promotion.preflight import Preflight, preflight
from clm.promotion.under_way import Promotion

__all__ = ["EnvFilePromoter", "PromotionPolicy"]

log = structlog.get_logger(__name__)

PLAIN_REQUEST = PromotionRequest()


class EnvFilePromoter:
    """Promotes by rewriting one value of the engine's environment file and restarting the engine."""

    def __init__(
        self,
        *,
        served: ServedEngine,
        registry: Registry,
        log: PromotionLog,
        clock: Clock,
        policy: PromotionPolicy,
        freeze: Callable[[], Freeze] = lambda: THAWED,
        checkpoint: Callable[[str], None] = lambda _point: None,
    ) -> None:
        """Connect the parts; `freeze` is asked before a cycle's promotion begins and before the switch."""
        self._freeze = freeze
        health = HttpHealth(policy.health_url, clock=clock) if policy.health_url else None
        self._work = Workplace(
            registry=registry,
            models_dir=Path(os.path.abspath(served.models_dir)),  # noqa: PTH100  operators name paths with links
            env_file=served.env_file,
            line=served.line,
            engine=served.engine,
            switch=served.switch,
            log=log,
            clock=clock,
            policy=policy,
            health=health,
            probe=GoldenCheck(policy.probe_url, clock=clock) if policy.probe_url else None,
            journal=JournalWitness(policy.journal_pattern) if policy.journal_pattern else None,
            checkpoint=checkpoint,
        )

    def champion(self) -> ChampionRef | None:
        """Return the model that the environment file names; without one the log says why."""
        return champion_of(self._work)

    def withheld_because(self) -> str | None:
        """Return why a model that passed waits for a person, None where it may go in by itself."""
        try:
            variables = parse(self._work.env_file.read().data)
        except PromotionError:
            return None  # no promotion begins without this file, and its preflight says why
        policy, line = self._work.policy, self._work.line
        return withheld(
            mode=policy.mode,
            promote_live=policy.promote_live,
            shadow_only=line.is_shadow_only(variables),
            shadow_key=line.shadow_key,
            controls=self._work.log.controls(),
        )

    def promote(
        self, artefact: Artefact, run_id: str, request: PromotionRequest = PLAIN_REQUEST
    ) -> PromotionOutcome:
        """Promote and verify by effect; every failure after the switch ends with the previous model."""
        return self._bring(
            registered(artefact, self._work.path_of(artefact.manifest.version)), run_id, request
        )

    def bring_back(self, reign: Reign, request: PromotionRequest) -> PromotionOutcome:
        """Bring a former champion back the same way, with the same proof and the same way back."""
        return self._bring(former(reign, self._work.registry), reign.run_id, request)

    def _bring(self, candidate: Candidate, run_id: str, request: PromotionRequest) -> PromotionOutcome:
        version = candidate.version
        with contextlib.ExitStack() as held:
            try:
                held.enter_context(_alone_in(self._work.models_dir))
                if request.kind is PromotionKind.CYCLE and (why := self.withheld_because()):
                    said = f"{why}; `clm promote {version}` brings it in"
                    return _not_begun(PromotionState.WAITING, version, said)
                start = preflight(self._work, candidate)
                refuse_unwanted(self._work, candidate, request, start.previous_path)
                if waits := self._held(version, request):
                    return waits
                attempt = self._begin(start, candidate, run_id, request)
                attempt.baseline = start.health
                attempt.held = partial(self._held, version, request)
            except (PromotionError, ArtefactError) as error:
                log.warning("promotion.not_begun", version=version, code=error.code, reason=error.message)
                return _not_begun(PromotionState.ABORTED, version, str(error), error.code)
            return go_forward(attempt, candidate.source, start.engine_was_running)

    def go_live(self, version: str) -> Activation:
        """Let the engine trade on the champion; proven by its effect, or put back.

        Raises:
            PromotionError: the first thing that stands in the way. PromotionBusy.
        """
        with _alone_in(self._work.models_dir):
            if self.is_open():
                raise PromotionBusy("PROMOTION_BUSY", "a promotion is not at its end; try again after it")
            return go_live(self._work, version)

    def is_open(self) -> bool:
        """Return whether a promotion is not at its end: under way elsewhere, or left by a dead process."""
        return self._work.log.open_promotion() is not None

    def adopt(self) -> str | None:
        """Note a champion that somebody else named, and return its version; None where the record agrees.

        Where another process promotes, or a file cannot be read now, there is time until the next look.
        """
        with contextlib.suppress(PromotionError, ArtefactError), _alone_in(self._work.models_dir):
            return None if self.is_open() else adopt(self._work)
        return None

    def recover(self) -> PromotionOutcome | None:
        """Bring an interrupted promotion to its end, whatever it was doing; None where there was none.

        Raises:
            PromotionError, ArtefactError: PROMOTION_BUSY while another process is at it, ENV_UNREADABLE,
                ENGINE_UNREACHABLE, IO_ERROR where the server cannot be asked; the promotion stays open.
        """
        if self._work.log.open_promotion() is None:
            with contextlib.suppress(PromotionError), _alone_in(self._work.models_dir):
                self._sweep()
            return None
        with _alone_in(self._work.models_dir):
            self._sweep()
            record = self._work.log.open_promotion()
            if record is None:
                return None
            log.warning("promotion.found_open", version=record.version, state=record.state.value)
            with self._uncounted_if_it_raises(record):
                return self._resume(Promotion(self._work, record))

    # Forward

    def _held(self, version: str, request: PromotionRequest) -> PromotionOutcome | None:
        """Return the outcome where a freeze holds this promotion back now; a person's is never held."""
        return held_by(self._freeze(), version, request) if request.kind is PromotionKind.CYCLE else None

    def _begin(
        self, start: Preflight, candidate: Candidate, run_id: str, request: PromotionRequest
    ) -> Promotion:
        version, kind, asked = candidate.version, request.kind, request.reason

        def started_as(promotion_id: int) -> list[Event]:
            return [
                started(
                    self._work,
                    version=version,
                    promotion_id=promotion_id,
                    run_id=run_id,
                    kind=kind.value,
                    asked=asked,
                )
            ]

        prepared = PromotionStart(
            run_id=run_id,
            version=version,
            candidate_path=candidate.path,
            candidate_sha256=candidate.sha256,
            previous_path=start.previous_path,
            previous_sha256=start.previous_sha256,
            env_sha256_before=start.env_sha256,
            kind=kind,
            asked=asked,
            candidate_stays=start.candidate_stays,
            lineage_sha256=candidate.lineage_sha256,
        )
        record = self._work.log.begin(prepared, started_as)
        self._work.checkpoint("prepared")
        return Promotion(self._work, record)

    # Recovery

    @contextlib.contextmanager
    def _uncounted_if_it_raises(self, record: PromotionRow) -> Iterator[None]:
        """Give back what a recovery counted if it ends with an exception, and not with the process.

        The counts bound a loop of crashes. A process that lives waits before it tries again, so it needs no
        bound; and an order to stop is no error: it ends the process, and counts.
        """
        try:
            yield
        except Interrupted:
            raise
        except Exception:
            with contextlib.suppress(ClmError):
                self._work.log.give_back(record)
            raise

    def _resume(self, attempt: Promotion) -> PromotionOutcome:
        """Go on from what the environment file says, not from what was meant."""
        record = attempt.record
        interrupted = f"interrupted while {record.state.value}"
        if attempt.is_worn_out():
            return give_up_for_good(attempt, record.reason or interrupted)
        self._work.engine.observe()
        attempt.resume()
        try:
            candidate, previous = attempt.names_candidate(), attempt.names_previous()
        except PromotionError as error:
            return no_telling(attempt, interrupted, error)
        with translated("cannot make the last switch durable"):
            # Its rename may have been done but not yet be on the disk when we died.
            sync_directory(self._work.env_file.path.resolve().parent)
        if record.state in {PromotionState.PREPARED, PromotionState.STAGED} and not candidate:
            return abort(attempt, f"{interrupted}; nothing was switched")
        if not candidate and not previous:
            return hands_off(
                attempt, f"{interrupted}; the engine was pointed to {attempt.env_value() or 'no model'} since"
            )
        exhausted = record.attempts >= self._work.policy.max_attempts
        if previous or exhausted or record.state is PromotionState.ROLLING_BACK:
            reason = record.reason or interrupted
            return roll_back(attempt, reason, must_serve=record.previous_path is not None)
        return go_forward(attempt, None, was_running=record.previous_path is not None)

    def _sweep(self) -> None:
        """Remove what killed writers left; where that fails nothing depends on it."""
        try:
            removed = self._work.switch.sweep()
        except (PromotionError, ArtefactError) as error:
            log.warning("promotion.not_swept", code=error.code, error=error.message)
        else:
            if removed:
                log.info("promotion.swept", names=", ".join(removed))


def _not_begun(state: PromotionState, version: str, reason: str, code: str = "") -> PromotionOutcome:
    return PromotionOutcome(state=state, version=version, reason=reason, changes=(), code=code)


def _alone_in(directory: Path) -> contextlib.AbstractContextManager[None]:
    return directory_lock(directory, missing="MODELS_MISSING", busy="PROMOTION_BUSY")
