"""Try other settings in a child process; Optuna never enters the daemon."""

import os
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from clm.artefacts.tuning_files import TRIALS, read_trials, write_tuning
from clm.clock import SystemClock
from clm.daemon.errand import Errand, send
from clm.domain.tuning import Trial, TuningJob
from clm.errors import ArtefactError
from clm.ports import Clock, StopSignal

_OVERTIME_S = 120.0
"""What the start of the child and the epoch that is under way when the budget ends may take more."""
_STARTS = 3
"""A child that was killed is started again this often, all in all; its study goes on."""


class SubprocessTuner:
    """Fulfils ports.Tuner with `python -m clm.training.tune DIRECTORY`."""

    def __init__(
        self,
        *,
        python: Path | None = None,
        environment: Mapping[str, str] | None = None,
        grace_s: float = 10.0,
        clock: Clock | None = None,
    ) -> None:
        self._python = python or Path(sys.executable)
        self._environment = dict(environment or {"PATH": os.defpath})
        self._grace_s = grace_s
        self._clock = clock or SystemClock()

    def tune(self, job: TuningJob, stop: StopSignal) -> tuple[tuple[Trial, ...], str]:
        """Return the tries of the study, those of an earlier process included, and why they are so few.

        Raises:
            Interrupted: `stop` was set; the child is gone, its study is kept.
        """
        (job.directory / TRIALS).unlink(missing_ok=True)
        deadline = self._clock.monotonic() + job.budget_s
        why = ""
        for _ in range(_STARTS):
            left_s = deadline - self._clock.monotonic()
            if left_s <= 0:
                break
            try:
                write_tuning(replace(job, budget_s=left_s))
            except ArtefactError as error:
                return (), error.message
            errand = Errand(
                module="clm.training.tune",
                arguments=(str(job.directory),),
                directory=job.directory,
                threads=job.spec.threads,
                budget_s=left_s + _OVERTIME_S,
            )
            why = send(errand, self._python, self._environment, stop, self._clock, self._grace_s)
            if not why:
                break
        try:
            return read_trials(job.directory), why
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            return (), why or f"its answer cannot be read: {error}"
