"""Sections of a proof pack as plain values; each function is pure and handles one kind of value."""

from collections.abc import Sequence

import numpy as np

from clm.artefacts.manifest import Artefact
from clm.clock import SECOND, from_micros, iso
from clm.data.audits import Finding
from clm.data.candles.series import CandleReport
from clm.data.dataset import Dataset
from clm.data.floor import Floor
from clm.diagnosis.answers import Diagnosis
from clm.domain.job import TrainingResult
from clm.domain.sample import Ints
from clm.evaluation.evaluation import Comparison
from clm.gates.verdict import GateVerdict
from clm.report.plain import Plain, plain, plain_record

_TARGET_NOTES = {
    "win": "The target is whether the recorded trade won, on either side. Actions are still read from it as "
    "directions, so a winning SELL trains the model to BUY.",
    "direction": "The target is the direction of the market (side x outcome).",
}


def data_section(dataset: Dataset) -> dict[str, Plain]:
    """Return what was read, what was not used and why, and what is left for training."""
    table, decided_R = dataset.table, dataset.table.decided_at_R
    per_symbol = np.bincount(table.symbol_R, minlength=len(table.symbols))
    return {
        "rows_read": table.rows_read,
        "last_id": table.last_id,
        "rejected": plain(table.rejected),
        "samples": len(table),
        "without_label": plain(table.unlabelled),
        "windows": len(dataset.label_N),
        "without_window": plain(dataset.dropped),
        "symbols": {name: int(count) for name, count in zip(table.symbols, per_symbol, strict=True)},
        "features": plain(dataset.feature_names),
        "candles": [_candles(report) for report in dataset.candles],
        "context_length": dataset.context_length,
        "target": dataset.target,
        "target_note": _TARGET_NOTES.get(dataset.target, ""),
        "base_rate": plain(dataset.base_rate),
        "first": iso(from_micros(decided_R.min())) if len(table) else None,
        "last": iso(from_micros(decided_R.max())) if len(table) else None,
        "fingerprint": dataset.fingerprint,
    }


def _candles(report: CandleReport) -> dict[str, Plain]:
    first, last = (
        iso(from_micros(at)) if report.candles else None for at in (report.first_at, report.last_at)
    )
    shown = plain_record(report)
    return {**shown, "interval_s": report.interval // SECOND, "first_at": first, "last_at": last}


def splits_section(dataset: Dataset) -> dict[str, Plain]:
    """Return dates, counts and the share of label 1 for each part."""
    split = dataset.split
    return {
        "train": _part(dataset, split.train),
        "validation": _part(dataset, split.validation),
        "test": _part(dataset, split.test),
        "purged": split.purged,
        "embargoed": split.embargoed,
        "folds": [
            {"train": _part(dataset, fold.train), "test": _part(dataset, fold.test), "purged": fold.purged}
            for fold in dataset.folds
        ],
    }


def findings_section(findings: Sequence[Finding]) -> list[Plain]:
    """Return the findings in their order."""
    return [plain(finding) for finding in findings]


def floor_section(floor: Floor) -> dict[str, Plain]:
    """Return the skill of plain models with its p-value."""
    return {**plain_record(floor), "p_value": plain(floor.p_value)}


def training_section(training: TrainingResult) -> dict[str, Plain]:
    """Return the epochs and the hashes of the trained file."""
    return {
        "epochs": [plain(epoch) for epoch in training.epochs],
        "best_epoch": training.best_epoch,
        "stopped_because": training.stopped_because,
        "n_parameters": training.n_parameters,
        "seconds": plain(training.seconds),
        "file_sha256": training.file_sha256,
        "weights_hash": training.weights_hash,
        "notes": plain(training.notes),
    }


def metrics_side_by_side(comparison: Comparison | None) -> dict[str, Plain]:
    """Return every figure of candidate, champion and baselines; empty if nothing was measured."""
    if comparison is None:
        return {}
    return {
        "candidate": {
            **plain_record(comparison.candidate),
            "auroc_interval": plain(comparison.auroc_interval),
            "net_return_per_trade": plain(comparison.net_return_per_trade),
            "ece_by_chance": plain(comparison.ece_by_chance),
            "slices": plain(comparison.slices),
        },
        "champion": plain(comparison.champion),
        "champion_absent_because": comparison.champion_absent_because,
        "baselines": {
            "base_rate": plain_record(comparison.base_rate),
            "logistic": plain_record(comparison.logistic),
            "trees": plain(comparison.trees),
        },
        "better_plain": comparison.better_plain,
        "log_loss_minus_champion": plain(comparison.log_loss_minus_champion),
        "net_return_minus_champion": plain(comparison.net_return_minus_champion),
        "thresholds": plain(comparison.thresholds),
    }


def gate_rows(verdicts: Sequence[GateVerdict]) -> list[dict[str, Plain]]:
    """Return name, status, observed, threshold, reason and would_pass of each gate, in order."""
    return [
        {
            "name": verdict.name,
            "status": verdict.status.value,
            "observed": plain(verdict.observed),
            "threshold": plain(verdict.threshold),
            "reason": verdict.reason,
            "would_pass": verdict.would_pass,
        }
        for verdict in verdicts
    ]


def diagnosis_section(diagnosis: Diagnosis) -> dict[str, Plain]:
    """Return the cause and every answer, findings first."""
    return {
        "cause": diagnosis.cause.name if diagnosis.cause else None,
        "answers": [plain(answer) for answer in diagnosis.answers],
        "seconds": plain(diagnosis.seconds),
    }


def artefact_section(artefact: Artefact) -> dict[str, Plain]:
    """Return the path of the model and the manifest that identifies it."""
    manifest = artefact.manifest
    return {
        "version": manifest.version,
        "model_path": plain(artefact.model_path),
        "sha256": manifest.sha256,
        "size_bytes": manifest.size_bytes,
        "created_at": manifest.created_at,
        "architecture": manifest.architecture,
        "context_length": manifest.context_length,
        "feature_names": plain(manifest.feature_names),
        "lineage": plain(manifest.lineage),
        "notes": plain(manifest.notes),
    }


def _part(dataset: Dataset, part: Ints) -> dict[str, Plain]:
    decided_N = dataset.table.decided_at_R[dataset.row_N[part]]
    return {
        "windows": len(part),
        "first": iso(from_micros(decided_N.min())) if len(part) else None,
        "last": iso(from_micros(decided_N.max())) if len(part) else None,
        "share_of_label_1": float(dataset.label_N[part].mean()) if len(part) else None,
    }
