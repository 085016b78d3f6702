"""Report the attempt of a run: its number, its level, and the facts for the ledger."""

from clm.data.dataset import Dataset
from clm.domain.job import TrainingResult
from clm.domain.ledger import LedgerStanding
from clm.evaluation.evaluation import Comparison
from clm.report.plain import Plain, plain, plain_record


def attempt_section(comparison: Comparison) -> dict[str, Plain]:
    """Return the attempt's number and level, the alpha that is left, and the deflated Sharpe ratio."""
    attempt = comparison.attempt
    return {
        **plain_record(attempt),
        "level": attempt.level,
        "confidence": attempt.confidence,
        "left": attempt.left,
        "deflated_sharpe": plain_record(comparison.deflated_sharpe),
    }


def ledger_section(standing: LedgerStanding) -> dict[str, Plain]:
    """Return the head of the ledger at the start of the run; it reveals a later removal of rows."""
    return {
        "rows": standing.rows,
        "head_sha256": standing.head_sha256,
        "broken_because": standing.broken_because,
    }


def attempt_evidence(
    dataset: Dataset | None, training: TrainingResult | None, comparison: Comparison | None
) -> dict[str, Plain]:
    """Return the hashes and figures for the run's row in the ledger, as far as the run has them."""
    evidence: dict[str, Plain] = {}
    if dataset:
        evidence["data_fingerprint"] = dataset.fingerprint
    if training:
        evidence["weights_hash"] = training.weights_hash
    return evidence | (_figures(comparison) if comparison else {})


def _figures(comparison: Comparison) -> dict[str, Plain]:
    return {
        "attempt": comparison.attempt.number,
        "level": comparison.attempt.level,
        "auroc": plain(comparison.candidate.auroc),
        "auroc_low": plain(comparison.auroc_interval.low),
        "log_loss": plain(comparison.candidate.log_loss),
        "sharpe": plain(comparison.deflated_sharpe.sharpe),
    }
