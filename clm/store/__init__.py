"""The store: the only place that knows columns, locks and what SQLite says when something is wrong."""
