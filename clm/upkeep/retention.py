"""Remove former champions, rejected models, runs and events that are no longer needed."""

import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import structlog

from clm.artefacts.files import remove_directory, remove_durably, sha256_of, sweep_temporaries
from clm.artefacts.registry import DirectoryRegistry
from clm.clock import iso
from clm.engine.directory_lock import directory_lock
from clm.engine.env_file import value_of
from clm.errors import ArtefactError, PromotionError
from clm.events import PerformanceAlert
from clm.ports import Clock, Control, Journal, Reign, RunStatus
from clm.promotion.candidate import waiting
from clm.promotion.policy import ServedEngine
from clm.store.outbox import SqliteOutbox
from clm.store.promotions import SqlitePromotionLog
from clm.upkeep.disks import Disk, disk_of
from clm.upkeep.removable import Aged, models_in_use, surplus, surplus_models

log = structlog.get_logger()

NEWEST_KEPT = 20
"""Registered models and runs kept regardless of age, while there is space."""
CHECKPOINT_DAYS = 3.0
"""An interrupted task resumes within the hour; later, new samples lead to another training."""
EVENTS_KEPT = 1000
"""Published events kept regardless of age."""
_NEVER_OLD = datetime.max.replace(tzinfo=UTC)
"""Age of items without a time in their name: they never expire."""
_RUN = re.compile(r"p07_(\d{8}_\d{6})_[0-9a-f]{8}")


@dataclass(frozen=True, slots=True, kw_only=True)
class RetentionPolicy:
    """Retention periods and the disk limit."""

    artefact_days: float
    run_days: float
    event_days: float
    disk_mark: float
    """Share of the disk in use above which age no longer protects a rejected model or a run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptFiles:
    """Directories of our files: registered models, runs and checkpoints."""

    registry: DirectoryRegistry
    runs_dir: Path
    checkpoints_dir: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Records:
    """The tables that record what is still needed."""

    promotions: SqlitePromotionLog
    journal: Journal
    outbox: SqliteOutbox


class Retention:
    """Removes what is no longer needed; whatever cannot be determined counts as in use."""

    def __init__(
        self,
        *,
        served: ServedEngine,
        kept: KeptFiles,
        records: Records,
        clock: Clock,
        policy: RetentionPolicy,
        disk: Callable[[Path], Disk] = disk_of,
    ) -> None:
        self._served = served
        self._kept = kept
        self._records = records
        self._clock = clock
        self._policy = policy
        self._disk = disk
        self._alerted_full = False

    def tidy(self) -> tuple[str, ...]:
        """Remove what is no longer needed and return a description of each item; nothing during a promotion.

        Raises:
            DataError: the store cannot be read. StoreBusy.
        """
        try:
            # The same lock as a promotion's: a candidate that is being installed is not yet named anywhere.
            with directory_lock(self._served.models_dir, missing="MODELS_MISSING", busy="PROMOTION_BUSY"):
                return self._tidy()
        except PromotionError as error:
            log.info("retention.put_off", code=error.code, reason=error.message)
            return ()

    def _tidy(self) -> tuple[str, ...]:
        reigns = self._records.promotions.reigns()
        in_use, is_certain = self._in_use(reigns)
        # Models are removed only if every use is known; the engine must find its file after a restart.
        gone = self._remove_models(reigns, in_use) if is_certain else []
        versions = {path.stem for path in in_use} | {
            str(waiting(self._kept.registry, self._records.promotions))
        }
        artefacts = self._artefacts()
        runs_kept = {run_id for version, _, run_id in artefacts if version in versions}
        gone += self._remove(
            "model",
            [Aged(name=version, age_days=age) for version, age, _ in artefacts],
            versions,
            self._policy.artefact_days,
            self._kept.registry.remove,
        )
        gone += self._remove("run", self._runs(), runs_kept, self._policy.run_days, self._remove_run)
        gone += self._remove_checkpoints()
        before = self._clock.now() - timedelta(days=self._policy.event_days)
        if events := self._records.outbox.forget(before, keep=EVENTS_KEPT):
            gone.append(f"{events} published events")
        if gone:
            log.info("retention.removed", count=len(gone), what=", ".join(gone[:20]))
        self._alert_when_full()
        return tuple(gone)

    def _in_use(self, reigns: Sequence[Reign]) -> tuple[frozenset[Path], bool]:
        """Return the model files to keep, and whether the list is complete."""
        named = running = None
        is_certain = True
        try:
            value = value_of(self._served.env_file.read().data, self._served.line.model_key)
            named = Path(value) if value else None
            seen = self._served.engine.observe()
            running = Path(seen.model_path) if seen.model_path else None
            # If the engine's model cannot be observed, it may run on any model.
            is_certain = seen.main_pid is None or running is not None
        except PromotionError as error:
            log.info("retention.models_left", code=error.code, reason=error.message)
            is_certain = False
        pin = self._records.promotions.controls().get(Control.PIN)
        in_use = models_in_use(
            reigns,
            named=named,
            running=running,
            open_record=self._records.promotions.open_promotion(),
            pinned=pin.value if pin else None,
        )
        return in_use, is_certain

    def _remove_models(self, reigns: Sequence[Reign], in_use: frozenset[Path]) -> list[str]:
        gone = []
        for reign in surplus_models(reigns, in_use):
            if reign.path.parent != self._served.models_dir or not reign.path.is_file():
                continue
            # Another hash means that somebody replaced the file: it is not ours to remove.
            if reign.path.is_symlink() or sha256_of(reign.path) != reign.sha256:
                log.warning("retention.stranger_left", path=str(reign.path))
                continue
            try:
                self._served.switch.remove(reign.path)
            except (ArtefactError, PromotionError) as error:
                log.warning("retention.failed", what="model", name=reign.version, error=str(error))
            else:
                gone.append(f"former champion {reign.path}")
        return gone

    def _remove(
        self,
        what: str,
        things: Sequence[Aged],
        kept: Collection[str],
        days: float,
        remove: Callable[[str], None],
    ) -> list[str]:
        """Remove expired items and, above the disk limit, the oldest ones until usage is below it."""
        gone = []
        too_old = surplus(things, kept=kept, days=days, newest=NEWEST_KEPT)
        for name in (*too_old, *surplus(things, kept={*kept, *too_old}, days=0, newest=1)):
            # Measured again after each removal, so that no more is removed than necessary.
            if name not in too_old and not self._is_over_the_mark():
                break
            try:
                remove(name)
            except ArtefactError as error:
                log.warning("retention.failed", what=what, name=name, code=error.code, error=error.message)
            else:
                gone.append(f"{what} {name}")
        return gone

    def _artefacts(self) -> list[tuple[str, float, str]]:
        """Return version, age in days and run of each registered model; a corrupt one has its name's age."""
        found = []
        for version in self._kept.registry.versions():
            try:
                manifest = self._kept.registry.manifest(version)
                made, run_id = datetime.fromisoformat(manifest.created_at), manifest.lineage.run_id
            except (ArtefactError, ValueError):
                # A manifest that cannot be read must not protect its artefact forever.
                made, run_id = self._served.line.made_at(version) or _NEVER_OLD, ""
            found.append((version, self._age_days(made), run_id))
        return found

    def _runs(self) -> list[Aged]:
        """Return the directories of finished runs."""
        if not self._kept.runs_dir.is_dir():
            return []
        # Names with our suffix that a killed process left; nothing else would remove them.
        sweep_temporaries(self._kept.runs_dir)
        running = {
            run.run_id for run in self._records.journal.recent_runs(50) if run.status is RunStatus.RUNNING
        }
        return [
            Aged(name=path.name, age_days=self._age_days(_time(match[1])))
            for path in self._kept.runs_dir.iterdir()
            if (match := _RUN.fullmatch(path.name)) and path.name not in running
        ]

    def _remove_run(self, run_id: str) -> None:
        remove_directory(self._kept.runs_dir / run_id)

    def _remove_checkpoints(self) -> list[str]:
        """Remove checkpoints that no training used for days; above the disk limit, remove all."""
        if not self._kept.checkpoints_dir.is_dir():
            return []
        sweep_temporaries(self._kept.checkpoints_dir)
        gone = []
        for path in sorted(self._kept.checkpoints_dir.iterdir()):
            try:
                made = datetime.fromtimestamp(path.stat().st_mtime, UTC)
                if self._age_days(made) > CHECKPOINT_DAYS or self._is_over_the_mark():
                    remove_durably(path)
                    gone.append(f"checkpoint {path.name}")
            except (ArtefactError, OSError) as error:
                log.warning("retention.failed", what="checkpoint", name=path.name, error=str(error))
        return gone

    def _age_days(self, made: datetime) -> float:
        return (self._clock.now() - made).total_seconds() / 86400

    def _is_over_the_mark(self) -> bool:
        return self._disk(self._kept.runs_dir).used_share > self._policy.disk_mark

    def _alert_when_full(self) -> None:
        """Alert an operator once that nothing more can be removed, until there is space again."""
        if not self._is_over_the_mark():
            self._alerted_full = False
            return
        if self._alerted_full:
            return
        self._alerted_full = True
        message = (
            f"{self._disk(self._kept.runs_dir)}, and retention can remove nothing more: free space, or "
            "lower CLM_KEEP__MODELS_DAYS and CLM_KEEP__RUNS_DAYS"
        )
        log.error("retention.disk_full", reason=message)
        alert = PerformanceAlert(
            model_id="none",
            severity="warning",
            message=message,
            timestamp=iso(self._clock.now()),
            metadata={"path": str(self._kept.runs_dir)},
        )
        self._records.outbox.append([alert], trace_id="retention")


def _time(text: str) -> datetime:
    """Return the time in a run's name, or the latest possible time if there is none."""
    try:
        return datetime.strptime(text, "%Y%m%d_%H%M%S").replace(tzinfo=UTC)
    except ValueError:
        return _NEVER_OLD
