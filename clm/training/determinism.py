"""The same seed, data and machine give the same weights, bit for bit."""

import torch

from clm.training.compiler import leave_compiler_out


def make_deterministic(seed: int, threads: int) -> None:
    """Seed torch, forbid its nondeterministic algorithms and fix its thread count.

    The count belongs to it: with other threads sums are added up in another order.
    """
    leave_compiler_out()
    torch.set_num_threads(threads)
    torch.manual_seed(seed)
    # use_deterministic_algorithms(True) does the same and loads the compiler, to tell it.
    torch.set_deterministic_debug_mode("error")
