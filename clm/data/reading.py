"""Raw rows of `ai_training_samples` to a SampleTable; bad rows are counted, never filled in."""

from collections.abc import Sequence
from dataclasses import dataclass

RAW_COLUMNS = (
    "id",
    "symbol",
    "timestamp",
    "features",
    "feature_names",
    "execution_side",
    "entry_price",
    "exit_price",
    "exit_time",
    "outcome_known",
    "realized_pnl",
    "target_class",
)
"""The columns a cycle reads, in the order of a raw row."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RawSamples:
    """Rows as SQLite gave them: text may be bytes, numbers may be text; nothing is trusted yet."""

    rows: Sequence[tuple[object, ...]]
    """Each in the order of RAW_COLUMNS."""
