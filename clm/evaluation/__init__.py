"""Measure predictions: predictions in, figures out. clm.gates judges them."""
