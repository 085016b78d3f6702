"""What is known of a growing sample table, and what has to be read to know it all again.

Of a row that is settled nothing is read again: it had its label and usable features when it was read, and
lies some way behind the newest row. All others are pending: labels come late, broken rows are repaired.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from clm.data.columns import Block, Gathering, Layout, SampleColumns, merged_block
from clm.domain.sample import Ints
from clm.store.sample_reader import BEFORE_ALL, SampleReader
from clm.store.sample_rows import Window

_NEWEST_PENDING = 512
"""The newest rows stay pending whatever they say: what is corrected is mostly new."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """The sample table as of the last reading."""

    settled: tuple[Block, ...] = ()
    pending: Ints
    """Ids of all other rows."""
    last_id: float = BEFORE_ALL
    rows: int = 0
    """All rows in the window, those before its exact bound included."""

    @classmethod
    def nothing(cls) -> "Known":
        """Return what is known of a table that was never read."""
        return cls(pending=np.empty(0, dtype=np.int64))

    def grown(self, fresh: SampleColumns, last_id: float, rows: int, *, pending_too: bool) -> "Known":
        """Return this with rows that came since, and with those that were pending if they were read too."""
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
            settled=tuple(settled), pending=np.sort(np.concatenate(pending)), last_id=last_id, rows=rows
        )


def catch_up(
    reader: SampleReader, known: Known, window: Window, *, probes: int = 0
) -> tuple[SampleColumns, Known] | None:
    """Return all rows of the window and what is known then, from one snapshot.

    None where what is known is not what the store holds any more: a row was removed, or one of the `probes`
    settled rows that are looked at again says something else.
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
    if total != known.rows - len(known.pending) + copied - probes or not _alike(probed, found):
        return None
    columns = SampleColumns(blocks=(*known.settled, *fresh.blocks), rejects=fresh.rejects)
    return columns, known.grown(fresh, max(last_id, known.last_id), total, pending_too=True)


def _some_of(blocks: Sequence[Block], probes: int) -> list[Block]:
    """Return some rows by chance, about `probes` in all."""
    chance = np.random.default_rng()
    total = sum(map(len, blocks))
    some = []
    for block in blocks:
        wanted = -(-probes * len(block) // total)
        if wanted:
            some.append(block.take(np.unique(chance.integers(len(block), size=wanted))))
    return some


def _parted(columns: SampleColumns, probe_ids: Sequence[Ints]) -> tuple[SampleColumns, list[Block]]:
    """Return the columns without the probed rows, and these."""
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
    return SampleColumns(blocks=tuple(blocks), rejects=rejects), found


def _alike(expected: Sequence[Block], found: Sequence[Block]) -> bool:
    """Whether two sets of blocks hold the same rows."""
    return _by_layout(expected) == _by_layout(found)


def _by_layout(blocks: Sequence[Block]) -> dict[tuple[Layout, bool], list[object]]:
    """Return values that can be compared: NaN as its bytes, symbols as text."""
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
