"""The engine as we see it: its environment file, its process or unit, what it answers, and the switch."""
