"""Migrations of our tables; a file is frozen once it has been released."""
