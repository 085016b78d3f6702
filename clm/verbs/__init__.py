"""Use cases of the command line, one per module."""
