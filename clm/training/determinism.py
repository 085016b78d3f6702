"""The same seed, data and machine give the same weights, bit for bit."""

import torch

from clm.training.compiler import leave_compiler_out


def make_deterministic(seed: int, threads: int) -> None:
    """Seed torch, forbid its nondeterministic algorithms and fix its thread count (0: one thread).

    The count belongs to it: with other threads sums are added up in another order. On a GPU the parent has to
    set CUBLAS_WORKSPACE_CONFIG before; attention is computed by plain products there, since the backward
    passes of the fused kernels add up in any order.
    """
    leave_compiler_out()
    torch.set_num_threads(max(1, threads))
    torch.manual_seed(seed)
    # use_deterministic_algorithms(True) does the same and loads the compiler to configure it.
    torch.set_deterministic_debug_mode("error")
    # Otherwise every new tensor is filled first, to show reads of unwritten memory: 1 to 2 % of a training.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.backends.cuda.enable_flash_sdp(False)
    torch.backends.cuda.enable_mem_efficient_sdp(False)
    torch.backends.cuda.enable_cudnn_sdp(False)
