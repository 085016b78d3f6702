"""Measuring: predictions in, figures out; judging is in clm.gates."""
