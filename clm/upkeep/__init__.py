"""Upkeep: disk space, the single-instance lock, and the brakes that stop learning."""
