"""The exceptions of the project, one tree.

ClmError                    70  base class of all errors below
├── UsageError              64  the command line asks for something that does not exist
├── ConfigError             78  settings; systemd does not restart on it
├── DataError               65  the store or its rows violate the contract
├── StoreBusy               75  another program holds the store's lock   (transient)
├── BusUnavailable          69  Redis does not answer                    (transient)
├── TrainingError           70  the child process failed, as its code says; 78 if a setting is the cause
├── Interrupted             75  the daemon received a stop request       (transient)
├── ArtefactError           74  a model file is missing, corrupt or has another hash
├── PromotionError          74  a promotion could not begin or could not be completed
│   └── PromotionBusy       75  another process is promoting             (transient)
└── AlreadyRunning          75  another instance holds the lock          (transient)

A failed gate, a refused data set and a rejection are values, never exceptions.
Exit codes are those of sysexits.h.
"""

from typing import ClassVar


class ClmError(Exception):
    """One line: what failed, on which object, why, and the remedy; `code` is stable for programs."""

    exit_code: ClassVar[int] = 70
    transient: ClassVar[bool] = False

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = " ".join(message.split())

    def __str__(self) -> str:
        return f"{self.code}: {self.message}"


class UsageError(ClmError):
    """The command line requests something that does not exist."""

    exit_code = 64


class ConfigError(ClmError):
    """The settings cannot be used; all problems are reported at once."""

    exit_code = 78


class DataError(ClmError):
    """The store or its rows violate the contract."""

    exit_code = 65


class StoreBusy(ClmError):
    """Another program held the store's lock for longer than the timeout."""

    exit_code = 75
    transient = True


class BusUnavailable(ClmError):
    """Redis is unavailable, loading, out of memory or denies access; events wait in the outbox."""

    exit_code = 69
    transient = True


class TrainingError(ClmError):
    """The training child failed; the code says how (CHILD_KILLED, CHILD_TIMEOUT, ...)."""

    @property
    def exit_code(self) -> int:  # type: ignore[override]  # depends on the code, not on the class
        """78 if a setting requires what this machine lacks: it is not a bug, and a retry does not help."""
        return 78 if self.code in ("DEVICE_ABSENT", "MEMORY_BUDGET") else 70


class Interrupted(ClmError):
    """Work was stopped because the daemon is stopping; the task returns to the queue."""

    exit_code = 75
    transient = True


class ArtefactError(ClmError):
    """A model file is missing, corrupt, has another hash, or cannot be written."""

    exit_code = 74


class PromotionError(ClmError):
    """A promotion could not begin or could not be completed."""

    exit_code = 74


class PromotionBusy(PromotionError):
    """Another process is promoting or writing the environment file; retry after it has ended."""

    exit_code = 75
    transient = True


class AlreadyRunning(ClmError):
    """Another instance holds the lock of this state directory."""

    exit_code = 75
    transient = True
