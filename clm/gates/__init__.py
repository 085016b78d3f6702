"""Judging: a comparison and a policy in, verdicts out."""
