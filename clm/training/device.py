"""Select the device for training. The same code runs on a CPU and on a GPU."""

import torch

from clm.errors import TrainingError


def device_of(asked: str) -> torch.device:
    """Return the device for a value of CLM_TRAINING__DEVICE; `auto` is a GPU if one is available.

    Raises:
        TrainingError: DEVICE_ABSENT, `cuda` is requested and no GPU can be used.
    """
    if asked == "cpu" or (asked == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    if not torch.cuda.is_available():
        built = torch.version.cuda or "none: this torch build supports CPUs only"
        raise TrainingError(
            "DEVICE_ABSENT",
            f"CLM_TRAINING__DEVICE=cuda, but torch {torch.__version__} finds no usable GPU "
            f"(CUDA {built}); "
            "set CLM_TRAINING__DEVICE=cpu or auto, or install a torch for the GPU and let the unit see it "
            "(deploy/systemd/examples/gpu.conf)",
        )
    # With an index: torch.device("cuda") and torch.device("cuda:0") are not equal.
    return torch.device("cuda", torch.cuda.current_device())
