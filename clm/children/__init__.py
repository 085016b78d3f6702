"""Questions answered by child processes: one driver for all of them."""
