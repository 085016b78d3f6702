"""Process setup of a child: it dies with its parent and yields to other processes."""

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
"""Text in the RuntimeError of torch's CPU allocator."""
GPU_OUT_OF_MEMORY = "CUDA out of memory"
"""Text in torch.OutOfMemoryError, which is also a RuntimeError."""
MORE_MEMORY = (
    "raise CLM_LIMITS__MEMORY_MB and the unit's MemoryMax, "
    "or lower CLM_TRAINING__BATCH_SIZE, CLM_HISTORY_DAYS"
)
OOM_SCORE_ADJ = 1000
"""The kernel's maximum: under memory pressure the child is killed before the daemon and the engine."""
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD = -1, -2, -3
"""Parameters of mallopt(3)."""
_MIB = 2**20


def become_disposable(parent_pid: int | None) -> None:
    """Make this process die with its parent, and make it the first that the kernel sacrifices.

    If `parent_pid` is None, a person started the process, and it is not tied to a parent.

    Raises:
        TrainingError: ORPHANED, the parent died before this call.
    """
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(str(OOM_SCORE_ADJ))
    # The niceness is not raised: with two busy neighbours the child would get only a small share of a core,
    # and the engine would gain nothing. A batch task never preempts another task, which the engine needs.
    with contextlib.suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
    # A child inherits blocked and ignored signals from its parent, but it must always end on SIGTERM.
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if parent_pid is None:
        return
    # The kernel sends SIGKILL when the parent *thread* ends that started the child; it waits for the child.
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")
    if os.getppid() != parent_pid:
        raise TrainingError("ORPHANED", f"the parent {parent_pid} is gone, so the answer is not needed")


def limit(*, cpu_s: float, memory_mb: int) -> None:
    """Limit the CPU seconds and the memory of this process; 0 means no limit.

    At the CPU limit, the kernel ends the process with SIGXCPU. At the memory limit, allocations fail with a
    MemoryError or torch's own error.
    """
    # No core file: it would be as large as the process's memory, and the disk may be full.
    _lower(resource.RLIMIT_CORE, 0)
    if cpu_s:
        _lower(resource.RLIMIT_CPU, max(1, round(cpu_s)))
    if memory_mb:
        # Limit the data, not the address space: libraries map gigabytes that they never use.
        _lower(resource.RLIMIT_DATA, memory_mb * 1_000_000)


def keep_freed_memory() -> None:
    """Keep the memory that a training step frees for the next step.

    A step frees about 100 MB in blocks of up to 10 MB. If they went back to the system, it would have to zero
    and map them again page by page. Blocks above 32 MiB, such as the data, are still returned at once. If the
    C library has no mallopt, this function does nothing.
    """
    with contextlib.suppress(AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_MMAP_THRESHOLD, 32 * _MIB)  # the maximum in glibc
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

    Imports create no garbage, and their objects are excluded from later collections. scikit-learn would load
    pandas to support tables, which are never passed to it.
    """
    gc.disable()
    try:
        with hidden("pandas"):
            yield
    finally:
        gc.freeze()
        gc.enable()


def leave(code: int) -> NoReturn:
    """End this process at once; its results are on disk.

    An orderly shutdown of torch and scikit-learn takes almost a second of CPU time.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def end_as(code: int) -> NoReturn:
    """End this process as another one ended: with exit code `code`, or by a signal if `code` is -signal."""
    if code < 0:
        with contextlib.suppress(OSError):  # SIGKILL has no handler
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    sys.exit(code)


RESERVE = mmap.mmap(-1, 4 << 20)
"""Memory that is released when an allocation fails, because reporting the failure needs memory too."""


def out_of_memory(error: Exception) -> str:
    """Return a message if the error means that memory ran out, else "".

    Python, torch and the system report this in different ways.
    """
    RESERVE.close()
    if GPU_OUT_OF_MEMORY in str(error):
        return (
            "out of memory on the GPU; lower CLM_TRAINING__BATCH_SIZE, stop other users of it, "
            "or set CLM_TRAINING__DEVICE=cpu"
        )
    if isinstance(error, OSError):
        refused = error.errno == errno.ENOMEM
    else:
        refused = isinstance(error, MemoryError) or TORCH_OUT_OF_MEMORY in str(error)
    return f"out of memory ({memory_figures()}); {MORE_MEMORY}" if refused else ""


def memory_figures() -> str:
    """Return the peak memory of this process and its limit, as text for a message."""
    peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    limits = [
        f"{soft / 2**20:.0f} MiB of {what}"
        for kind, what in ((resource.RLIMIT_AS, "address space"), (resource.RLIMIT_DATA, "data"))
        if (soft := resource.getrlimit(kind)[0]) != resource.RLIM_INFINITY
    ]
    return f"peak {peak_mib:.0f} MiB resident, limit {' and '.join(limits) or 'none'}"
