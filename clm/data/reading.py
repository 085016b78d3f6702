"""Convert columns of the store to a SampleTable as of one moment; bad rows are counted, not repaired."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import numpy as np

from clm.clock import to_micros
from clm.data.columns import ODD_FIGURES, WHY_UNLABELLED, Block, Gathering, Layout, SampleColumns, merged
from clm.data.features import why_unusable
from clm.data.rows import RAW_COLUMNS, RawRow, read_rows
from clm.domain.sample import UNRESOLVED, Bytes8, Ints, SampleTable

__all__ = ["RAW_COLUMNS", "Contract", "RawSamples", "SampleColumns", "columns_of", "parse_samples"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RawSamples:
    """Rows as SQLite gave them: text may be bytes, numbers may be text; nothing is trusted yet."""

    rows: Sequence[RawRow]
    """Each in the order of RAW_COLUMNS."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Contract:
    """The features in use and their order."""

    names: Layout
    available: Layout
    """Features of the newest sample; empty if no sample is readable."""
    missing: Layout
    """Requested features that are not available."""
    by_request: bool
    """True if the names were requested; rows may then have other features in addition."""

    def admits(self, names: Layout) -> bool:
        """Return whether a row with these names can be used."""
        return set(self.names) <= set(names) if self.by_request else set(self.names) == set(names)


def columns_of(raw: RawSamples) -> SampleColumns:
    """Return raw rows as columns, one row after the other."""
    gathering = Gathering(len(raw.rows))
    read_rows(raw.rows, gathering)
    return gathering.finish()


def parse_samples(
    samples: SampleColumns | RawSamples, *, cutoff: datetime, features: Layout = ()
) -> SampleTable:
    """Return the usable samples as they were known at `cutoff`.

    A row that contradicts itself or cannot be read is left out and counted by reason. A row without a known
    outcome stays as history. `features` names the features to use, in this order; without it the newest
    readable sample decides, and samples with other names are left out.
    """
    columns = columns_of(samples) if isinstance(samples, RawSamples) else samples
    cutoff_micros = to_micros(cutoff)
    rejected = Counter(reject.reason_at(cutoff_micros) for reject in columns.rejects)
    past: list[Block] = []
    for block in columns.blocks:
        known_R = block.decided_at_R <= cutoff_micros
        rejected["future"] += len(block) - int(known_R.sum())
        past.append(block if known_R.all() else block.take(known_R))
    contract = _newest_contract(past, tuple(dict.fromkeys(features)))
    usable = (_usable(block, contract, rejected) for block in past)
    return _table([block for block in usable if block], contract, cutoff_micros, rejected, columns)


def _newest_contract(blocks: Sequence[Block], requested: Layout) -> Contract:
    """Return what the newest row says whose features can be used, or be read where some are asked for."""
    newest: tuple[int, int] | None = None
    available: Layout = ()
    for block in blocks:
        if len(block) and (block.whole or requested):
            moment = int(block.decided_at_R.max())
            row = moment, int(block.sample_id_R[block.decided_at_R == moment].max())
            # Equal times are decided by the id, so that the contract does not depend on the order of
            # reading.
            if newest is None or row > newest:
                newest, available = row, block.names
    if newest is None:
        return Contract(names=requested, available=(), missing=(), by_request=bool(requested))
    if not requested:
        return Contract(names=available, available=available, missing=(), by_request=False)
    return Contract(
        names=tuple(name for name in requested if name in available),
        available=available,
        missing=tuple(name for name in requested if name not in available),
        by_request=True,
    )


def _usable(block: Block, contract: Contract, rejected: Counter[str]) -> Block | None:
    """Return the rows that the contract admits, with its features in its order; count the others."""
    admitted = contract.admits(block.names)
    if not admitted and (block.whole or contract.by_request):
        rejected["other_features"] += len(block)
        return None
    picked = _picked(block, contract.names) if admitted else block
    if block.whole:
        return picked
    bad_R = np.zeros(len(block), dtype=np.bool_)
    for reason, rows_R in why_unusable(picked.features_RC).items():
        rejected[reason] += int(rows_R.sum())
        bad_R |= rows_R
    return picked.take(~bad_R) if admitted else None


def _picked(block: Block, names: Layout) -> Block:
    if block.names == names:
        return block
    places = [block.names.index(name) for name in names]
    return replace(block, names=names, features_RC=block.features_RC[:, places])


def _table(
    blocks: Sequence[Block], contract: Contract, cutoff: int, rejected: Counter[str], read: SampleColumns
) -> SampleTable:
    rows, symbols = merged(blocks, len(contract.names))
    counts = np.bincount(rows["unlabelled"], minlength=len(WHY_UNLABELLED)).tolist()
    unlabelled = dict(zip(WHY_UNLABELLED, counts, strict=True))
    # What was unknown at the cutoff stays unknown: training must not see the future.
    late_R = (rows["resolved_at"] > cutoff) & (rows["resolved_at"] != UNRESOLVED)
    if late_R.any():
        unlabelled["resolved_after_cutoff"] = int(late_R.sum())
        for name, unknown in _UNKNOWN.items():
            rows[name] = np.where(late_R, np.array(unknown, dtype=rows[name].dtype), rows[name])
    # Symbols of rejected rows must not appear in reports and slices.
    symbol_R, symbols = _of_these_rows(rows["symbol"], symbols)
    return SampleTable(
        sample_id_R=rows["sample_id"],
        symbol_R=symbol_R,
        symbols=symbols,
        decided_at_R=rows["decided_at"],
        resolved_at_R=rows["resolved_at"],
        side_R=rows["side"],
        outcome_R=rows["outcome"],
        pnl_R=rows["pnl"],
        market_return_R=rows["market_return"],
        entry_price_R=rows["entry_price"],
        features_RC=rows["features"],
        feature_names=contract.names,
        available_features=contract.available,
        missing_features=contract.missing,
        rows_read=read.rows_read,
        last_id=read.last_id,
        rejected={reason: n for reason, n in sorted(rejected.items()) if n},
        unlabelled={reason: n for reason, n in sorted(unlabelled.items()) if n and reason},
        odd_figures=_odd_figures(rows["odd"]),
        examples={**{reject.reason: reject.value for reject in reversed(read.rejects)}, **read.examples},
        spellings={symbol: names for symbol, names in read.spellings.items() if symbol in symbols},
    )


def _odd_figures(odd_R: Bytes8) -> dict[str, int]:
    counted = {f"bad_{name}": int((odd_R & bit > 0).sum()) for bit, name in ODD_FIGURES.items()}
    return {reason: n for reason, n in counted.items() if n}


_UNKNOWN = {
    "resolved_at": UNRESOLVED,
    "outcome": 0,
    "pnl": np.nan,
    "market_return": np.nan,
    "entry_price": np.nan,
}


def _of_these_rows(symbol_R: Ints, symbols: tuple[str, ...]) -> tuple[Ints, tuple[str, ...]]:
    """Return codes into the symbols that occur, and those."""
    occurs = np.bincount(symbol_R, minlength=len(symbols)) > 0
    if occurs.all():
        return symbol_R, symbols
    places = np.cumsum(occurs) - 1
    return places[symbol_R], tuple(symbol for symbol, there in zip(symbols, occurs, strict=True) if there)
