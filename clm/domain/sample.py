"""Samples of the store as columns.

Legend of array suffixes in the whole project: R rows of the sample table, N windows (labelled
decisions), C features, L context_length, B batch, P patches, S patch_length, D d_model.
Times are int64 microseconds since 1970 UTC.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Bytes8 = NDArray[np.int8]

UNRESOLVED = np.iinfo(np.int64).max
"""`resolved_at` of a sample whose outcome is not known yet: later than any cutoff."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleTable:
    """Samples with usable features, ordered by (symbol, decided_at, sample_id).

    Rows without a known outcome stay in: they are history for later windows, never a label.
    """

    sample_id_R: Ints
    symbol_R: Ints
    """Code into `symbols`."""
    symbols: tuple[str, ...]
    """Sorted."""
    decided_at_R: Ints
    resolved_at_R: Ints
    """UNRESOLVED where the outcome was not known at the cutoff."""
    side_R: Bytes8
    """+1 the trade was a BUY, -1 a SELL, 0 unknown."""
    outcome_R: Bytes8
    """+1 WIN, -1 LOSS, 0 NEUTRAL or unknown."""
    pnl_R: Floats
    """Realized profit in quote currency as recorded; NaN unknown."""
    market_return_R: Floats
    """exit_price / entry_price - 1, whatever the side; NaN unknown."""
    features_RC: Floats
    feature_names: tuple[str, ...]
    rows_read: int
    last_id: int | None = None
    """Largest id of a row that was read, used or not: with the fingerprint, where a reading ended."""
    rejected: Mapping[str, int] = field(default_factory=dict)
    """Rows that were read and not used, counted by reason."""
    unlabelled: Mapping[str, int] = field(default_factory=dict)
    """Rows that are history only, counted by the reason why they have no label."""
    available_features: tuple[str, ...] = ()
    """What the newest readable sample carries; may be more than is used."""
    missing_features: tuple[str, ...] = ()
    """What was asked for by name and the newest readable sample does not carry."""

    @property
    def labelled_R(self) -> NDArray[np.bool_]:
        """True where the outcome was known at the cutoff."""
        return np.not_equal(self.resolved_at_R, UNRESOLVED)

    def __len__(self) -> int:
        return len(self.sample_id_R)
