"""Samples from the store, as columns.

Array suffixes in the whole project: R rows of the sample table, N windows (labelled
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

    Rows without a known outcome are kept: they are history for later windows, never a label.
    """

    sample_id_R: Ints
    symbol_R: Ints
    """Code into `symbols`."""
    symbols: tuple[str, ...]
    """Sorted."""
    decided_at_R: Ints
    resolved_at_R: Ints
    """UNRESOLVED if the outcome was not known at the cutoff."""
    side_R: Bytes8
    """+1 BUY, -1 SELL, 0 unknown."""
    outcome_R: Bytes8
    """+1 WIN, -1 LOSS, 0 NEUTRAL or unknown."""
    pnl_R: Floats
    """Recorded profit in quote currency; NaN if unknown."""
    market_return_R: Floats
    """exit_price / entry_price - 1, regardless of the side; NaN if unknown."""
    entry_price_R: Floats
    """NaN if unknown or not above 0."""
    features_RC: Floats
    feature_names: tuple[str, ...]
    rows_read: int
    last_id: int | None = None
    """Largest id of all rows read, used or not; with the fingerprint it shows where the reading ended."""
    rejected: Mapping[str, int] = field(default_factory=dict)
    """Number of rows that were read but not used, by reason."""
    unlabelled: Mapping[str, int] = field(default_factory=dict)
    """Number of rows without a label, by reason; they serve as history only."""
    odd_figures: Mapping[str, int] = field(default_factory=dict)
    """Number of labelled rows with a figure that is there and is not a number, by column."""
    examples: Mapping[str, str] = field(default_factory=dict)
    """One value for each reason of the three mappings above, as it is shown in a message."""
    spellings: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Symbols that the store writes in several ways, or not by their one name, and how."""
    available_features: tuple[str, ...] = ()
    """Features in the newest readable sample; may be more than are used."""
    missing_features: tuple[str, ...] = ()
    """Features requested by name that the newest readable sample does not have."""

    @property
    def labelled_R(self) -> NDArray[np.bool_]:
        """True where the outcome was known at the cutoff."""
        return np.not_equal(self.resolved_at_R, UNRESOLVED)

    def __len__(self) -> int:
        return len(self.sample_id_R)
