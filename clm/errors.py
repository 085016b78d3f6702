"""The exceptions of the project, one tree.

ClmError                    70  a broken promise; the base of all below
├── UsageError              64  the command line asks for something that does not exist
├── ConfigError             78  settings; systemd does not restart on it
├── DataError               65  the store or its rows are not what they must be
├── StoreBusy               75  somebody holds the store's lock          (transient)
├── BusUnavailable          69  Redis does not answer                    (transient)
├── TrainingError           70  the child process failed, told apart by its code; 78 where a setting did it
├── Interrupted             75  the daemon was asked to stop meanwhile   (transient)
├── ArtefactError           74  a model file is missing, torn or of another hash
├── PromotionError          74  a promotion could not begin or could not be completed
│   └── PromotionBusy       75  another process is at it                 (transient)
└── AlreadyRunning          75  another instance holds the lock          (transient)

A failed gate, a refused data set and a rejection are values, never exceptions.
Exit codes are those of sysexits.h.
"""

from typing import ClassVar


class ClmError(Exception):
    """One clear line: what, which object, why, what to do; `code` is stable for machines."""

    exit_code: ClassVar[int] = 70
    transient: ClassVar[bool] = False

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = " ".join(message.split())

    def __str__(self) -> str:
        return f"{self.code}: {self.message}"


class UsageError(ClmError):
    """The command line asks for something that does not exist."""

    exit_code = 64


class ConfigError(ClmError):
    """The settings cannot be used; all problems are reported at once."""

    exit_code = 78


class DataError(ClmError):
    """The store, or the rows in it, are not what the contract says."""

    exit_code = 65


class StoreBusy(ClmError):
    """Somebody held the store's lock for longer than we wait."""

    exit_code = 75
    transient = True


class BusUnavailable(ClmError):
    """Redis is away, loading, out of memory or refuses us; events wait in the outbox."""

    exit_code = 69
    transient = True


class TrainingError(ClmError):
    """The training child failed; the code says how (CHILD_KILLED, CHILD_TIMEOUT, ...)."""

    @property
    def exit_code(self) -> int:  # type: ignore[override]  # of its code, not of its kind
        """78 where a setting asks for what this machine does not have; it is no bug, and stays so."""
        return 78 if self.code in ("DEVICE_ABSENT", "MEMORY_BUDGET") else 70


class Interrupted(ClmError):
    """Work was stopped in order because the daemon is to end; the task goes back to the queue."""

    exit_code = 75
    transient = True


class ArtefactError(ClmError):
    """A model file is missing, torn, of another hash, or cannot be written."""

    exit_code = 74


class PromotionError(ClmError):
    """A promotion could not begin, or its end could not be brought about."""

    exit_code = 74


class PromotionBusy(PromotionError):
    """Another process is promoting, or writes the environment file; it ends or dies, then ours goes on."""

    exit_code = 75
    transient = True


class AlreadyRunning(ClmError):
    """Another instance holds the lock of this state directory."""

    exit_code = 75
    transient = True
