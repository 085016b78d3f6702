"""Standardisation fitted on the training part alone; folded into the served model at export."""

from dataclasses import dataclass

from clm.domain.sample import Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class Scaler:
    """x' = (x - mean_C) / scale_C; scale is 1 where the feature did not vary in training."""

    mean_C: Floats
    scale_C: Floats
