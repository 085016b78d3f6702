"""The package that an engine imports. It uses the checks and features of training, so the two cannot drift.

Import `Predictor` from `clm.serving.predictor`; docs/reference/serving.md shows how.
"""
