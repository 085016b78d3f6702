"""The trading system's freeze keys."""

import redis
import structlog

from clm.bus.client import talking_to
from clm.bus.streams import FROZEN_KEY, MODE_KEY
from clm.errors import BusUnavailable
from clm.logs import plain

log = structlog.get_logger()

FREEZING_MODES = frozenset({"FREEZE", "LOCKDOWN"})
_RELEASED = frozenset({"", "0", "FALSE", "NO", "OFF"})


class RedisBrake:
    """Reads the keys anew each time; a Redis that does not answer is no brake, but is said."""

    def __init__(self, client: redis.Redis) -> None:
        self._client = client
        self.unknown_because: str | None = None
        """Why the keys could not be read the last time, None where they could."""

    def frozen_because(self) -> str | None:
        """Return why nothing may be trained or promoted now, None when it may or cannot be known."""
        try:
            with talking_to(self._client):
                frozen, mode = (_text(self._client.get(key)) for key in (FROZEN_KEY, MODE_KEY))
        except BusUnavailable as exc:
            self._note_unknown(exc)
            return None
        self.unknown_because = None
        # Somebody who writes anything but "off" into the key means it.
        if frozen.upper() not in _RELEASED:
            return f"learning is frozen: {FROZEN_KEY} = {frozen}"
        if mode.upper() in FREEZING_MODES:
            return f"the system is in mode {mode.upper()}: {MODE_KEY}"
        return None

    def _note_unknown(self, exc: BusUnavailable) -> None:
        if self.unknown_because is None:
            log.warning("brake.unknown", code=exc.code, error=exc.message)
        self.unknown_because = exc.message


def _text(value: object) -> str:
    return plain(value.decode("utf-8", "replace").strip())[:80] if isinstance(value, bytes) else ""
