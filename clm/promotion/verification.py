"""Verify that the engine serves a model, by observing the engine."""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from clm.domain.load_check import GoldenRows
from clm.engine.health import Grade
from clm.errors import PromotionError
from clm.ports import EngineObservation, EngineStatus
from clm.promotion.policy import Workplace


class Effect(StrEnum):
    """How a verification ended."""

    CONFIRMED = "CONFIRMED"
    NOT_TAKEN = "NOT_TAKEN"
    STOPPED = "STOPPED"
    """An operator stopped the engine and did not start it again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """Result of a verification, and its reason."""

    effect: Effect
    reason: str
    pid: int | None = None
    troubled: str = ""
    """Tolerated health problem of the engine while it served."""


def verify(
    work: Workplace,
    model_path: Path | None,
    *,
    health: Grade = Grade.HEALTHY,
    golden: GoldenRows | None = None,
) -> Verification:
    """Watch the engine until it has been stable on `model_path`, or until verification fails.

    Its health must be at least `health`, and its scores for golden rows, if any, must match the file's.
    """
    watch = _Watch(work, model_path, health, golden)
    while True:
        ended = watch.look()
        if ended is not None:
            return ended
        work.clock.sleep(work.policy.poll_s)


class _Watch:
    """Observations so far."""

    def __init__(
        self, work: Workplace, model_path: Path | None, health: Grade, golden: GoldenRows | None
    ) -> None:
        self._work = work
        self._wanted = None if model_path is None else str(model_path)
        self._began = work.clock.monotonic()
        self._first: EngineObservation | None = None
        self._restarted_once = False
        self._good_since: float | None = None
        self._elsewhere_since: float | None = None
        self._stopped_since: float | None = None
        self._health = health
        self._golden = golden
        self._has_file = False
        self._proven = False
        self._troubled = ""

    def look(self) -> Verification | None:
        """Observe once; return None while there is no result."""
        now = self._work.clock.monotonic()
        try:
            seen = self._work.engine.observe()
        except PromotionError as exc:
            return self._not_good(now, exc.message)
        if seen.status is EngineStatus.FAILED:
            return _not_taken(f"the engine failed: {seen.detail}")
        if seen.status is EngineStatus.INACTIVE:
            return self._wait_for_the_operator(now, seen)
        self._stopped_since = None
        restarted = self._notice_restarts(seen)
        if restarted is not None:
            return restarted
        if seen.status is EngineStatus.ACTIVATING:
            return self._not_good(now, f"the engine does not become active: {seen.detail}")
        if seen.model_path != self._wanted:
            return self._elsewhere(now, seen)
        self._elsewhere_since = None
        return self._judge(now, seen)

    def _notice_restarts(self, seen: EngineObservation) -> Verification | None:
        first = self._first
        if first is not None and seen.restarts > first.restarts:
            return _not_taken(
                f"the engine crashed and was restarted (restarts: {seen.restarts}), {seen.detail}"
            )
        if first is None or seen.invocation_id != first.invocation_id:
            if first is not None and self._restarted_once:
                return _not_taken("the engine was restarted repeatedly during verification")
            # One restart is an operator's: it is as good as ours, and the stability period starts again.
            self._restarted_once = first is not None
            self._first = seen
            self._good_since = None
            self._has_file = self._proven = False
        return None

    def _wait_for_the_operator(self, now: float, seen: EngineObservation) -> Verification | None:
        self._good_since = None
        self._stopped_since = now if self._stopped_since is None else self._stopped_since
        if now - self._stopped_since >= self._work.policy.stopped_timeout_s:
            return Verification(
                effect=Effect.STOPPED, reason=f"the engine was stopped during verification: {seen.detail}"
            )
        return None

    def _elsewhere(self, now: float, seen: EngineObservation) -> Verification | None:
        self._good_since = None
        self._elsewhere_since = now if self._elsewhere_since is None else self._elsewhere_since
        if now - self._elsewhere_since >= self._work.policy.identity_grace_s:
            has = seen.model_path or f"no model path ({seen.detail})"
            return _not_taken(f"pid {seen.main_pid} runs with {has} instead of {self._wanted or 'none'}")
        return None

    def _judge(self, now: float, seen: EngineObservation) -> Verification | None:
        """Run the checks in order of cost; all except health run once per engine start."""
        if (trouble := self._trouble_with_health()) or (trouble := self._trouble_with_journal(seen)):
            return self._not_good(now, trouble)
        if not self._proven and self._golden is not None and self._work.probe is not None:
            answers = self._work.probe(self._golden)
            if not answers.proven:
                return _not_taken(answers.detail) if answers.final else self._not_good(now, answers.detail)
            self._proven = True
        self._good_since = now if self._good_since is None else self._good_since
        if now - self._good_since >= self._work.policy.stable_s:
            reason = f"stable for {self._work.policy.stable_s:g} s as pid {seen.main_pid}"
            return Verification(
                effect=Effect.CONFIRMED, reason=reason, pid=seen.main_pid, troubled=self._troubled
            )
        return None

    def _trouble_with_health(self) -> str:
        if self._work.health is None:
            return ""
        answer = self._work.health()
        self._troubled = "" if answer.healthy else answer.detail
        return "" if answer.grade >= self._health else f"the health endpoint reports: {answer.detail}"

    def _trouble_with_journal(self, seen: EngineObservation) -> str:
        if self._has_file or self._work.journal is None or self._wanted is None:
            return ""
        missing = self._work.journal.missing(seen.invocation_id, Path(self._wanted).name)
        self._has_file = not missing
        return missing

    def _not_good(self, now: float, reason: str) -> Verification | None:
        self._good_since = None
        if now - self._began >= self._work.policy.active_timeout_s:
            return _not_taken(f"{reason} (waited {self._work.policy.active_timeout_s:g} s)")
        return None


def _not_taken(reason: str) -> Verification:
    return Verification(effect=Effect.NOT_TAKEN, reason=reason)
