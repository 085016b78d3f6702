"""All that a judgement rests on: kept with the run, so that anybody can judge again."""

from dataclasses import dataclass, replace

from clm.domain.ledger import PastAttempts
from clm.domain.proof import ServingProof
from clm.domain.sample import Floats
from clm.evaluation.evaluate import compare
from clm.evaluation.evaluation import Comparison, EvaluationPolicy
from clm.evaluation.predictions import ScoredRows, TestRows


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """Labels, predictions, how to measure, how often it was tried, and what a fresh process said."""

    rows: TestRows
    p_candidate_N: Floats
    p_champion_N: Floats | None
    champion_absent_because: str
    p_logistic_N: Floats
    base_rate: float
    validation: ScoredRows | None
    policy: EvaluationPolicy
    past: PastAttempts
    serving: ServingProof | None


def comparison_of(evidence: Evidence) -> Comparison:
    """Measure; the same evidence gives the same figures to the last digit."""
    comparison = compare(
        evidence.rows,
        p_candidate_N=evidence.p_candidate_N,
        p_champion_N=evidence.p_champion_N,
        champion_absent_because=evidence.champion_absent_because,
        p_logistic_N=evidence.p_logistic_N,
        base_rate=evidence.base_rate,
        validation=evidence.validation,
        policy=evidence.policy,
        past=evidence.past,
    )
    return replace(comparison, serving=evidence.serving)
