"""Time and stop signals from outside."""

from datetime import datetime
from typing import Protocol


class Clock(Protocol):
    """Time from outside: wall clock in aware UTC, monotonic clock for waits."""

    def now(self) -> datetime: ...
    def monotonic(self) -> float: ...
    def sleep(self, seconds: float) -> None: ...


class StopSignal(Protocol):
    """Asked by long work whether it shall end; threading.Event fulfils it."""

    def is_set(self) -> bool: ...
    def wait(self, timeout: float | None = None) -> bool: ...
