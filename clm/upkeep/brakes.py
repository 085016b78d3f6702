"""The brakes that stop learning: an operator's pause and the trading system's freeze keys."""

from clm.domain.freeze import Freeze, halted, worst
from clm.ports import Brake, Control
from clm.store.controls import SqliteControls


class PauseBrake:
    """The pause set by `clm pause`."""

    def __init__(self, controls: SqliteControls) -> None:
        self._controls = controls

    def frozen_because(self) -> str | None:
        """Return the reason of the pause, or None without one.

        Raises:
            StoreBusy: the pause cannot be read now.
        """
        pause = self._controls.read().get(Control.PAUSE)
        return f"paused since {pause.since}: {pause.reason}; `clm resume` ends it" if pause else None

    def freeze(self) -> Freeze:
        """Return the pause as a freeze."""
        return halted(self.frozen_because())


class Brakes:
    """Several brakes combined; the most restrictive one is reported."""

    def __init__(self, *brakes: Brake) -> None:
        self._brakes = brakes

    def frozen_because(self) -> str | None:
        """Return why training and promotion are stopped, or None if they are allowed."""
        return self.freeze().stops_because

    def freeze(self) -> Freeze:
        """Return the most restrictive freeze. All are read, so that the keys are known after a pause."""
        return worst(*(brake.freeze() for brake in self._brakes))
