"""Code that runs in child processes only: `python -m clm.training NAME DIRECTORY [PARENT_PID]`."""
