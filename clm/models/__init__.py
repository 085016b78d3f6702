"""Architectures that can be trained and served. They need torch, so the daemon does not import them."""
