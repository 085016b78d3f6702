"""The store: the only package that knows columns, locks and SQLite's errors."""
