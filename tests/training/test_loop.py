"""Fitting: which epoch, when to stop, what is not finite."""

import math
from collections.abc import Callable
from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn

from clm.domain.job import EpochReport, TrainingSpec
from clm.errors import TrainingError
from clm.evaluation.metrics import log_loss_rows
from clm.training import loop
from clm.training.calibrate import fit_calibration
from clm.training.fit_state import Story
from clm.training.loop import Fit, Part, fit, learning_rate_factor
from clm.training.loss import class_weights
from clm.training.predict import logits, p_win
from clm.training.windows import Windows
from tests.builders import training_spec

LENGTH = 4


class Linear(nn.Module):
    """The smallest network with the contract of an architecture: epochs take milliseconds."""

    linear_units = slice(-2, None)

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(LENGTH * 2, 1)

    def forward(self, x_BLC: Tensor) -> Tensor:
        logit_B: Tensor = self.layer(x_BLC.flatten(1)).squeeze(-1)
        return logit_B

    def start_linear(self, weight_C: Tensor) -> None:
        with torch.no_grad():
            self.layer.weight[0, self.linear_units] = weight_C


def world(*, flipped: bool = False) -> tuple[Windows, Part, Part]:
    """120 training and 60 validation windows; `flipped` validation labels get worse with every epoch."""
    generator = torch.Generator().manual_seed(2)
    values_RC = torch.randn(200, 2, generator=generator)
    label_R = (values_RC[:, 0] > 0).float()
    train, validation = torch.arange(10, 130), torch.arange(140, 200)
    return (
        Windows(values_RC=values_RC, context_length=LENGTH),
        Part(row_N=train, label_N=label_R[train]),
        Part(row_N=validation, label_N=1 - label_R[validation] if flipped else label_R[validation]),
    )


def run(
    spec: TrainingSpec,
    *,
    flipped: bool = False,
    seed: int = 1,
    on_epoch: Callable[[EpochReport], None] = lambda report: None,
) -> tuple[Fit, nn.Module]:
    torch.manual_seed(seed)
    model = Linear()
    return fit(model, *world(flipped=flipped), spec, on_epoch), model


def test_the_best_epoch_is_kept_and_not_the_last() -> None:
    """state_dict() hands out the living tensors: without a deep copy "best" silently becomes "last"."""
    fitted, model = run(training_spec(epochs=6, patience=6, learning_rate=0.3), flipped=True)
    windows, _, validation = world(flipped=True)
    best = min(fitted.epochs, key=lambda report: report.validation_log_loss)
    assert fitted.best_epoch == best.epoch < 6
    assert not torch.equal(fitted.state["layer.weight"], model.state_dict()["layer.weight"])
    model.load_state_dict(fitted.state)
    logit_N = logits(model, windows, validation.row_N)
    p_N = p_win(fitted.calibration.slope * logit_N + fitted.calibration.intercept)
    again = log_loss_rows(validation.label_N.numpy().astype("int8"), p_N).mean()
    assert again == pytest.approx(best.validation_log_loss, abs=1e-12)


def test_patience_ends_a_training_that_no_longer_gets_better() -> None:
    """Epochs after the best one are only paid for."""
    fitted, _ = run(training_spec(epochs=50, patience=3, learning_rate=0.1), flipped=True)
    assert len(fitted.epochs) == fitted.best_epoch + 3
    assert fitted.stopped_because == (
        f"no better validation log loss for 3 epochs after epoch {fitted.best_epoch}"
    )


def test_a_training_that_gets_better_runs_to_its_end() -> None:
    """Patience counts epochs without progress, not epochs."""
    fitted, _ = run(training_spec(epochs=5, patience=1, learning_rate=0.05))
    assert fitted.best_epoch == 5
    assert fitted.stopped_because == "all 5 epochs are done"


def test_every_epoch_is_told_as_it_ends() -> None:
    """The log and the status live on these."""
    told: list[EpochReport] = []
    fitted, _ = run(training_spec(epochs=3, patience=3), on_epoch=told.append)
    assert tuple(told) == fitted.epochs
    assert [report.epoch for report in told] == [1, 2, 3]
    assert told[0].best
    assert all(0 <= report.validation_auroc <= 1 for report in told)


def test_the_validation_loss_is_plain_and_of_the_calibrated_network() -> None:
    """Smoothing and weights would make it incomparable with the gates' log loss."""
    plain, _ = run(training_spec(epochs=1, label_smoothing=0.0, class_weights=False, learning_rate=1e-12))
    treated, _ = run(training_spec(epochs=1, label_smoothing=0.4, learning_rate=1e-12))
    assert treated.epochs[0].train_loss != pytest.approx(plain.epochs[0].train_loss, abs=1e-6)
    weights = class_weights(world()[1].label_N)
    for fitted, prior in ((plain, 0.0), (treated, math.log(weights[1] / weights[0]))):
        model, (windows, _, validation) = Linear(), world()
        model.load_state_dict(fitted.state)
        label_N = validation.label_N.numpy().astype("int8")
        logit_N = logits(model, windows, validation.row_N)
        p_N = p_win(fitted.calibration.slope * logit_N + fitted.calibration.intercept)
        assert fitted.calibration == fit_calibration(logit_N, label_N, prior=prior)
        assert fitted.epochs[0].validation_log_loss == pytest.approx(log_loss_rows(label_N, p_N).mean())
        assert fitted.epochs[0].validation_p_win_std == pytest.approx(p_N.std())


def test_the_same_seed_gives_the_same_weights_and_another_seed_others() -> None:
    """Order of the batches included."""
    (first, _), (again, _), (other, _) = (run(training_spec(batch_size=16, seed=seed)) for seed in (7, 7, 8))
    assert torch.equal(first.state["layer.weight"], again.state["layer.weight"])
    assert not torch.equal(first.state["layer.weight"], other.state["layer.weight"])


def test_the_average_is_one_more_epoch_and_taken_where_it_is_better() -> None:
    """Izmailov et al.: the mean of weights that wander about a minimum lies nearer to it than they do."""
    spec = training_spec(epochs=8, patience=8, batch_size=4, learning_rate=0.8, swa_from=0.5)
    told: list[EpochReport] = []
    fitted, model = run(spec, on_epoch=told.append)
    *trained, average = fitted.epochs
    assert [report.epoch for report in told] == list(range(1, 10))
    assert {report.epochs for report in told} == {9}
    assert math.isnan(average.train_loss)
    assert average.validation_log_loss < min(report.validation_log_loss for report in trained)
    assert average.best
    assert fitted.best_epoch == 9
    assert torch.equal(fitted.state["layer.weight"], model.state_dict()["layer.weight"])


def test_an_average_that_is_no_better_is_left() -> None:
    """The steps of the first half are still on their way: their mean lies behind the last of them."""
    fitted, _ = run(training_spec(epochs=4, patience=4, learning_rate=0.05, swa_from=0.01))
    assert fitted.best_epoch == 4
    assert not fitted.epochs[4].best


def test_the_average_is_the_mean_of_the_weights_after_each_of_its_epochs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Equal parts of each epoch behind the share, none of those before."""
    seen: list[Tensor] = []
    plain = Story.average_in

    def watched(story: Story, state: dict[str, Tensor]) -> None:
        plain(story, state)
        seen.append(state["layer.weight"].clone())

    monkeypatch.setattr(Story, "average_in", watched)
    _, model = run(training_spec(epochs=6, patience=6, batch_size=16, learning_rate=0.3, swa_from=0.5))
    assert len(seen) == 3
    torch.testing.assert_close(model.state_dict()["layer.weight"], torch.stack(seen).mean(dim=0))


def test_the_rate_stays_where_averaging_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    """A rate that fell to nothing would average what no longer moves."""
    rates: list[float] = []
    plain = torch.optim.AdamW.step

    def watched(optimizer: torch.optim.AdamW, *given: object) -> object:
        rates.append(optimizer.param_groups[0]["lr"])
        return plain(optimizer, *given)

    monkeypatch.setattr(torch.optim.AdamW, "step", watched)
    run(training_spec(epochs=10, patience=10, batch_size=12, learning_rate=1.0, swa_from=0.6))
    assert len(rates) == 100
    assert set(rates[60:]) == {learning_rate_factor(60, 100)}
    assert rates[59] > rates[60] > 0.1


def test_no_average_no_further_epoch() -> None:
    """By default nothing is averaged."""
    fitted, _ = run(training_spec(epochs=3, patience=3))
    assert [report.epochs for report in fitted.epochs] == [3, 3, 3]


def test_a_large_validation_part_is_judged_on_windows_spread_over_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An epoch must not grow with the store; the first and the last window are among those looked at."""
    monkeypatch.setattr(loop, "VALIDATION_WINDOWS", 7)
    windows, train, validation = world()
    asked: list[Tensor] = []
    plain = loop.logits

    def watched(model: nn.Module, of: Windows, row_N: Tensor) -> object:
        asked.append(row_N)
        return plain(model, of, row_N)

    monkeypatch.setattr(loop, "logits", watched)
    fit(Linear(), windows, train, validation, training_spec(epochs=2), lambda report: None)
    assert [len(row_N) for row_N in asked] == [7, 7]
    assert {int(asked[0][0]), int(asked[0][-1])} == {140, 199}
    few = validation.spread(7)
    assert torch.equal(few.row_N, asked[0])
    assert torch.equal(few.label_N, validation.label_N[few.row_N - 140])


def test_the_last_incomplete_batch_trains_too() -> None:
    """A training part smaller than the batch size would otherwise learn nothing."""
    fitted, model = run(training_spec(epochs=1, batch_size=100_000, learning_rate=0.1))
    torch.manual_seed(1)
    assert not torch.equal(model.layer.weight, Linear().layer.weight)  # type: ignore[union-attr]
    assert math.isfinite(fitted.epochs[0].train_loss)


class Recorded:
    """Windows that remember what was asked for while the network trained."""

    def __init__(self, windows: Windows, model: nn.Module) -> None:
        self._windows, self._model = windows, model
        self.rows: list[int] = []

    def gather(self, row_B: Tensor) -> Tensor:
        if self._model.training:
            self.rows += row_B.tolist()
        return self._windows.gather(row_B)


@pytest.mark.parametrize("at_most", [50, 120, 8192])
def test_every_window_is_seen_once_before_any_is_seen_again(
    monkeypatch: pytest.MonkeyPatch, at_most: int
) -> None:
    """An epoch of a large store is a part of it; the next goes on where it ended."""
    monkeypatch.setattr(loop, "EPOCH_WINDOWS", at_most)
    windows, train, validation = world()
    model = Linear()
    recorded = Recorded(windows, model)
    spec = training_spec(epochs=6, patience=6, batch_size=16)
    fit(model, recorded, train, validation, spec, lambda report: None)  # type: ignore[arg-type]
    assert len(recorded.rows) == 6 * min(at_most, len(train.row_N))
    passes = [recorded.rows[start : start + 120] for start in range(0, len(recorded.rows), 120)]
    assert all(len(set(rows)) == len(rows) for rows in passes)
    assert passes[0] != sorted(passes[0])
    assert set(recorded.rows) <= set(train.row_N.tolist())


def test_the_learning_rate_rises_then_falls_to_nothing() -> None:
    """Warm-up keeps the first steps of a transformer small, the end settles."""
    factors = [learning_rate_factor(step, 100) for step in range(101)]
    assert factors[0] < 0.1
    assert max(factors) == pytest.approx(1.0)
    assert factors.index(max(factors)) == 10
    assert factors[100] == pytest.approx(0.0, abs=1e-9)
    assert all(earlier > later for earlier, later in pairwise(factors[10:]))


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_e9_a_feature_that_is_not_finite_stops_training_at_once(value: float) -> None:
    """NaN spreads over all weights in one step; a NaN model must not even be finished."""
    windows, train, validation = world()
    windows.values_RC[50, 1] = value
    told: list[EpochReport] = []
    with pytest.raises(TrainingError, match="training loss at step") as caught:
        fit(Linear(), windows, train, validation, training_spec(batch_size=16), told.append)
    assert caught.value.code == "NAN_LOSS"
    assert told == []


def test_e9_weights_that_explode_stop_training() -> None:
    """The features are clean, the learning rate is not."""
    with pytest.raises(TrainingError) as caught:
        run(training_spec(epochs=3, batch_size=16, learning_rate=1e38))
    assert caught.value.code == "NAN_LOSS"


def test_e9_a_validation_loss_that_is_not_finite_stops_training() -> None:
    """Comparisons with NaN are false: the epoch would silently never be the best."""
    windows, train, validation = world()
    windows.values_RC[190, 0] = math.nan
    with pytest.raises(TrainingError, match="validation logits of epoch 1") as caught:
        fit(Linear(), windows, train, validation, training_spec(), lambda report: None)
    assert caught.value.code == "NAN_LOSS"
