"""Gate 5: noise does not pass, and the reason says what is missing."""

import math
from dataclasses import replace

import numpy as np
import pytest

from clm.evaluation.attempts import AttemptBudget
from clm.evaluation.evaluation import Comparison, Interval
from clm.gates import skill as gate
from clm.gates.distribution import action_diversity, confidence_spread
from clm.gates.skill import skill
from clm.gates.verdict import GateStatus
from tests.builders import gate_policy
from tests.evaluation.builders import comparison, market, rows

PLAIN = comparison(rows([1, 0]), np.array([0.7, 0.3]))


def with_figures(
    *, low: float = 0.55, loss: float = 0.66, base: float = 0.69, logistic: float = 0.66
) -> Comparison:
    """Return a comparison with these figures; the defaults pass."""
    return replace(
        PLAIN,
        auroc_interval=Interval(value=0.6, low=low, high=0.63, n_blocks=20, confidence=0.95),
        candidate=replace(PLAIN.candidate, log_loss=loss),
        base_rate=replace(PLAIN.base_rate, log_loss=base),
        logistic=replace(PLAIN.logistic, log_loss=logistic),
    )


def test_a_ranking_above_chance_that_beats_both_baselines_passes() -> None:
    """All three conditions hold here."""
    verdict = skill(with_figures(), gate_policy())
    assert (verdict.status, verdict.observed, verdict.threshold) == (GateStatus.PASS, 0.55, 0.5)
    assert verdict.reason.startswith("AUROC 0.600, 95 % interval 0.55 to 0.63, is above 0.5; ")


@pytest.mark.parametrize(
    ("figures", "word", "bar"),
    [
        ({"low": 0.5}, "is not above 0.5", "a lower bound of the AUROC interval above 0.5"),
        ({"loss": 0.69, "logistic": 0.69}, "is not below the base rate's", "a log loss below 0.6900"),
        ({"logistic": 0.649}, "is not at most 0.01 above", "a log loss of at most 0.6590"),
        ({"low": math.nan}, "is not above 0.5", "AUROC interval"),
        ({"loss": math.nan}, "is not below", "a log loss below"),
        ({"base": math.nan}, "is not below", "a log loss below nan"),
        ({"logistic": math.nan}, "is not at most 0.01 above", "a log loss of at most nan"),
    ],
)
def test_each_condition_can_fail_alone_and_is_named(figures: dict[str, float], word: str, bar: str) -> None:
    """The reason names the failed condition, and would_pass says what is required."""
    verdict = skill(with_figures(**figures), gate_policy())
    assert verdict.status is GateStatus.FAIL
    assert word in verdict.reason
    bought = word == "is not above 0.5"
    assert ("; gates 1 and 2 pass: spread bought without skill." in verdict.reason) is bought
    assert bought or verdict.reason.endswith("no skill is shown.")
    assert bar in verdict.would_pass


@pytest.mark.parametrize("better", ["logistic", "trees"])
def test_the_better_plain_model_on_validation_is_the_bar(
    better: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A network that only beats the weaker one gives less than a model that costs nothing."""
    found = replace(
        with_figures(loss=0.66, logistic=0.655 if better == "logistic" else 0.64),
        trees=replace(PLAIN.logistic, name="trees", log_loss=0.655 if better == "trees" else 0.64),
        better_plain=better,
    )
    monkeypatch.setattr(gate, "BETTER_PLAIN_IS_BAR", True)
    verdict = skill(found, gate_policy())
    assert verdict.status is GateStatus.PASS
    words = {"logistic": "logistic regression's 0.6550", "trees": "the boosted trees' 0.6550"}
    assert words[better] in verdict.reason
    other = "trees" if better == "logistic" else "logistic"
    assert skill(replace(found, better_plain=other), gate_policy()).status is GateStatus.FAIL


def test_trees_are_reported_and_not_judged_by_default() -> None:
    """The bar is logistic regression as long as the policy does not ask for the better of the two."""
    trees = replace(PLAIN.logistic, name="trees", log_loss=0.1)
    found = replace(with_figures(), trees=trees, better_plain="trees")
    assert skill(found, gate_policy()).status is GateStatus.PASS


def test_unknown_trees_do_not_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    """NaN is not a pass."""
    monkeypatch.setattr(gate, "BETTER_PLAIN_IS_BAR", True)
    trees = replace(PLAIN.logistic, name="trees", log_loss=math.nan)
    found = replace(with_figures(), trees=trees, better_plain="trees")
    assert skill(found, gate_policy()).status is GateStatus.FAIL


def test_the_reason_of_a_late_attempt_says_what_is_missing() -> None:
    """The threshold rises with each attempt, so operators must see it."""
    found = replace(
        with_figures(low=0.496),
        attempt=AttemptBudget(number=37, alpha=0.05),
        auroc_interval=Interval(value=0.55, low=0.496, high=0.6, n_blocks=20, confidence=0.99993),
        candidate=replace(PLAIN.candidate, log_loss=0.66, n=1000),
    )
    verdict = skill(found, gate_policy())
    assert verdict.reason.startswith(
        "Attempt 37 since the last promotion: AUROC 0.550, 99.993 % interval 0.50"
    )
    assert (
        "an AUROC of 0.554 with an equally wide interval, or about 167 more test rows at the same value"
        in verdict.would_pass
    )
    below = replace(found, auroc_interval=replace(found.auroc_interval, value=0.49, low=0.44))
    assert "more test rows" not in skill(below, gate_policy()).would_pass


def test_conditions_that_hold_are_not_required_again() -> None:
    """would_pass lists only what is missing."""
    assert "log loss" not in skill(with_figures(low=0.4), gate_policy()).would_pass
    assert skill(with_figures(low=0.4, loss=0.8), gate_policy()).would_pass.count(" and ") == 2


def test_a_log_loss_at_the_margin_passes() -> None:
    """The margin is inclusive."""
    policy = replace(gate_policy(), logistic_margin=0.25)
    assert skill(with_figures(loss=0.5, logistic=0.25), policy).status is GateStatus.PASS
    assert skill(with_figures(loss=0.5001, logistic=0.25), policy).status is GateStatus.FAIL


def test_the_reason_gives_a_ranking_below_chance_with_its_interval() -> None:
    """A model without skill can have AUROC 0.42 and pass every other gate."""
    interval = Interval(value=0.42, low=0.368, high=0.483, n_blocks=4, confidence=0.95)
    figures = replace(with_figures(), auroc_interval=interval)
    reason = skill(figures, gate_policy()).reason
    assert "AUROC 0.420, 95 % interval 0.37 to 0.48, is not above 0.5" in reason


@pytest.mark.parametrize("seed", range(5))
def test_random_confidence_passes_gates_1_and_2_and_fails_here(seed: int) -> None:
    """This gate exists because a loss term can widen the spread but cannot create skill."""
    test_rows, _ = market(seed=seed)
    noise = np.random.default_rng(100 + seed).uniform(0.3, 0.7, len(test_rows))
    found = comparison(test_rows, noise)
    assert action_diversity(found, gate_policy()).status is GateStatus.PASS
    assert confidence_spread(found, gate_policy()).status is GateStatus.PASS
    verdict = skill(found, gate_policy())
    assert verdict.status is GateStatus.FAIL
    assert "spread bought without skill" in verdict.reason


def test_noise_beats_a_base_rate_that_has_moved_and_still_fails() -> None:
    """If the share of WIN moves after training, any hedged prediction costs less. Only AUROC shows skill."""
    test_rows = rows([1, 0, 0] * 300)
    noise = np.random.default_rng(0).uniform(0.3, 0.7, len(test_rows))
    found = comparison(test_rows, noise, base_rate=0.65)
    assert found.candidate.log_loss < found.base_rate.log_loss
    assert skill(found, gate_policy()).status is GateStatus.FAIL


def test_noise_passes_in_at_most_1_of_20_cases() -> None:
    """The false-positive rate of the gate, on labels shuffled against the predictions."""
    passed, cases = 0, 100
    for seed in range(cases):
        test_rows, p = market(hours=200, seed=seed)
        shuffled = np.random.default_rng(seed).permutation(p)
        honest = comparison(test_rows, 0.5 + 0.1 * (shuffled - 0.5), base_rate=0.6)
        passed += skill(honest, gate_policy()).status is GateStatus.PASS
    assert passed <= 0.05 * cases


def test_skill_passes_in_at_least_19_of_20_cases() -> None:
    """A gate that always fails would reject noise too."""
    passed = sum(
        skill(comparison(*market(seed=s)), gate_policy()).status is GateStatus.PASS for s in range(40)
    )
    assert passed >= 38
