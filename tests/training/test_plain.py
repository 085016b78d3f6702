"""The plain models that every candidate is compared with."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from clm.evaluation.metrics import auroc, log_loss
from clm.questions.train import TrainingArrays
from clm.training import plain
from clm.training.plain import PlainScores, score_logistic, score_plain, score_trees
from tests.training import jobs

both = pytest.mark.parametrize("score", [score_logistic, score_trees])
Score = Callable[[TrainingArrays], PlainScores]


@both
def test_it_finds_what_lies_in_the_last_step(tmp_path: Path, score: Score) -> None:
    """A plain model that is no good makes every candidate look good."""
    dataset = jobs.dataset(n_windows=900)
    scores = score(jobs.arrays(dataset, tmp_path))
    label_N, split = dataset.label_N, dataset.split
    assert auroc(label_N[split.test], scores.p_test_N) > 0.8
    assert auroc(label_N[split.validation], scores.p_validation_N) > 0.8


@both
def test_it_is_fitted_without_the_test_part(tmp_path: Path, score: Score) -> None:
    """Labels of the test part must not reach it."""
    arrays = jobs.arrays(jobs.dataset(n_windows=900), tmp_path)
    wanted = score(arrays)
    arrays.label_N[arrays.test] = 1 - arrays.label_N[arrays.test]
    np.testing.assert_array_equal(score(arrays).p_test_N, wanted.p_test_N)
    np.testing.assert_array_equal(score(arrays).p_validation_N, wanted.p_validation_N)


def test_logistic_regression_has_nothing_to_choose(tmp_path: Path) -> None:
    """Labels of the validation part do not reach it either."""
    arrays = jobs.arrays(jobs.dataset(), tmp_path)
    wanted = score_logistic(arrays)
    arrays.label_N[arrays.validation] = 1 - arrays.label_N[arrays.validation]
    np.testing.assert_array_equal(score_logistic(arrays).p_test_N, wanted.p_test_N)


@both
def test_one_class_in_training_gives_its_share(tmp_path: Path, score: Score) -> None:
    """There is nothing to learn."""
    arrays = jobs.arrays(jobs.dataset(), tmp_path)
    only_wins = replace(arrays, label_N=np.ones_like(arrays.label_N))
    scores = score(only_wins)
    assert scores.p_test_N == pytest.approx(np.ones(len(arrays.test)))
    assert scores.p_validation_N == pytest.approx(np.ones(len(arrays.validation)))


def interaction(tmp_path: Path) -> TrainingArrays:
    """Return windows whose wins follow the product of two features, which no linear model sees."""
    arrays = jobs.arrays(jobs.dataset(n_windows=2000), tmp_path)
    last_NC = arrays.scaler.apply(arrays.last_steps(np.arange(len(arrays.row_N))))
    label_N = (last_NC[:, 0] * last_NC[:, 1] > 0).astype(np.int8)
    return replace(arrays, label_N=label_N)


def test_trees_see_what_no_line_shows(tmp_path: Path) -> None:
    """This is why there are two plain models."""
    arrays = interaction(tmp_path)
    scores = score_plain(arrays)
    label_N = arrays.label_N[arrays.test]
    assert auroc(label_N, scores["trees"].p_test_N) > 0.9 > 0.6 > auroc(label_N, scores["logistic"].p_test_N)


def test_the_validation_part_chooses_depth_and_rounds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The choice has the lowest validation log loss of all that were tried."""
    arrays = interaction(tmp_path)
    chosen = score_trees(arrays).chosen
    label_N, found = arrays.label_N[arrays.validation], {}
    for depth in plain.DEPTHS:
        for rounds in (5, int(chosen["rounds"]), plain.ROUNDS):
            with monkeypatch.context() as patched:
                patched.setattr(plain, "DEPTHS", (depth,))
                patched.setattr(plain, "_grown", lambda *_, at=(0.0, rounds, depth): at)
                found[depth, rounds] = log_loss(label_N, score_trees(arrays).p_validation_N)
    assert min(found, key=lambda name: found[name]) == (chosen["depth"], chosen["rounds"])
    assert found[chosen["depth"], chosen["rounds"]] == pytest.approx(chosen["validation_log_loss"])


def test_trees_are_the_same_on_any_number_of_threads(tmp_path: Path) -> None:
    """A run that is repeated on another server gives the same figures."""
    arrays = interaction(tmp_path)
    one = score_trees(arrays)
    with threadpool_limits(limits=2):
        two = score_trees(arrays)
    np.testing.assert_array_equal(one.p_test_N, two.p_test_N)
    assert one.chosen == two.chosen


def test_trees_of_a_large_store_see_a_sample_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A store of millions must cost neither minutes nor gigabytes."""
    arrays = interaction(tmp_path)
    seen: list[int] = []
    grow = plain._trees

    def spied(depth: int, rounds: int) -> object:
        trees = grow(depth, rounds)
        fit = trees.fit
        trees.fit = lambda x_NC, label_N: seen.append(len(x_NC)) or fit(x_NC, label_N)
        return trees

    monkeypatch.setattr(plain, "TREE_WINDOWS", 500)
    monkeypatch.setattr(plain, "_trees", spied)
    scores = score_trees(arrays)
    assert set(seen) == {500}
    assert len(scores.p_test_N) == len(arrays.test)
