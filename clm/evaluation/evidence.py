"""The evidence for a judgement; it is stored with the run, so the run can be judged again."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from clm.data.dataset import Dataset
from clm.domain.job import TrainingResult
from clm.domain.ledger import PastAttempts
from clm.domain.load_check import LoadCheck
from clm.domain.sample import Floats
from clm.evaluation.evaluate import compare, rows_of, rows_of_part
from clm.evaluation.evaluation import Comparison, EvaluationPolicy
from clm.evaluation.predictions import Answers, ScoredRows, TestRows


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """Labels, predictions, evaluation policy, past attempts and the load check."""

    rows: TestRows
    p_candidate_N: Floats
    p_champion_N: Floats | None
    champion_absent_because: str
    p_logistic_N: Floats
    base_rate: float
    validation: ScoredRows | None
    policy: EvaluationPolicy
    past: PastAttempts
    serving: LoadCheck | None
    p_trees_N: Floats | None = None
    """None in evidence of version 0.1."""
    validation_by_plain: Mapping[str, Floats] = field(default_factory=dict)
    """P(WIN) of the validation rows by plain model."""


def evidence_of(
    dataset: Dataset,
    training: TrainingResult,
    *,
    policy: EvaluationPolicy,
    past: PastAttempts,
    serving: LoadCheck | None,
) -> Evidence:
    """Return the evidence on a training: the test part, and the validation part for thresholds."""
    validation = None
    if training.p_validation_N is not None:
        rows = rows_of_part(dataset, dataset.split.validation)
        validation = ScoredRows(rows=rows, p_N=training.p_validation_N)
    return Evidence(
        rows=rows_of(dataset),
        p_candidate_N=training.p_candidate_N,
        p_champion_N=training.p_champion_N,
        champion_absent_because=training.champion_absent_because,
        p_logistic_N=training.p_logistic_N,
        base_rate=dataset.base_rate,
        validation=validation,
        policy=policy,
        past=past,
        serving=serving,
        p_trees_N=training.p_trees_N,
        validation_by_plain=training.validation_by_plain,
    )


def comparison_of(evidence: Evidence) -> Comparison:
    """Return all figures; the same evidence gives the same figures to the last digit."""
    answers = Answers(
        p_candidate_N=evidence.p_candidate_N,
        p_champion_N=evidence.p_champion_N,
        champion_absent_because=evidence.champion_absent_because,
        p_logistic_N=evidence.p_logistic_N,
        base_rate=evidence.base_rate,
        p_trees_N=evidence.p_trees_N,
        validation_by_plain=evidence.validation_by_plain,
    )
    comparison = compare(
        evidence.rows,
        answers,
        validation=evidence.validation,
        policy=evidence.policy,
        past=evidence.past,
    )
    return replace(comparison, serving=evidence.serving)
