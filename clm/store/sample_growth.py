"""Incremental reading of a growing sample table: only new and pending rows are read.

A settled row is not read again: it had a label and usable features, and it was well before the newest row.
All other rows are pending, because labels arrive late and bad rows get repaired.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from clm.data.columns import Block, Gathering, Layout, SampleColumns, merged_block
from clm.domain.sample import Ints
from clm.store.sample_reader import BEFORE_ALL, SampleReader
from clm.store.sample_rows import Window

_NEWEST_PENDING = 512
"""The newest rows always stay pending, because corrections mostly affect new rows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """The sample table as of the last reading."""

    settled: tuple[Block, ...] = ()
    pending: Ints
    """Ids of all rows that are not settled."""
    last_id: float = BEFORE_ALL
    rows: int = 0
    """Number of rows in the window, including those before its exact bound."""
    spellings: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """As in SampleColumns."""

    @classmethod
    def nothing(cls) -> "Known":
        """Return the state of a table that was never read."""
        return cls(pending=np.empty(0, dtype=np.int64))

    def grown(self, fresh: SampleColumns, last_id: float, rows: int, *, pending_too: bool) -> "Known":
        """Return the state after reading new rows and, if `pending_too`, the pending rows."""
        pending = [np.array([reject.sample_id for reject in fresh.rejects], dtype=np.int64)]
        if not pending_too:
            pending.append(self.pending)
        settled = list(self.settled)
        for block in fresh.blocks:
            is_settled_R = np.zeros(len(block), dtype=np.bool_)
            if block.whole:
                is_settled_R = (block.unlabelled_R == 0) & (block.sample_id_R <= last_id - _NEWEST_PENDING)
            pending.append(block.sample_id_R[~is_settled_R])
            if is_settled_R.any():
                settled.append(block if is_settled_R.all() else block.take(is_settled_R))
        return Known(
            settled=tuple(settled),
            pending=np.sort(np.concatenate(pending)),
            last_id=last_id,
            rows=rows,
            spellings=_both_spelled(self.spellings, fresh.spellings),
        )


def catch_up(
    reader: SampleReader, known: Known, window: Window, *, probes: int = 0
) -> tuple[SampleColumns, Known] | None:
    """Return all rows of the window and the new state, from one snapshot.

    Return None if `known` no longer matches the store: a row was removed, or one of the `probes` settled
    rows that are checked again has changed.
    """
    probed = _some_of(known.settled, probes)
    probe_ids = [block.sample_id_R for block in probed]
    with reader.snapshot():
        total = reader.count(window)
        last_id = reader.last_id()
        ids = np.concatenate([known.pending, *probe_ids]).tolist()
        copied = reader.copy_ids(ids, and_after=known.last_id, window=window)
    gathering = Gathering(copied)
    reader.read_copy(window, gathering)
    fresh, found = _parted(gathering.finish(), probe_ids)
    probes = sum(map(len, probe_ids))
    # Rows kept + rows read must be all rows: a removed row makes the sum too large.
    if total != known.rows - len(known.pending) + copied - probes or not _alike(probed, found):
        return None
    grown = known.grown(fresh, max(last_id, known.last_id), total, pending_too=True)
    return replace(fresh, blocks=(*known.settled, *fresh.blocks), spellings=grown.spellings), grown


def _both_spelled(
    earlier: Mapping[str, tuple[str, ...]], later: Mapping[str, tuple[str, ...]]
) -> dict[str, tuple[str, ...]]:
    """Return the spellings of both."""
    symbols = sorted({*earlier, *later})
    return {symbol: tuple(sorted({*earlier.get(symbol, ()), *later.get(symbol, ())})) for symbol in symbols}


def _some_of(blocks: Sequence[Block], probes: int) -> list[Block]:
    """Return a random sample of about `probes` rows."""
    # Not seeded: each reading must probe other rows, so that a rewritten label is found in time.
    chance = np.random.default_rng()
    total = sum(map(len, blocks))
    some = []
    for block in blocks:
        wanted = -(-probes * len(block) // total)
        if wanted:
            some.append(block.take(np.unique(chance.integers(len(block), size=wanted))))
    return some


def _parted(columns: SampleColumns, probe_ids: Sequence[Ints]) -> tuple[SampleColumns, list[Block]]:
    """Split the columns into all other rows and the probed rows."""
    if not probe_ids:
        return columns, []
    ids = np.concatenate(probe_ids)
    blocks, found = [], []
    for block in columns.blocks:
        is_probe_R = np.isin(block.sample_id_R, ids)
        found.append(block.take(is_probe_R))
        blocks.append(block.take(~is_probe_R))
    probed = set(ids.tolist())
    rejects = tuple(reject for reject in columns.rejects if reject.sample_id not in probed)
    return replace(columns, blocks=tuple(blocks), rejects=rejects), found


def _alike(expected: Sequence[Block], found: Sequence[Block]) -> bool:
    """Return whether two sets of blocks hold the same rows."""
    return _by_layout(expected) == _by_layout(found)


def _by_layout(blocks: Sequence[Block]) -> dict[tuple[Layout, bool], list[object]]:
    """Return comparable values by layout: arrays as bytes, so that NaN equals NaN, and symbols as text."""
    layouts = {(block.names, block.whole) for block in blocks if len(block)}
    compared: dict[tuple[Layout, bool], list[object]] = {}
    for names, whole in layouts:
        alike = [block for block in blocks if (block.names, block.whole) == (names, whole)]
        block = merged_block(alike)
        symbols = [block.symbols[code] for code in block.symbol_R.tolist()]
        compared[names, whole] = [
            symbols, *(array.tobytes() for name, array in block.columns().items() if name != "symbol")
        ]  # fmt: skip
    return compared
