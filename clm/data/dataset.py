"""Samples, windows, labels and split in one value with a fingerprint."""

from dataclasses import dataclass

from clm.data.scaling import Scaler
from clm.data.splits import Split, SplitPolicy
from clm.domain.sample import Bytes8, Ints, SampleTable


@dataclass(frozen=True, slots=True, kw_only=True)
class DataPolicy:
    """How rows become a data set."""

    context_length: int
    target: str
    """`win` (as recorded) or `direction` (side x outcome)."""
    features: tuple[str, ...]
    """Names to use in this order; empty takes those of the store."""
    max_features: int
    """What the served architecture can hold."""
    min_samples: int
    max_bad_share: float
    split: SplitPolicy


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """N labelled windows over R sample rows, ordered by (decided_at, sample_id).

    Window n is the rows `row_N[n] - context_length + 1 .. row_N[n]` of the table, all of one symbol.
    """

    table: SampleTable
    row_N: Ints
    label_N: Bytes8
    """1 or 0."""
    context_length: int
    target: str
    split: Split
    scaler: Scaler
    fingerprint: str
    """sha256 over everything above that training sees."""

    @property
    def base_rate(self) -> float:
        """Share of label 1 in the training part."""
        return float(self.label_N[self.split.train].mean())
