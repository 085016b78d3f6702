"""The training child: runs only as `python -m clm.training.worker JOBDIR`, never inside the daemon."""
