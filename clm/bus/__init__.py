"""Redis: the only package that knows stream names, wire forms and what Redis answers."""
