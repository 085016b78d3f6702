"""Frozen records that the other packages pass to each other."""
