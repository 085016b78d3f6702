"""Redis access: stream names, wire formats and the meaning of Redis errors."""
