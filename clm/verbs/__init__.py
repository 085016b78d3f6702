"""What the commands do: one module for each use case of the command line."""
