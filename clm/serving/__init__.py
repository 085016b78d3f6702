"""What an engine imports, so that training and serving cannot drift: the same checks, the same features.

Import `Predictor` from `clm.serving.predictor`; docs/reference/serving.md shows how.
"""
