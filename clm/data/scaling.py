"""Standardisation, fitted on the training part only and folded into the served model at export."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clm.data.windows import WindowSet
from clm.domain.sample import Floats, Ints

RESOLUTION = 1e-6
"""Smallest spread, relative to a feature's magnitude, that the served model resolves in float32."""

_QUARTILES_APART = 1.349
"""Interquartile range of a normal distribution, in standard deviations."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scaler:
    """x' = (x - mean_C) / scale_C; scale is 1 if the feature did not vary in training."""

    mean_C: Floats
    scale_C: Floats

    def apply(self, features: Floats) -> Floats:
        """Scale an array whose last axis is the features."""
        return (features - self.mean_C) / self.scale_C


def fit_scaler(features_RC: Floats, row_N: Ints) -> Scaler:
    """Fit on these rows, each counted once, in float64."""
    fitted_RC = features_RC[np.unique(row_N)]
    if not len(fitted_RC):
        return unscaled(features_RC.shape[1])
    return Scaler(
        mean_C=fitted_RC.mean(axis=0),
        scale_C=np.where(varies(fitted_RC), fitted_RC.std(axis=0), 1.0),
    )


def fit_robust(features_NC: Floats) -> Scaler:
    """Fit on median and quartiles, as wide as a standard deviation where values are normal.

    A single outlier does not move them. If half of the values are equal, use the standard deviation.
    """
    if not len(features_NC):
        return fit_scaler(features_NC, np.empty(0, dtype=np.int64))
    low_C, middle_C, high_C = np.percentile(features_NC, (25, 50, 75), axis=0)
    width_C = (high_C - low_C) / _QUARTILES_APART
    # A feature that is mostly constant has no interquartile range to divide by.
    tight_C = width_C <= RESOLUTION * np.maximum(np.abs(low_C), np.abs(high_C))
    spread_C = np.where(tight_C, features_NC.std(axis=0), width_C)
    return Scaler(mean_C=middle_C, scale_C=np.where(varies(features_NC), spread_C, 1.0))


def unscaled(n_features: int) -> Scaler:
    """Return the scaler that changes nothing."""
    return Scaler(mean_C=np.zeros(n_features), scale_C=np.ones(n_features))


def fit_window_scaler(windows: WindowSet, train: Ints) -> Scaler:
    """Fit on the last steps of these windows; a step counts once, a static value once per window."""
    stepping = fit_scaler(windows.steps_MC, windows.end_N[train])
    if not len(windows.held_K):
        return stepping
    held = fit_scaler(windows.held_NK, train)
    mean_C, scale_C = stepping.mean_C.copy(), stepping.scale_C.copy()
    mean_C[windows.held_K], scale_C[windows.held_K] = held.mean_C, held.scale_C
    return Scaler(mean_C=mean_C, scale_C=scale_C)


def varies(features_RC: Floats) -> NDArray[np.bool_]:
    """Return for each feature whether it varies by more than RESOLUTION of its magnitude."""
    if not len(features_RC):
        return np.zeros(features_RC.shape[1], dtype=np.bool_)
    magnitude_C = np.abs(features_RC).max(axis=0)
    # Relative to the magnitude: rounding of a large constant must not look like variation.
    return np.asarray(features_RC.std(axis=0) > RESOLUTION * magnitude_C, dtype=np.bool_)
