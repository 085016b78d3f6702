"""Every architecture but the engine's, through a whole training: the engine's own tests are in test_run."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from clm.data.dataset import Dataset, build_dataset
from clm.data.windows import gather
from clm.domain.architecture import ENGINE
from clm.domain.job import TrainingSpec
from clm.domain.tuning import AS_SET, Trial, TuningJob
from clm.evaluation.metrics import log_loss_rows
from clm.models.catalogue import ARCHITECTURES, Architecture
from clm.models.scaling import linear_layer
from clm.serving.model import ServedModel
from clm.training.activations import activation_figures
from clm.training.export import weights_hash
from clm.training.measure import Subject, activations, overfit, saved_file
from clm.training.study import climb
from tests.builders import data_policy, training_spec
from tests.training import jobs
from tests.training.conftest import Trained, train

OTHERS = [chosen for chosen in ARCHITECTURES if chosen.name != ENGINE]


@pytest.fixture(scope="module", params=OTHERS, ids=lambda chosen: chosen.name)
def trained(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """Nine features, the fifth constant: more than the engine's network can take."""
    return train(tmp_path_factory.mktemp("trained"), nine_features(), spec=spec_of(request.param))


def nine_features() -> Dataset:
    eight = jobs.table(constant=4)
    ninth_R = np.random.default_rng(9).normal(7.0, 2.0, size=len(eight))
    nine = replace(
        eight,
        features_RC=np.column_stack([eight.features_RC, ninth_R]),
        feature_names=(*eight.feature_names, "ninth"),
    )
    return build_dataset(nine, data_policy())


def spec_of(chosen: Architecture) -> TrainingSpec:
    return training_spec(batch_size=32, epochs=2, architecture=chosen.name)


def raw(trained: Trained, part: np.ndarray) -> np.ndarray:
    return gather(trained.dataset.table.features_RC, trained.dataset.row_N[part], 128).astype(np.float32)


def served(trained: Trained) -> ServedModel:
    return ServedModel(trained.result.weights_path.read_bytes(), trained.job.spec.architecture, 9)


def test_the_served_file_repeats_the_judged_answers_from_raw_windows(trained: Trained) -> None:
    """Bit for bit what was trained on goes in, so the largest difference of an export is 0."""
    p_N = served(trained).p_win(raw(trained, trained.dataset.split.test))
    np.testing.assert_allclose(p_N, trained.result.p_candidate_N, rtol=0, atol=1e-6)
    assert trained.result.p_candidate_N.std() > 1e-3
    assert trained.result.notes["export_difference"] == 0.0


def test_it_is_as_wide_as_the_data(trained: Trained) -> None:
    """The ninth feature is read, the fifth, which never varied, is not: whatever is fed there."""
    assert trained.result.notes["silent_features"] == ["macd"]
    model, window_NLC = served(trained), raw(trained, trained.dataset.split.test)
    plain_N = model.p_win(window_NLC)
    silent_NLC, ninth_NLC = window_NLC.copy(), window_NLC.copy()
    silent_NLC[:, :, 4] = np.nan
    ninth_NLC[:, :, 8] = ninth_NLC[::-1, :, 8]
    np.testing.assert_array_equal(model.p_win(silent_NLC), plain_N)
    assert not np.allclose(model.p_win(ninth_NLC), plain_N)


def test_calibration_is_in_the_file(trained: Trained) -> None:
    """The file must answer as sharply, and at the same level, as what was judged on validation."""
    validation = trained.dataset.split.validation
    p_N = served(trained).p_win(raw(trained, validation))
    (best,) = (report for report in trained.result.epochs if report.epoch == trained.result.best_epoch)
    loss = log_loss_rows(trained.dataset.label_N[validation], p_N).mean()
    assert loss == pytest.approx(best.validation_log_loss, abs=1e-5)
    assert trained.result.notes["calibration"]["intercept"] != 0.0  # class weights moved the level


def test_the_same_seed_twice_gives_the_same_file(trained: Trained, tmp_path: Path) -> None:
    """A result that cannot be repeated cannot be examined."""
    again = train(tmp_path, nine_features(), spec=trained.job.spec)
    state = torch.load(again.result.weights_path, weights_only=True)["model_state_dict"]
    assert weights_hash(state) == again.result.weights_hash == trained.result.weights_hash
    assert again.result.file_sha256 == trained.result.file_sha256


def test_its_last_weights_can_be_averaged(trained: Trained, tmp_path: Path) -> None:
    """Its state holds a mask in addition to weights, and masks cannot be averaged."""
    spec = replace(trained.job.spec, epochs=4, patience=4, swa_from=0.4)
    averaged = train(tmp_path, nine_features(), spec=spec)
    assert [report.epoch for report in averaged.result.epochs] == [1, 2, 3, 4, 5]
    assert averaged.result.notes["export_difference"] == 0.0


def test_the_causes_of_a_rejection_can_be_measured(trained: Trained) -> None:
    """The child that measures builds the network of the file, with as many channels as it was trained on."""
    subject = Subject(job=trained.job, arrays=trained.arrays, epochs=trained.result.epochs)
    losses = saved_file(subject)
    assert losses["file_log_loss"] == pytest.approx(losses["reported_log_loss"], abs=1e-5)
    assert np.isfinite(list(activations(subject).values())).all()
    assert overfit(subject)["own_loss"] < 1.0


def test_other_settings_can_be_tried_for_it(trained: Trained) -> None:
    """After a rejection the tries train the same network as the run."""
    job = trained.job
    study = TuningJob(
        run_id=job.run_id,
        directory=job.directory,
        study="another",
        storage=job.directory / "tuning.db",
        spec=replace(job.spec, epochs=1),
        knobs=("learning_rate",),
        variants={AS_SET: job.directory},
        trials=1,
        budget_s=100.0,
    )
    kept: list[tuple[Trial, ...]] = []
    climb(study, kept.append)
    (trial,) = kept[-1]
    assert trial.state == "complete"


def test_the_probe_of_erased_levels_looks_into_every_architecture() -> None:
    """Where the audits were passed by, the diagnosis of the rejection says why: hooks see the layer."""
    generator = torch.Generator().manual_seed(2)
    level_B1C = 3.0 * torch.randn(64, 1, 8, generator=generator)
    x_BLC = level_B1C + torch.randn(64, 128, 8, generator=generator)
    for chosen in ARCHITECTURES:
        torch.manual_seed(1)
        figures = activation_figures(chosen.build(0.0), x_BLC)
        assert figures["static_share"] > 0.8
        assert (figures["static_kept"] < 0.01) == chosen.facts.erases_levels, chosen.name
        assert 0.0 <= figures["dead_share"] < 0.5, chosen.name


def test_units_that_never_answer_are_found_in_every_architecture() -> None:
    """The measurement goes by the name of a layer: one that is called otherwise would be healthy for ever."""
    x_BLC = torch.randn(16, 128, 8, generator=torch.Generator().manual_seed(2))
    for chosen in ARCHITECTURES:
        model = chosen.build(0.0)
        layers = [name for name, _ in model.named_modules() if name.endswith("linear1")]
        assert layers, chosen.name
        with torch.no_grad():
            for name in layers:
                linear_layer(model, name).bias.fill_(-1e6)
        assert activation_figures(model, x_BLC)["dead_share"] == 1.0, chosen.name
