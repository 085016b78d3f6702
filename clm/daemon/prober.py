"""Measure for the probes in a child process; torch and scikit-learn never enter the daemon."""

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from clm.artefacts.measurement_files import MEASUREMENTS, read_measurements
from clm.clock import SystemClock
from clm.daemon.errand import Errand, send
from clm.domain.job import TrainingJob
from clm.domain.measurement import MEASURED, Measurement
from clm.ports import Clock, StopSignal

_OVERTIME_S = 60.0
"""What the measurement that is under way when the budget ends, and the start of the child, may take more."""


class SubprocessProber:
    """Fulfils ports.Prober with `python -m clm.training.measure JOBDIR BUDGET_S`."""

    def __init__(
        self,
        budget_s: float,
        *,
        python: Path | None = None,
        environment: Mapping[str, str] | None = None,
        grace_s: float = 10.0,
        clock: Clock | None = None,
    ) -> None:
        self._budget_s = budget_s
        self._python = python or Path(sys.executable)
        self._environment = dict(environment or {"PATH": os.defpath})
        self._grace_s = grace_s
        self._clock = clock or SystemClock()

    def measure(self, job: TrainingJob, stop: StopSignal) -> Mapping[str, Measurement]:
        """Return what could be measured in time, and of the rest why it could not.

        Raises:
            Interrupted: `stop` was set; the child is gone.
        """
        (job.directory / MEASUREMENTS).unlink(missing_ok=True)
        errand = Errand(
            module="clm.training.measure",
            arguments=(str(job.directory), f"{self._budget_s:g}"),
            directory=job.directory,
            threads=job.spec.threads,
            budget_s=self._budget_s + _OVERTIME_S,
        )
        why = send(errand, self._python, self._environment, stop, self._clock, self._grace_s)
        try:
            measured = read_measurements(job.directory)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            measured, why = {}, why or f"its answer cannot be read: {error}"
        absent = Measurement(figures={}, cost_s=0.0, absent_because=why or "not measured")
        return {name: measured.get(name, absent) for name in MEASURED}
