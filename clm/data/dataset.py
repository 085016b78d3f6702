"""Samples, windows, labels and split in one value with a fingerprint."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import orjson

from clm.data.labels import label
from clm.data.scaling import Scaler, fit_window_scaler
from clm.data.splits import Split, SplitPolicy, split_by_time
from clm.data.windows import WindowSet, history_windows, window_ends
from clm.domain.sample import Bytes8, Ints, SampleTable


@dataclass(frozen=True, slots=True, kw_only=True)
class DataPolicy:
    """How rows become a data set."""

    context_length: int
    target: str
    """`win` (as recorded) or `direction` (side x outcome)."""
    features: tuple[str, ...]
    """Names to use in this order; empty takes those of the store."""
    split: SplitPolicy
    contradictions: str = "drop"
    """What becomes of outcomes that the recorded profit belies: `keep`, `drop` or `relabel`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """N labelled windows, ordered by (decided_at, sample_id); window n belongs to row `row_N[n]`."""

    table: SampleTable
    row_N: Ints
    windows: WindowSet
    label_N: Bytes8
    """1 or 0."""
    context_length: int
    target: str
    split: Split
    scaler: Scaler
    fingerprint: str
    """sha256 over everything above that training sees."""
    dropped: Mapping[str, int] = field(default_factory=dict)
    """Rows with a known outcome that became no window, by reason."""
    contradictions: str = "drop"
    """As the policy says."""
    relabelled: int = 0
    """Rows whose label is that of their profit, against their recorded outcome."""

    @property
    def feature_names(self) -> tuple[str, ...]:
        """Of the windows' channels, in order."""
        return self.windows.names

    @property
    def base_rate(self) -> float:
        """Share of label 1 in the training part; NaN when it is empty."""
        return float(self.label_N[self.split.train].mean()) if len(self.split.train) else float("nan")


def build_dataset(table: SampleTable, policy: DataPolicy) -> Dataset:
    """Put a data set together from whatever the table holds; the audits judge it."""
    labels = label(table, policy.target, policy.contradictions)
    ends_N = window_ends(table, labels.known_R, policy.context_length)
    row_N = ends_N[np.lexsort((table.sample_id_R[ends_N], table.decided_at_R[ends_N]))]
    label_N = labels.label_R[row_N]
    split = split_by_time(table.decided_at_R[row_N], table.resolved_at_R[row_N], policy.split)
    windows = history_windows(table, row_N, policy.context_length)
    return Dataset(
        table=table,
        row_N=row_N,
        windows=windows,
        label_N=label_N,
        context_length=policy.context_length,
        target=policy.target,
        split=split,
        scaler=fit_window_scaler(windows, split.train),
        fingerprint=_fingerprint(table, row_N, label_N, split, policy),
        dropped={
            "contradicts_profit": labels.left_out,
            "target_undefined": labels.undefined,
            "history_too_short": int(labels.known_R.sum()) - len(row_N),
        },
        contradictions=policy.contradictions,
        relabelled=labels.relabelled,
    )


def _fingerprint(table: SampleTable, row_N: Ints, label_N: Bytes8, split: Split, policy: DataPolicy) -> str:
    """Hash what the windows show, not where it lay: rows that no window holds do not count."""
    used_R = np.zeros(len(table), dtype=np.bool_)
    for step in range(policy.context_length):
        used_R[row_N - step] = True
    place_R = np.cumsum(used_R) - 1
    codes, symbol_R = np.unique(table.symbol_R[used_R], return_inverse=True)
    told = orjson.dumps(
        {
            "context_length": policy.context_length,
            "target": policy.target,
            "feature_names": table.feature_names,
            "symbols": [table.symbols[code] for code in codes],
            "boundaries": [split.validation_starts_at, split.test_starts_at],
        }
    )
    digest = hashlib.sha256(told)
    for array, form in (
        (table.features_RC[used_R], "<f8"),
        (symbol_R, "<i8"),
        (table.decided_at_R[used_R], "<i8"),
        (place_R[row_N], "<i8"),
        (table.resolved_at_R[row_N], "<i8"),
        (table.market_return_R[row_N], "<f8"),
        (label_N, "<i1"),
        (split.train, "<i8"),
        (split.validation, "<i8"),
        (split.test, "<i8"),
    ):
        digest.update(len(array).to_bytes(8, "little"))
        digest.update(np.ascontiguousarray(array, dtype=form).tobytes())
    return digest.hexdigest()
