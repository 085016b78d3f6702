"""How a child behaves as a process: it dies with its parent and gives way to others."""

import contextlib
import ctypes
import errno
import gc
import mmap
import os
import resource
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

from clm.errors import TrainingError
from clm.imports import hidden

PR_SET_PDEATHSIG = 1
TORCH_OUT_OF_MEMORY = "can't allocate memory"
"""In the RuntimeError of torch's CPU allocator."""
GPU_OUT_OF_MEMORY = "CUDA out of memory"
"""In torch.OutOfMemoryError, which is a RuntimeError too."""
MORE_MEMORY = (
    "raise CLM_LIMITS__MEMORY_MB and the unit's MemoryMax, "
    "or lower CLM_TRAINING__BATCH_SIZE, CLM_HISTORY_DAYS"
)
OOM_SCORE_ADJ = 1000
"""The kernel's highest: under memory pressure the child goes before the daemon and the engine."""
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD = -1, -2, -3
"""Of mallopt(3)."""
_MIB = 2**20


def become_disposable(parent_pid: int | None) -> None:
    """Tie this process to its parent, and make it the first to give way to others.

    `parent_pid` is None for a process that a person started; it is tied to no parent.

    Raises:
        TrainingError: ORPHANED, the parent died before the tie was made.
    """
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(str(OOM_SCORE_ADJ))
    # Not nicer than others: next to two busy neighbours niceness leaves a small share of a core, and the
    # engine gains nothing. A batch task never interrupts another one; that is what the engine needs.
    with contextlib.suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
    # A parent that blocks or ignores SIGTERM hands that down; the child must end on SIGTERM all the same.
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if parent_pid is None:
        return
    # The kernel sends it when the parent's *thread* ends: the one that started the child, which waits for it.
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")
    if os.getppid() != parent_pid:
        raise TrainingError("ORPHANED", f"the parent {parent_pid} is gone, and with it the use of an answer")


def limit(*, cpu_s: float, memory_mb: int) -> None:
    """Limit the processor seconds and the memory of this process; 0 is no limit.

    The kernel ends it with SIGXCPU, or refuses it memory: a MemoryError, or torch's own message.
    """
    # A core file of a training is as large as its memory, on a disk that may be full.
    _lower(resource.RLIMIT_CORE, 0)
    if cpu_s:
        _lower(resource.RLIMIT_CPU, max(1, round(cpu_s)))
    if memory_mb:
        # Data, not address space: the libraries map gigabytes that they never touch.
        _lower(resource.RLIMIT_DATA, memory_mb * 1_000_000)


def keep_freed_memory() -> None:
    """Keep the memory that a training step frees for the next step.

    A step frees about 100 MB in blocks of up to 10 MB. Returned to the system, they would be zeroed and
    mapped again page by page. Blocks above 32 MiB, such as the data, still go back at once. Without mallopt
    in the C library this does nothing.
    """
    with contextlib.suppress(AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_MMAP_THRESHOLD, 32 * _MIB)  # the most that glibc takes
        mallopt(_M_TRIM_THRESHOLD, 512 * _MIB)
        mallopt(_M_TOP_PAD, 64 * _MIB)


def _lower(kind: int, wanted: int) -> None:
    """Set the soft limit, unless a lower one is in force."""
    soft, hard = resource.getrlimit(kind)
    lowest = min((bound for bound in (soft, hard) if bound != resource.RLIM_INFINITY), default=wanted)
    resource.setrlimit(kind, (min(lowest, wanted), hard))


@contextmanager
def loading() -> Iterator[None]:
    """Import large libraries (torch, scikit-learn) without garbage collection, and without pandas.

    Importing makes no garbage, and what it made is left out of later collections. scikit-learn would load
    pandas for tables that are never passed to it.
    """
    gc.disable()
    try:
        with hidden("pandas"):
            yield
    finally:
        gc.freeze()
        gc.enable()


def leave(code: int) -> NoReturn:
    """End this process at once; its results are on the disk.

    An orderly shutdown of torch and scikit-learn takes most of a processor second.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def end_as(code: int) -> NoReturn:
    """End this process as another one did: with its exit code, or by its signal where `code` is -signal."""
    if code < 0:
        with contextlib.suppress(OSError):  # SIGKILL has no handler
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    sys.exit(code)


RESERVE = mmap.mmap(-1, 4 << 20)
"""Given back when memory is refused: reporting it needs memory too."""


def out_of_memory(error: Exception) -> str:
    """Return a message where the error says so, else ""; Python, torch and the system word it differently."""
    RESERVE.close()
    if GPU_OUT_OF_MEMORY in str(error):
        return (
            "out of memory on the GPU; lower CLM_TRAINING__BATCH_SIZE, end what else uses it, "
            "or set CLM_TRAINING__DEVICE=cpu"
        )
    if isinstance(error, OSError):
        refused = error.errno == errno.ENOMEM
    else:
        refused = isinstance(error, MemoryError) or TORCH_OUT_OF_MEMORY in str(error)
    return f"out of memory ({memory_figures()}); {MORE_MEMORY}" if refused else ""


def memory_figures() -> str:
    """Return how much memory this process took at most, and its limit, for a message."""
    peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    limits = [
        f"{soft / 2**20:.0f} MiB of {what}"
        for kind, what in ((resource.RLIMIT_AS, "address space"), (resource.RLIMIT_DATA, "data"))
        if (soft := resource.getrlimit(kind)[0]) != resource.RLIM_INFINITY
    ]
    return f"peak {peak_mib:.0f} MiB resident, limit {' and '.join(limits) or 'none'}"
