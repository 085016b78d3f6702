"""Estimate the memory of a training before it starts, and refuse what would be killed later."""

from clm.data.dataset import Dataset
from clm.domain.job import TrainingJob
from clm.errors import TrainingError

BASE_MB = 650.0
"""torch, scikit-learn, and the activations of a batch of a thousand windows (benchmarks/growth.py)."""
COPIES = 6.0
"""Copies of the arrays in memory at once: as read, scaled and raw in float32, the regression's."""


def memory_needed_mb(dataset: Dataset) -> float:
    """Return the megabytes that a child takes to train on these windows; an upper estimate."""
    windows = dataset.windows
    arrays = (windows.steps_MC, windows.end_N, windows.held_NK, dataset.label_N, dataset.row_N)
    return BASE_MB + COPIES * sum(array.nbytes for array in arrays) / 1e6


def require_room(job: TrainingJob, dataset: Dataset) -> None:
    """Refuse a training that needs more than its budget.

    Raises:
        TrainingError: MEMORY_BUDGET.
    """
    needed_mb = memory_needed_mb(dataset)
    if job.memory_mb and not needed_mb <= job.memory_mb:
        raise TrainingError(
            "MEMORY_BUDGET",
            f"training {job.run_id} needs about {needed_mb:.0f} MB for {len(dataset.row_N):,} windows, and "
            f"the limit is CLM_LIMITS__MEMORY_MB={job.memory_mb}; lower CLM_HISTORY_DAYS, or raise the limit "
            "together with the unit's MemoryMax",
        )
