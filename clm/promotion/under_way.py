"""One promotion in progress: its record and its repeatable steps."""

from collections.abc import Callable, Sequence
from pathlib import Path

import structlog

from clm.artefacts.files import sha256_of
from clm.domain.load_check import GoldenRows
from clm.engine.env_file import value_of
from clm.engine.health import Grade
from clm.errors import ArtefactError, PromotionError
from clm.events import Event
from clm.ports import EngineStatus, PromotionOutcome, PromotionRow, PromotionState
from clm.promotion import announcements
from clm.promotion.permission import held_after
from clm.promotion.plan import Observed, Target
from clm.promotion.policy import Workplace
from clm.promotion.verification import Effect, Verification, verify

log = structlog.get_logger(__name__)

_RUNNING = {EngineStatus.ACTIVE, EngineStatus.ACTIVATING}


class Promotion:
    """Tracks one promotion's progress; each state is durable before the next visible step."""

    def __init__(self, work: Workplace, record: PromotionRow) -> None:
        self.work = work
        self.record = record
        self.changes: list[str] = []
        self.restarted = False
        self.confirmed = False
        self.pid: int | None = None
        self.baseline = Grade.HEALTHY
        """Health grade before the promotion; after a crash it is unknown, so HEALTHY is required."""
        self.held: Callable[[], PromotionOutcome | None] = lambda: None
        """Called right before the switch to detect a new freeze. A recovery does not call it."""
        self._troubled = ""
        self._counted = False

    # Observation

    def env_value(self) -> str | None:
        """Return the path that the environment file names now."""
        return value_of(self.work.env_file.read().data, self.work.line.model_key)

    def names_candidate(self) -> bool:
        """Return whether the environment file names the new model."""
        return self.env_value() == str(self.record.candidate_path)

    def names_previous(self) -> bool:
        """Return whether the environment file names the previous model."""
        return self.env_value() == _text(self.record.previous_path)

    def candidate_is_whole(self) -> bool:
        """Return whether the new file is in its place and whole."""
        return _is_whole(self.record.candidate_path, self.record.candidate_sha256)

    def observed(self, target: Target) -> Observed:
        """Return the observed state with regard to a target."""
        running, path = self._engine_now()
        return Observed(
            installed=self._is_installed(target.model_path),
            env_value=self.env_value(),
            engine_running=running,
            engine_path=path,
            restarted=self.restarted,
            confirmed=self.confirmed,
        )

    def _engine_now(self) -> tuple[bool, str | None]:
        try:
            seen = self.work.engine.observe()
        except PromotionError as error:
            # The file must be restored even if the engine cannot be observed.
            return True, f"unknown: {error.message}"
        return seen.status in _RUNNING, seen.model_path

    def _is_installed(self, path: Path | None) -> bool:
        """Return whether the file is whole; the candidate's must have been put there by the switch."""
        if path is None:
            return True
        if path != self.record.candidate_path:
            return _is_whole(path, self.record.previous_sha256)
        return self.candidate_is_whole() and self.work.switch.is_installed(path, self.record.candidate_sha256)

    # Steps

    def advance(
        self,
        state: PromotionState,
        reason: str = "",
        *,
        attempts: int | None = None,
        events: Sequence[Event] = (),
        hold: str = "",
    ) -> None:
        """Store the next state with its events, then continue."""
        self.record = self.work.log.advance(
            self.record.promotion_id, state, reason=reason, attempts=attempts, events=events, hold=hold
        )
        log.info("promotion.advanced", version=self.record.version, state=state.value, reason=reason)
        if hold:
            log.error("promotion.held", version=self.record.version, reason=hold)
        self.work.checkpoint(state.value.lower())

    def resume(self) -> None:
        """Record that recovery resumes the promotion: each time counts, which bounds a crash loop."""
        self.record = self.work.log.advance(self.record.promotion_id, self.record.state)
        self.work.checkpoint("resumed")

    def is_worn_out(self) -> bool:
        """Return whether the row may be written only once more, for its end."""
        return self.record.store_count >= self.work.policy.max_stores - 1

    def install(self, source: Path | None) -> None:
        """Copy the model durably under its own name."""
        path = self.record.candidate_path
        self.work.switch.install(path, source, self.record.candidate_sha256)
        self._changed(f"installed {path}", "installed")

    def point(self, model_path: Path | None) -> None:
        """Rewrite the value in the environment file, from this promotion's other model."""
        record = self.record
        back = model_path != record.candidate_path
        self.work.switch.point(
            expected=record.candidate_path if back else record.previous_path,
            target=model_path,
            env_sha256_before=record.env_sha256_before,
        )
        named = model_path or "no model"
        self._changed(f"{self.work.env_file.path}: {self.work.line.model_key} names {named}", "pointed")

    def restart(self) -> None:
        """Restart the engine on the model that the environment file names."""
        named = self.env_value()
        self.work.switch.restart(None if named is None else Path(named))
        self.restarted = True
        self._changed("restarted the engine", "restarted")

    def count(self) -> None:
        """Count a verification before it begins, so that one interrupted by a crash counts too."""
        if not self._counted:
            self._counted = True
            self.advance(PromotionState.RESTARTING, attempts=self.record.attempts + 1)

    def confirm(self, model_path: Path | None) -> Verification:
        """Verify the target and remember the result; a rollback only requires that the model serves."""
        if model_path == self.record.candidate_path:
            seen = verify(self.work, model_path, health=self.baseline, golden=self._golden())
        else:
            seen = verify(self.work, model_path, health=Grade.TROUBLED)
        if seen.effect is Effect.CONFIRMED and model_path == self.record.candidate_path:
            self.work.switch.refuse_changed(self.record.candidate_path)
        self.confirmed = seen.effect is Effect.CONFIRMED
        self._troubled = seen.troubled
        self.pid = seen.pid
        self.work.checkpoint("verified")
        return seen

    def inconclusive(self) -> str:
        """Return an addition to the rollback's reason if the previous model has the same trouble."""
        if not self._troubled or self.baseline is not Grade.HEALTHY:
            return ""
        return (
            f"; inconclusive: the previous model has the same trouble now ({self._troubled}), which it did "
            "not have before, so a dependency of the engine is down and the model is not to blame"
        )

    def _golden(self) -> GoldenRows | None:
        """Return the candidate's golden rows if the engine can score them."""
        if self.work.probe is None:
            return None
        from clm.artefacts.golden import read_golden

        path = self.work.registry.get(self.record.version).golden_path
        return read_golden(path) if path else None

    def discard_candidate(self) -> None:
        """Remove the new file if this promotion installed it and it is not named; log a failure.

        The file must not stay: one version of the engine loads the newest file, whatever the environment
        says. The registry keeps the artefact. A file that existed before, such as a former champion's, stays.
        """
        path = self.record.candidate_path
        if self.record.candidate_stays:
            return
        try:
            if not path.is_symlink() and self.candidate_is_whole() and not self.names_candidate():
                self.work.switch.remove(path)
                self._changed(f"removed {path}", "discarded")
        except (PromotionError, ArtefactError) as error:
            # The rollback must continue: the served model matters more than a leftover file.
            log.warning("promotion.file_left", path=str(path), code=error.code, error=error.message)
            self.changes.append(f"left {path} behind ({error})")

    def _changed(self, sentence: str, checkpoint: str) -> None:
        self.changes.append(sentence)
        self.work.checkpoint(checkpoint)

    # End

    def outcome(self, state: PromotionState, reason: str, *, alert: str = "") -> PromotionOutcome:
        """Store the final state with its event, and return the outcome.

        `alert` is the severity of an alert to the operator, or "" for no alert.
        """
        events = [announcements.ended(self.work, self.record, state, reason)]
        if alert:
            events.append(announcements.alert(self.work, self.record, alert, reason))
        hold = held_after(self.work.log.endings(1), state, self.record.version)
        if hold:
            events.append(announcements.alert(self.work, self.record, "critical", hold))
        self.advance(state, reason, events=events, hold=hold)
        return PromotionOutcome(
            state=state,
            version=self.record.version,
            reason=reason,
            changes=tuple(self.changes),
            engine_pid=self.pid,
        )


def _is_whole(path: Path, sha256: str | None) -> bool:
    return path.is_file() and sha256_of(path) == sha256


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)
