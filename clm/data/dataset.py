"""Samples, windows, labels and split in one value with a fingerprint."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import orjson
from numpy.typing import NDArray

from clm.data.candles.joining import Join, joins_of
from clm.data.candles.series import CandleReport, Candles
from clm.data.candles.windows import candle_windows, sample_features
from clm.data.labels import Labels, label
from clm.data.scaling import Scaler, fit_window_scaler
from clm.data.splits import Split, SplitPolicy, walk_forward
from clm.data.windows import WindowSet, history_windows, window_ends
from clm.domain.sample import Bytes8, Floats, Ints, SampleTable


@dataclass(frozen=True, slots=True, kw_only=True)
class DataPolicy:
    """How rows are turned into a data set."""

    context_length: int
    target: str
    """`win` (as recorded) or `direction` (side x outcome)."""
    features: tuple[str, ...]
    """Names to use in this order; empty takes those of the store, or the default ones of the candles."""
    split: SplitPolicy
    window_source: str = "history"
    """`history` (the symbol's last samples) or `candles` (the last closed candles before the decision)."""
    contradictions: str = "drop"
    """Treatment of outcomes that contradict the recorded profit: `keep`, `drop` or `relabel`."""

    @property
    def sample_features(self) -> tuple[str, ...]:
        """Features that the samples must have; empty means those of the newest sample."""
        return sample_features(self.features) if self.window_source == "candles" else self.features


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
    """sha256 over everything above that affects training."""
    dropped: Mapping[str, int] = field(default_factory=dict)
    """Rows with a known outcome but without a window, by reason."""
    contradictions: str = "drop"
    """As the policy says."""
    folds: tuple[Split, ...] = ()
    """Splits that walk forward, oldest first; the last one is `split`."""
    candles: tuple[CandleReport, ...] = ()
    """What was found in the candles; empty where the windows are of samples."""
    joins: tuple[Join, ...] = ()
    """How entry prices fit the candles; empty where the windows are of samples."""
    relabelled: int = 0
    """Rows whose label is that of their profit, against their recorded outcome."""

    @property
    def feature_names(self) -> tuple[str, ...]:
        """Return the names of the windows' channels, in order."""
        return self.windows.names

    @property
    def base_rate(self) -> float:
        """Share of label 1 in the training part; NaN if it is empty."""
        return float(self.label_N[self.split.train].mean()) if len(self.split.train) else float("nan")


def build_dataset(table: SampleTable, policy: DataPolicy, candles: Candles | None = None) -> Dataset:
    """Build a data set from the table without judging it; the audits do that.

    Raises:
        ConfigError: FEATURE_UNKNOWN, for windows of candles.
    """
    labels = label(table, policy.target, policy.contradictions)
    made = (
        _of_history(table, labels, policy) if candles is None else _of_candles(table, labels, policy, candles)
    )
    row_N, label_N = made.row_N, labels.label_R[made.row_N]
    # Splits come after the windows: rows without a window must not count in the shares.
    folds = walk_forward(table.decided_at_R[row_N], table.resolved_at_R[row_N], policy.split)
    split = folds[-1]
    return Dataset(
        table=table,
        row_N=row_N,
        windows=made.windows,
        label_N=label_N,
        context_length=policy.context_length,
        target=policy.target,
        split=split,
        scaler=fit_window_scaler(made.windows, split.train),
        fingerprint=_fingerprint(table, made, label_N, split, policy),
        dropped={
            "contradicts_profit": labels.left_out,
            "target_undefined": labels.undefined,
            **made.dropped,
        },
        folds=folds,
        candles=candles.reports if candles else (),
        joins=joins_of(table, candles) if candles else (),
        contradictions=policy.contradictions,
        relabelled=labels.relabelled,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Made:
    """Windows of one source."""

    row_N: Ints
    windows: WindowSet
    known_at_M: Ints
    """When each step was known."""
    symbol_M: Ints
    """Code of each step's symbol."""
    dropped: Mapping[str, int]


def _of_history(table: SampleTable, labels: Labels, policy: DataPolicy) -> _Made:
    ends_N = window_ends(table, labels.known_R, policy.context_length)
    # lexsort takes its last key first: by decision time, then by id, so that equal times have one order.
    row_N = ends_N[np.lexsort((table.sample_id_R[ends_N], table.decided_at_R[ends_N]))]
    return _Made(
        row_N=row_N,
        windows=history_windows(table, row_N, policy.context_length),
        known_at_M=table.decided_at_R,
        symbol_M=table.symbol_R,
        dropped={"history_too_short": int(labels.known_R.sum()) - len(row_N)},
    )


def _of_candles(table: SampleTable, labels: Labels, policy: DataPolicy, candles: Candles) -> _Made:
    found = candle_windows(
        table, labels.known_R, candles, names=policy.features, context_length=policy.context_length
    )
    return _Made(
        row_N=found.row_N,
        windows=found.windows,
        known_at_M=found.closed_at_M,
        symbol_M=found.symbol_M,
        dropped=found.dropped,
    )


def _fingerprint(table: SampleTable, made: _Made, label_N: Bytes8, split: Split, policy: DataPolicy) -> str:
    """Hash the content of the windows, not its position; steps outside all windows do not count."""
    row_N, windows = made.row_N, made.windows
    used_M = _used(windows)
    all_used = bool(used_M.all())
    place_M = np.cumsum(used_M) - 1
    codes, symbol_M = np.unique(made.symbol_M[used_M], return_inverse=True)
    shown = orjson.dumps(
        {
            "context_length": policy.context_length,
            "target": policy.target,
            "feature_names": windows.names,
            "symbols": [table.symbols[code] for code in codes],
            "boundaries": [split.validation_starts_at, split.test_starts_at],
        }
    )
    digest = hashlib.sha256(shown)
    for array, form in (
        (windows.steps_MC if all_used else windows.steps_MC[used_M], "<f8"),
        (symbol_M, "<i8"),
        (made.known_at_M[used_M], "<i8"),
        (place_M[windows.end_N], "<i8"),
        (table.resolved_at_R[row_N], "<i8"),
        (table.market_return_R[row_N], "<f8"),
        (label_N, "<i1"),
        (split.train, "<i8"),
        (split.validation, "<i8"),
        (split.test, "<i8"),
        *_told_of_candles(table, made, policy),
    ):
        # The length first: two arrays must not hash like one that joins them.
        digest.update(len(array).to_bytes(8, "little"))
        for start in range(0, len(array), _HASHED_AT_ONCE):
            digest.update(np.ascontiguousarray(array[start : start + _HASHED_AT_ONCE], dtype=form).data)
    return digest.hexdigest()


_HASHED_AT_ONCE = 100_000
"""Rows; a copy of all of them would be the largest thing in memory."""


def _used(windows: WindowSet) -> NDArray[np.bool_]:
    """Return for each step whether it is in a window."""
    used_M = np.zeros(len(windows.steps_MC), dtype=np.bool_)
    for step in range(windows.context_length):
        used_M[windows.end_N - step] = True
    return used_M


def _told_of_candles(
    table: SampleTable, made: _Made, policy: DataPolicy
) -> tuple[tuple[Ints | Floats, str], ...]:
    """Return the arrays that a sample adds to its window if the steps are candles."""
    if policy.window_source == "history":
        return ()
    return (
        (made.windows.held_K, "<i8"),
        (made.windows.held_NK, "<f8"),
        (table.decided_at_R[made.row_N], "<i8"),
    )
