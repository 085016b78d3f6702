"""The signal floor: the out-of-sample skill of plain models, with its p-value."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from clm.clock import HOUR
from clm.data.association import auroc, midranks, spread
from clm.data.channels import last_steps
from clm.data.dataset import Dataset
from clm.data.splits import SplitPolicy, split_by_time
from clm.domain.figure import Figure
from clm.domain.sample import Bytes8, Floats, Ints

Predict = Callable[[Floats, Bytes8, Floats], Floats]
"""Fit on these features and labels, and return the scores of those."""

FIRST_TRAIN_SHARE = 0.40
N_FOLDS = 5
MOST_SHIFTS = 999


@dataclass(frozen=True, slots=True, kw_only=True)
class Skill:
    """What one model scored out of sample."""

    auroc: Figure
    p_value: Figure
    """Share of permuted outcomes that score as well; NaN if unknown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Floor:
    """The minimum that features predict: the skill of models that see only the last step."""

    skills: Mapping[str, Skill]
    """By name of the model."""
    n_rows: int
    """Out of sample, over all folds."""
    n_blocks: int
    absent_because: str = ""
    """Why nothing was measured; empty if something was."""

    @property
    def p_value(self) -> float:
        """Of the best model, corrected for the choice among them (Bonferroni); NaN where unknown."""
        known = [skill.p_value for skill in self.skills.values() if not np.isnan(skill.p_value)]
        # Bonferroni needs no assumption on how the models' results depend on each other.
        return min(1.0, len(known) * min(known)) if known else float("nan")


@dataclass(frozen=True, slots=True, kw_only=True)
class FloorRows:
    """Labelled decisions in the order of time, each with its features at the decision."""

    features_NC: Floats
    label_N: Bytes8
    decided_at_N: Ints
    resolved_at_N: Ints


@dataclass(frozen=True, slots=True, kw_only=True)
class FloorPolicy:
    """How the floor is measured."""

    block_h: float
    """Length of a block of time; what happens within one counts as one event."""
    embargo_h: float
    max_rows: int = 40_000
    """Number of newest rows used, so that the floor takes only seconds."""


def floor_rows(dataset: Dataset, policy: FloorPolicy) -> FloorRows:
    """Return the newest windows at their last step."""
    newest = np.arange(max(0, len(dataset.row_N) - policy.max_rows), len(dataset.row_N), dtype=np.int64)
    row_N = dataset.row_N[newest]
    return FloorRows(
        features_NC=last_steps(dataset, newest),
        label_N=dataset.label_N[newest],
        decided_at_N=dataset.table.decided_at_R[row_N],
        resolved_at_N=dataset.table.resolved_at_R[row_N],
    )


def measure_floor(rows: FloorRows, models: Mapping[str, Predict], policy: FloorPolicy) -> Floor:
    """Score each model on purged walk-forward folds, and compare with permuted outcomes.

    The outcomes are permuted by rotating their sequence by whole blocks of time, over all symbols at once.
    This keeps what markets and hours share and breaks only the link to the features. There are
    as many permutations as blocks, so that a few weeks cannot show skill however good they look: a regime
    of days is one event, not hundreds of trades.
    """
    folds = _folds(rows, policy.embargo_h)
    scored = np.concatenate([test for _, test in folds]) if folds else np.empty(0, dtype=np.int64)
    # Blocks on the absolute time axis, so that all symbols share their boundaries.
    block_N = rows.decided_at_N[scored] // round(policy.block_h * HOUR)
    starts = np.flatnonzero(np.diff(block_N, prepend=block_N[:1] - 1))
    return Floor(
        skills={name: _skill(rows, folds, predict, starts) for name, predict in models.items()},
        n_rows=len(scored),
        n_blocks=len(starts),
        absent_because="" if folds else "no part of the history has both outcomes to learn from",
    )


def _folds(rows: FloorRows, embargo_h: float) -> list[tuple[Ints, Ints]]:
    """Return training and test rows of each fold; nothing trains whose outcome came after the cut."""
    share = (1 - FIRST_TRAIN_SHARE) / N_FOLDS
    folds = []
    for fold in range(N_FOLDS):
        policy = SplitPolicy(
            train_share=FIRST_TRAIN_SHARE + fold * share, validation_share=share, embargo_h=embargo_h
        )
        # The validation part is the scored part here.
        split = split_by_time(rows.decided_at_N, rows.resolved_at_N, policy)
        if 0 < rows.label_N[split.train].sum() < len(split.train) and len(split.validation):
            folds.append((split.train, split.validation))
    return folds


def _skill(rows: FloorRows, folds: list[tuple[Ints, Ints]], predict: Predict, starts: Ints) -> Skill:
    scores, surprises, areas, sizes = [], [], [], []
    for train, test in folds:
        score_N = predict(rows.features_NC[train], rows.label_N[train], rows.features_NC[test])
        won_N = rows.label_N[test] == 1
        # Ranks within the fold, outcomes against the fold's own rate: folds are not compared with each other.
        scores.append(midranks(score_N) / len(test) - (len(test) + 1) / (2 * len(test)))
        surprises.append(won_N - won_N.mean())
        areas.append(auroc(score_N, won_N))
        sizes.append(len(test))
    if not folds:
        return Skill(auroc=float("nan"), p_value=float("nan"))
    score_N, surprise_N = np.concatenate(scores), np.concatenate(surprises)
    known = ~np.isnan(areas)
    if not known.any():
        return Skill(auroc=float("nan"), p_value=float("nan"))
    area = np.average(np.array(areas)[known], weights=np.array(sizes)[known])
    return Skill(auroc=float(area), p_value=_p_value(score_N, surprise_N, starts))


def _p_value(score_N: Floats, surprise_N: Floats, starts: Ints) -> float:
    """Return how often outcomes of other blocks fit as well: each block meets the k-th after it.

    Blocks differ in size: a row meets the one at the same place in the other block, so that whole blocks
    meet and no block is smeared over two.
    """
    n_blocks = len(starts)
    size_B = np.diff(starts, append=len(score_N))
    block_N = np.repeat(np.arange(n_blocks), size_B)
    place_N = (np.arange(len(score_N)) - starts[block_N] + 0.5) / size_B[block_N]
    observed = float(score_N @ surprise_N)
    turns = 1 + spread(n_blocks - 1, MOST_SHIFTS)
    by_luck = 0
    for turn in turns:
        other_N = (block_N + turn) % n_blocks
        met_N = starts[other_N] + (place_N * size_B[other_N]).astype(np.int64)
        by_luck += float(score_N @ surprise_N[met_N]) >= observed
    # The observed order counts as one permutation, so p is never 0 (Phipson & Smyth, 2010).
    return (1 + by_luck) / (1 + len(turns))
