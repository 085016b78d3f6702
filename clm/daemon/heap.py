"""Return memory freed by a cycle to the system; glibc alone would keep it.

A cycle reads tens of megabytes of samples in its own thread and frees them in pieces. Measured on 30,000
samples after two cycles, the idle daemon's resident memory is 118 MB with glibc alone, 99 MB with `trim`, and
91 MB with both functions.
"""

import ctypes
import gc

_M_ARENA_MAX = -8
"""Of malloc.h."""


def use_one_arena() -> None:
    """Let all threads allocate from one arena; call this before the first thread starts.

    With one arena per thread, other threads cannot reuse freed memory. Does nothing without glibc.
    """
    # mallopt(3): M_ARENA_MAX must be set before threads allocate, because existing arenas stay.
    if mallopt := getattr(ctypes.CDLL(None), "mallopt", None):
        mallopt(_M_ARENA_MAX, 1)


def give_back() -> None:
    """Free unreachable objects and return free pages of the heap to the system; takes under 0.2 s.

    Python collects reference cycles by object count, and the few objects that hold a cycle's arrays do not
    trigger it. Without glibc, nothing is returned to the system.
    """
    # Collect first: malloc_trim(3) returns only pages that are already free.
    gc.collect()
    if malloc_trim := getattr(ctypes.CDLL(None), "malloc_trim", None):
        malloc_trim(0)
