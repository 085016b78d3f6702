"""Where a network is trained: the same code on the processor and on a GPU."""

import torch

from clm.errors import TrainingError


def device_of(asked: str) -> torch.device:
    """Return the device that CLM_TRAINING__DEVICE asks for; `auto` takes a GPU where there is one.

    Raises:
        TrainingError: DEVICE_ABSENT, where a GPU is asked for by name and cannot be used.
    """
    if asked == "cpu" or (asked == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    if not torch.cuda.is_available():
        built = torch.version.cuda or "none: this torch is built for the processor alone"
        raise TrainingError(
            "DEVICE_ABSENT",
            f"CLM_TRAINING__DEVICE=cuda, but torch {torch.__version__} finds no GPU that it can use "
            f"(CUDA {built}); "
            "set CLM_TRAINING__DEVICE=cpu or auto, or install a torch for the GPU and let the unit see it "
            "(deploy/systemd/examples/gpu.conf)",
        )
    return torch.device("cuda", torch.cuda.current_device())
