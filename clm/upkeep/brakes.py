"""Everything that may stop the learning: a person's pause, and the trading system's freeze keys."""

from clm.domain.freeze import Freeze, halted, worst
from clm.ports import Brake, Control
from clm.store.controls import SqliteControls


class PauseBrake:
    """A person said `clm pause`."""

    def __init__(self, controls: SqliteControls) -> None:
        self._controls = controls

    def frozen_because(self) -> str | None:
        """Return the words of the pause, None where there is none.

        Raises:
            StoreBusy: it cannot be known now.
        """
        pause = self._controls.read().get(Control.PAUSE)
        return f"paused since {pause.since}: {pause.reason}; `clm resume` ends it" if pause else None

    def freeze(self) -> Freeze:
        """Return the same as a freeze."""
        return halted(self.frozen_because())


class Brakes:
    """Several brakes as one; the one that allows least is named."""

    def __init__(self, *brakes: Brake) -> None:
        self._brakes = brakes

    def frozen_because(self) -> str | None:
        """Return why nothing may be trained or promoted now, None where training may go on."""
        return self.freeze().stops_because

    def freeze(self) -> Freeze:
        """Return the freeze that allows least. All are asked, so that a pause ends with the keys known."""
        return worst(*(brake.freeze() for brake in self._brakes))
