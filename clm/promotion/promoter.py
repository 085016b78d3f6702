"""Promote an artefact to the engine and verify it, or roll back to the previous one.

    PREPARED -> STAGED -> SWITCHING -> RESTARTING -> COMMITTED
        \\________\\__________\\-> ABORTED                         nothing was switched
                                \\________\\-> ROLLING_BACK -> ROLLED_BACK | ROLLBACK_FAILED
    any, if an operator changed the model line -> SUPERSEDED
    not started, because an operator must decide or a freeze is active -> WAITING

Each state is durable before its visible step. The environment file is authoritative: recovery reads it.
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
    end_unreadable,
    give_up_for_good,
    hands_off,
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
        """Connect the parts; `freeze` is read before a cycle's promotion begins and before the switch."""
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
        """Return the model that the environment file names; without one, log why and return None."""
        return champion_of(self._work)

    def withheld_because(self) -> str | None:
        """Return why a model that passed waits for an operator, or None if it is promoted automatically."""
        try:
            variables = parse(self._work.env_file.read().data)
        except PromotionError:
            return None  # no promotion begins without this file; the preflight check reports why
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
        """Promote and verify a model; every failure after the switch rolls back."""
        return self._bring(
            registered(artefact, self._work.path_of(artefact.manifest.version)), run_id, request
        )

    def bring_back(self, reign: Reign, request: PromotionRequest) -> PromotionOutcome:
        """Promote a former champion, with the same verification and rollback."""
        return self._bring(former(reign, self._work.registry), reign.run_id, request)

    def _bring(self, candidate: Candidate, run_id: str, request: PromotionRequest) -> PromotionOutcome:
        version = candidate.version
        with contextlib.ExitStack() as held:
            try:
                held.enter_context(_alone_in(self._work.models_dir))
                if request.kind is PromotionKind.CYCLE and (why := self.withheld_because()):
                    reason = f"{why}; `clm promote {version}` promotes it"
                    return _not_begun(PromotionState.WAITING, version, reason)
                start = preflight(self._work, candidate)
                refuse_unwanted(self._work, candidate, request, start.previous_path)
                if waits := self._held(version, request):
                    return waits
                promotion = self._begin(start, candidate, run_id, request)
                promotion.baseline = start.health
                promotion.held = partial(self._held, version, request)
            except (PromotionError, ArtefactError) as error:
                log.warning("promotion.not_begun", version=version, code=error.code, reason=error.message)
                return _not_begun(PromotionState.ABORTED, version, str(error), error.code)
            return go_forward(promotion, candidate.source, start.engine_was_running)

    def go_live(self, version: str) -> Activation:
        """Let the engine trade on the champion, and verify it or restore shadow mode.

        Raises:
            PromotionError: the first failed precondition. PromotionBusy.
        """
        with _alone_in(self._work.models_dir):
            if self.is_open():
                raise PromotionBusy("PROMOTION_BUSY", "a promotion is in progress; retry after its end")
            return go_live(self._work, version)

    def is_open(self) -> bool:
        """Return whether a promotion is open: in progress elsewhere, or left by a dead process."""
        return self._work.log.open_promotion() is not None

    def adopt(self) -> str | None:
        """Record a champion that an operator set, and return its version; None if the record agrees.

        If another process promotes, or a file is unreadable, the next check does it.
        """
        with contextlib.suppress(PromotionError, ArtefactError), _alone_in(self._work.models_dir):
            return None if self.is_open() else adopt(self._work)
        return None

    def recover(self) -> PromotionOutcome | None:
        """Finish an interrupted promotion from any state; return None if there is none.

        Raises:
            PromotionError, ArtefactError: PROMOTION_BUSY while another process promotes; ENV_UNREADABLE,
                ENGINE_UNREACHABLE or IO_ERROR if the server cannot be read. The promotion stays open.
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
        """Return the outcome if a freeze holds this promotion back; an operator's is never held."""
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
        """Undo a recovery's count if it ends with an exception instead of a crash.

        The counts bound a crash loop. A live process waits before it retries, so it needs no bound. A stop
        request ends the process, and counts.
        """
        try:
            yield
        except Interrupted:
            raise
        except Exception:
            with contextlib.suppress(ClmError):
                self._work.log.give_back(record)
            raise

    def _resume(self, promotion: Promotion) -> PromotionOutcome:
        """Continue from the environment file's content, not from the recorded intent."""
        record = promotion.record
        interrupted = f"interrupted while {record.state.value}"
        if promotion.is_worn_out():
            return give_up_for_good(promotion, record.reason or interrupted)
        self._work.engine.observe()
        promotion.resume()
        try:
            candidate, previous = promotion.names_candidate(), promotion.names_previous()
        except PromotionError as error:
            return end_unreadable(promotion, interrupted, error)
        with translated("cannot make the last switch durable"):
            # Before the crash, the rename may have happened without being synced to disk.
            sync_directory(self._work.env_file.path.resolve().parent)
        if record.state in {PromotionState.PREPARED, PromotionState.STAGED} and not candidate:
            return abort(promotion, f"{interrupted}; nothing was switched")
        if not candidate and not previous:
            return hands_off(
                promotion,
                f"{interrupted}; the engine has since been pointed to {promotion.env_value() or 'no model'}",
            )
        exhausted = record.attempts >= self._work.policy.max_attempts
        if previous or exhausted or record.state is PromotionState.ROLLING_BACK:
            reason = record.reason or interrupted
            return roll_back(promotion, reason, must_serve=record.previous_path is not None)
        return go_forward(promotion, None, was_running=record.previous_path is not None)

    def _sweep(self) -> None:
        """Remove files of killed writers; a failure is harmless."""
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
