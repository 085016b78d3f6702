"""Make trainings reproducible: the same seed, data and machine give the same weights, bit for bit."""

import torch

from clm.training.compiler import leave_compiler_out


def make_deterministic(seed: int, threads: int) -> None:
    """Seed torch, forbid nondeterministic algorithms and set the thread count (0: one thread).

    The thread count matters because it determines the order of sums. For a GPU, the parent must have set
    CUBLAS_WORKSPACE_CONFIG. Attention uses plain matmuls there: the backward passes of the fused kernels add
    in arbitrary order.
    """
    leave_compiler_out()
    torch.set_num_threads(max(1, threads))
    torch.manual_seed(seed)
    # use_deterministic_algorithms(True) does the same but also loads the compiler.
    torch.set_deterministic_debug_mode("error")
    # By default torch fills every new tensor to reveal reads of uninitialised memory. That costs 1 to 2 %.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.backends.cuda.enable_flash_sdp(False)
    torch.backends.cuda.enable_mem_efficient_sdp(False)
    torch.backends.cuda.enable_cudnn_sdp(False)
