"""Distributions of labels, outcomes, symbols and features, before and after balancing."""

import numpy as np

from clm.data.audits.labels import win_against_market
from clm.data.channels import last_steps
from clm.data.dataset import Dataset
from clm.domain.sample import Ints
from clm.report.plain import Plain, plain

_QUANTILES = {"min": 0, "p10": 10, "p50": 50, "p90": 90, "max": 100}
_MAX_ROWS = 100_000


def distributions_section(dataset: Dataset, *, balanced: bool) -> dict[str, Plain]:
    """Return the labels of each part, plain and weighted, with outcomes, symbols and features."""
    split = dataset.split
    parts = {"train": split.train, "validation": split.validation, "test": split.test}
    return {
        "labels": {
            name: _labels(dataset, part, balanced and name == "train") for name, part in parts.items()
        },
        "outcomes": _outcomes(dataset),
        "by_symbol": _by_symbol(dataset),
        "win_against_market": {
            side: {"trades": trades, "auroc": plain(auroc)}
            for side, (trades, auroc) in win_against_market(dataset.table).items()
        },
        "features": _features(dataset),
    }


def _labels(dataset: Dataset, part: Ints, balanced: bool) -> dict[str, Plain]:
    """Return counts and the weighted share of label 1 in the loss: one half if classes are weighted."""
    ones = int(dataset.label_N[part].sum())
    zeros = len(part) - ones
    share = ones / len(part) if len(part) else None
    return {
        "label_0": zeros,
        "label_1": ones,
        "share_of_label_1": share,
        "weighted_share_of_label_1": 0.5 if balanced and ones and zeros else share,
    }


def _outcomes(dataset: Dataset) -> dict[str, Plain]:
    """Return the recorded outcomes of all labelled samples, before any policy applies."""
    table = dataset.table
    counts = np.bincount(table.outcome_R[table.labelled_R] + 1, minlength=3)
    return {
        "WIN": int(counts[2]),
        "LOSS": int(counts[0]),
        "NEUTRAL": int(counts[1]),
        "contradicting_profit": dataset.contradictions,
        "left_out": int(dataset.dropped.get("contradicts_profit", 0)),
        "relabelled": dataset.relabelled,
    }


def _by_symbol(dataset: Dataset) -> dict[str, Plain]:
    """Return the number of windows and the share of label 1 for each symbol."""
    table = dataset.table
    symbol_N = table.symbol_R[dataset.row_N]
    windows = np.bincount(symbol_N, minlength=len(table.symbols))
    ones = np.bincount(symbol_N, weights=dataset.label_N, minlength=len(table.symbols))
    return {
        symbol: {"windows": int(n), "share_of_label_1": float(one / n) if n else None}
        for symbol, n, one in zip(table.symbols, windows, ones, strict=True)
    }


def _features(dataset: Dataset) -> dict[str, Plain]:
    """Return mean, std and quantiles of each feature at the decision."""
    features_NC = last_steps(dataset, limit=_MAX_ROWS)
    if not features_NC.size:
        return {}
    quantile_QC = np.percentile(features_NC, list(_QUANTILES.values()), axis=0)
    return {
        name: {
            "mean": plain(features_NC[:, c].mean()),
            "std": plain(features_NC[:, c].std()),
            **{quantile: plain(quantile_QC[q, c]) for q, quantile in enumerate(_QUANTILES)},
        }
        for c, name in enumerate(dataset.feature_names)
    }
