"""Scaling, paid spread and ensembles: what the switches of a training promise."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from clm.data.scaling import fit_robust
from clm.models.catalogue import architecture
from clm.questions.train import TrainingArrays
from clm.training import ensemble, members
from clm.training.calibrate import fit_calibration
from clm.training.loop import fit
from clm.training.loss import ENOUGH_SPREAD, spread_term
from clm.training.members import Material
from clm.training.predict import logits, p_win
from clm.training.windows import part_of, scaled_windows, scaler_of
from tests.builders import training_spec
from tests.training import jobs
from tests.training.conftest import train


def test_the_spread_term_pays_for_width_and_not_for_being_right():
    """It does not use labels: the same predictions cost the same, whatever the outcome."""
    narrow, wide = torch.tensor([-0.1, 0.1] * 8), torch.tensor([-0.6, 0.6] * 8)
    assert spread_term(narrow) > spread_term(wide)
    assert float(spread_term(wide)) == pytest.approx(
        -math.log(float(torch.sigmoid(wide).std(correction=0))), abs=1e-4
    )


def test_the_spread_term_pays_no_more_than_enough():
    """Otherwise a dear term ends in answers of 0 and 1."""
    enough, extreme = torch.tensor([-2.0, 2.0] * 8), torch.tensor([-9.0, 9.0] * 8)
    assert spread_term(enough) == spread_term(extreme)
    assert float(spread_term(extreme)) == pytest.approx(-math.log(ENOUGH_SPREAD), abs=1e-4)


def test_the_spread_term_has_a_finite_gradient_where_all_answers_are_the_same():
    """A collapsed network is just where it is wanted."""
    logit_B = torch.zeros(4, requires_grad=True)
    spread_term(logit_B).backward()
    assert torch.isfinite(logit_B.grad).all()


def test_calibration_keeps_the_spread_that_the_training_paid_for():
    """Log loss alone would take it back where there is no skill; the order of answers never changes."""
    rng = np.random.default_rng(0)
    logit_N = rng.normal(size=4000)
    label_N = (rng.random(4000) < p_win(0.1 * logit_N)).astype(np.int8)  # hardly a signal
    plain, paid = (fit_calibration(logit_N, label_N, weight) for weight in (0.0, 0.1))

    def std(calibration) -> float:
        return p_win(calibration.slope * logit_N + calibration.intercept).std()

    assert std(plain) < 0.05 < 0.12 < std(paid)
    assert paid.slope > 0
    assert p_win(paid.slope * logit_N + paid.intercept).mean() == pytest.approx(label_N.mean(), abs=0.02)


def test_robust_scaling_is_not_moved_by_one_absurd_value():
    """A normal feature is scaled as by its deviation; a constant one stays as it is."""
    rng = np.random.default_rng(1)
    features = np.column_stack([5 + 2 * rng.normal(size=4000), np.full(4000, 3.0)])
    features[7, 0] = 1e9
    scaler = fit_robust(features)
    assert scaler.mean_C == pytest.approx([5, 3], abs=0.1)
    assert scaler.scale_C == pytest.approx([2, 1], abs=0.1)


@pytest.mark.parametrize(("scaling", "std"), [("standard", 1.0), ("robust", 1.0), ("none", 12.0)])
def test_training_windows_are_scaled_as_asked(tmp_path: Path, scaling: str, std: float):
    """The first feature has a deviation of 12."""
    arrays: TrainingArrays = jobs.arrays(jobs.dataset(), tmp_path)
    learnt = replace(arrays, scaler=scaler_of(arrays, scaling))
    windows = scaled_windows(learnt, n_channels=8, context_length=128)
    assert float(windows.values_RC[:, 0].std()) == pytest.approx(std, rel=0.15)


@pytest.mark.parametrize("scaling", ["robust", "none"])
def test_the_served_file_reads_raw_values_whatever_the_scaling(tmp_path: Path, scaling: str):
    """Folding is of the scaling that was asked for; the export checks itself against the trained network."""
    spec = training_spec(batch_size=64, epochs=1, scaling=scaling)
    trained = train(tmp_path, jobs.dataset(n_windows=160), spec=spec)
    assert trained.result.notes["export_difference"] <= 1e-5


def test_an_ensemble_of_one_is_the_plain_training(tmp_path: Path):
    """The switch costs nothing where it is off."""
    data, spec = jobs.dataset(n_windows=160), training_spec(batch_size=64, epochs=1)
    one = train(tmp_path / "one", data, spec=spec)
    same = train(tmp_path / "same", data, spec=replace(spec, ensemble=1))
    assert one.result.weights_hash == same.result.weights_hash


def test_an_ensemble_teaches_its_average_to_one_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Members of different seeds, one pupil that sees their mean and never a training label."""
    seen: list[tuple[int, torch.Tensor]] = []
    fitted = ensemble.fit

    def spy(model, windows, part, validation, spec, on_epoch, *rest):
        seen.append((spec.seed, part.label_N.clone()))
        return fitted(model, windows, part, validation, spec, on_epoch, *rest)

    monkeypatch.setattr(ensemble, "fit", spy)
    monkeypatch.setattr(members, "fit", spy)
    data = jobs.dataset(n_windows=160)
    trained = train(tmp_path, data, spec=training_spec(batch_size=64, epochs=1, ensemble=2))
    (first, hard), (second, _), (pupil, taught) = seen
    assert (first, second, pupil) == (7, 8, 7)
    assert set(hard.tolist()) == {0.0, 1.0}
    assert ((taught > 0) & (taught < 1)).all()
    assert len(torch.unique(taught)) > 10
    assert trained.result.n_parameters == 612_481
    assert len(trained.told) == 3


def test_the_pupil_begins_at_the_level_that_it_is_taught(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """It learns soft labels without class weights: a start that allows for them would be served."""
    arrays = jobs.arrays(jobs.dataset(), tmp_path)
    windows = scaled_windows(arrays, n_channels=8, context_length=128)
    train = part_of(arrays, arrays.train)
    some_N = torch.arange(len(train.row_N)) % 5 == 0
    mostly_won = replace(train, label_N=torch.where(some_N, train.label_N, 1.0))
    taught_N = mostly_won.label_N.numpy().astype(float)
    monkeypatch.setattr(ensemble, "train_members", lambda *_: [{"train": taught_N}] * 2)
    begun: list[float] = []

    def spy(model, windows, taught, *rest):
        begun.append(float(p_win(logits(model, windows, taught.row_N)).mean()))
        return fit(model, windows, taught, *rest)

    monkeypatch.setattr(ensemble, "fit", spy)
    spec = training_spec(epochs=1, ensemble=2, start="logistic")
    assert 0.8 < taught_N.mean() < 0.95
    parts = {"train": mostly_won, "validation": train}
    material = Material(architecture=architecture("engine"), windows=windows, parts=parts)
    ensemble.fit_candidate(material, spec, lambda report: None, tmp_path)
    assert begun == pytest.approx([taught_N.mean()], abs=0.03)
