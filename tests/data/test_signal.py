"""The signal floor: it finds what is there, and luck does not pass."""

from dataclasses import replace

import numpy as np
import pytest

from clm.clock import HOUR
from clm.data.audits import AuditPolicy, Severity, with_floor
from clm.data.audits.floor import no_skill
from clm.data.floor import Floor, FloorPolicy, FloorRows, Skill, floor_rows, measure_floor
from tests.data.rows import POLICY, dataset_of, simulated_rows

DAILY = FloorPolicy(block_h=24.0, embargo_h=1.0)
NAN = float("nan")


def rows(*, n: int = 2000, hours: int = 2400, signal: float = 0.0, seed: int = 1) -> FloorRows:
    """Decisions over some hundred days; the first feature carries `signal` of the outcome."""
    rng = np.random.default_rng(seed)
    decided = np.sort(rng.integers(0, hours, n)) * HOUR
    features = rng.normal(size=(n, 3))
    won = features[:, 0] * signal + rng.normal(size=n) > 0
    return FloorRows(
        features_NC=features,
        label_N=won.astype(np.int8),
        decided_at_N=decided,
        resolved_at_N=decided + 3 * HOUR,
    )


def first_feature(train, label, test):
    """A model that needs no fitting."""
    return test[:, 0]


def test_a_model_that_knows_something_is_found():
    """AUROC and p both say so."""
    floor = measure_floor(rows(signal=1.0), {"plain": first_feature}, DAILY)

    assert floor.skills["plain"].auroc > 0.7
    assert floor.p_value == pytest.approx(1 / floor.n_blocks)
    assert floor.n_blocks == pytest.approx(60, abs=2)
    assert no_skill(floor, POLICY) is None


def test_luck_is_as_frequent_as_the_p_value_says():
    """Without information in the features, p is uniform: at most about one in twenty is below 0.05."""
    p_values = [
        measure_floor(rows(n=600, seed=seed), {"plain": first_feature}, DAILY).p_value for seed in range(100)
    ]

    assert sum(p <= 0.05 for p in p_values) <= 12
    assert 0.35 < np.mean(p_values) < 0.65


def test_a_regime_is_one_event():
    """Outcomes and a feature that both drift for days look like skill row by row, and are luck."""
    rng = np.random.default_rng(4)
    noise = rows(n=4000)
    day = (noise.decided_at_N // (24 * HOUR)).astype(int)
    passed = 0
    for _ in range(40):
        mood, feature = rng.normal(size=101), rng.normal(size=101)
        drifting = replace(
            noise,
            features_NC=np.column_stack([feature[day]] * 3),
            label_N=(mood[day] + rng.normal(size=4000) > 0).astype(np.int8),
        )
        passed += measure_floor(drifting, {"plain": first_feature}, DAILY).p_value <= 0.05

    assert passed <= 6


def test_few_weeks_cannot_show_skill_and_the_advice_says_so():
    """With sixteen days out of sample even a perfect order is one of sixteen."""
    floor = measure_floor(rows(hours=600, signal=3.0), {"a": first_feature, "b": first_feature}, DAILY)
    finding = no_skill(floor, POLICY)

    assert floor.skills["a"].auroc > 0.85
    assert floor.p_value > 0.05
    assert "over more time" in finding.next_step


def test_nothing_trains_whose_outcome_came_after_the_cut():
    """A label that becomes known after the test part begins contains information about it."""
    seen = []

    def remember(train, label, test):
        seen.append((train[:, 1].max(), test[:, 2].min()))
        return test[:, 0]

    data = rows()
    numbered = np.column_stack([data.features_NC[:, 0], data.resolved_at_N, data.decided_at_N])
    measure_floor(replace(data, features_NC=numbered), {"plain": remember}, DAILY)

    assert len(seen) == 5
    assert all(last_known <= first_decided for last_known, first_decided in seen)


def test_the_better_of_two_models_is_chosen_after_the_fact():
    """Its p counts twice."""
    floor = Floor(
        skills={"a": Skill(auroc=0.55, p_value=0.03), "b": Skill(auroc=0.5, p_value=0.5)},
        n_rows=9,
        n_blocks=99,
    )

    assert floor.p_value == pytest.approx(0.06)
    assert no_skill(floor, POLICY).statistic == pytest.approx(0.06)


def test_what_could_not_be_measured_does_not_pass_and_never_blocks():
    """NaN is no skill; but a broken child must not stop the learning."""
    unknown = Floor(skills={}, n_rows=0, n_blocks=0, absent_because="the child was killed")
    strict = replace(POLICY, block_without_skill=True)

    assert np.isnan(unknown.p_value)
    for policy in (POLICY, strict):
        assert no_skill(unknown, policy).severity is Severity.WARN
        assert "the child was killed" in no_skill(unknown, policy).message


def test_an_operator_may_have_a_store_without_skill_refused():
    """By default it is a warning: the gates judge."""
    floor = Floor(skills={"a": Skill(auroc=0.5, p_value=0.6)}, n_rows=9, n_blocks=99)

    (warned,) = with_floor((), floor, POLICY)
    (refused,) = with_floor((), floor, replace(POLICY, block_without_skill=True))
    assert (warned.severity, refused.severity) == (Severity.WARN, Severity.BLOCK)


def test_a_history_of_one_outcome_has_no_floor():
    """There are no two classes to separate."""
    one = replace(rows(), label_N=np.ones(2000, dtype=np.int8))
    floor = measure_floor(one, {"plain": first_feature}, DAILY)

    assert np.isnan(floor.p_value)
    assert floor.absent_because


def test_the_newest_windows_are_looked_at():
    """A floor is to cost seconds, whatever the store holds."""
    dataset = dataset_of(simulated_rows())
    few = floor_rows(dataset, replace(DAILY, max_rows=100))

    assert len(few.label_N) == 100
    assert few.decided_at_N[-1] == dataset.table.decided_at_R[dataset.row_N].max()
    np.testing.assert_array_equal(few.features_NC[-1], dataset.table.features_RC[dataset.row_N[-1]])
    assert isinstance(POLICY, AuditPolicy)
