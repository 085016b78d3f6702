"""The same seed, data and machine give the same weights, bit for bit."""

import torch


def make_deterministic(seed: int, threads: int) -> None:
    """Seed torch, forbid its nondeterministic algorithms and fix its thread count.

    The count belongs to it: with other threads sums are added up in another order.
    """
    torch.set_num_threads(threads)
    torch.manual_seed(seed)
    torch.use_deterministic_algorithms(True)
