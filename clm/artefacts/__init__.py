"""Durable files: crash-safe writes, hashes, and one directory per artefact."""
