"""The engine: its environment file, its process or unit, its responses, and the model switch."""
