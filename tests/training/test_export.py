"""The served file."""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from clm.data.scaling import Scaler
from clm.errors import ArtefactError, TrainingError
from clm.models.catalogue import architecture
from clm.models.scaling import fold_scaling
from clm.training.export import load_served, require_agreement, save_served, weights_hash


def engine(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return architecture("engine").build(0.0).eval()


def test_the_folded_layer_reads_raw_values_as_the_plain_one_reads_scaled() -> None:
    """The engine does not scale its input; rsi around 50 and returns around 0.001 stand side by side."""
    scaler = Scaler(mean_C=np.array([50.0, 0.0001, 600.0]), scale_C=np.array([12.0, 0.001, 40.0]))
    layer = nn.Linear(4 * 3, 5)
    raw_BLC = scaler.mean_C + scaler.scale_C * np.random.default_rng(1).normal(size=(6, 4, 3))
    scaled = torch.from_numpy(scaler.apply(raw_BLC)).float().flatten(1)
    wanted = layer(scaled).detach()
    fold_scaling(layer, scaler, np.array([True, True, True]))
    torch.testing.assert_close(layer(torch.from_numpy(raw_BLC).float().flatten(1)), wanted, atol=1e-5, rtol=0)


def test_columns_of_channels_without_a_feature_are_exactly_zero() -> None:
    """Whatever the engine feeds there, even 1e30, the answer is the same."""
    layer = nn.Linear(4 * 3, 5)
    fold_scaling(
        layer, Scaler(mean_C=np.array([1.0]), scale_C=np.array([2.0])), np.array([True, False, False])
    )
    by_step = layer.weight.detach().reshape(5, 4, 3)
    assert (by_step[:, :, 1:] == 0).all()
    assert (by_step[:, :, 0] != 0).all()


def test_the_file_loads_without_running_code_and_with_every_key(tmp_path: Path) -> None:
    """A pickle that needs weights_only=False could run anything."""
    data = save_served(engine(), tmp_path / "model.pth")
    assert (tmp_path / "model.pth").read_bytes() == data
    document = torch.load(tmp_path / "model.pth", weights_only=True)
    assert list(document) == ["model_state_dict"]
    engine(1).load_state_dict(document["model_state_dict"], strict=True)


def test_the_same_weights_give_the_same_bytes(tmp_path: Path) -> None:
    """The file's hash then shows whether anything changed, whatever its name."""
    assert save_served(engine(), tmp_path / "a.pth") == save_served(engine(), tmp_path / "b.pth")


@pytest.mark.parametrize("wrapped", [True, False])
def test_both_forms_of_a_file_load(wrapped: bool) -> None:
    """Champions from before us may be bare state dicts."""
    state = engine(4).state_dict()
    buffer = io.BytesIO()
    torch.save({"model_state_dict": state} if wrapped else state, buffer)
    model = engine(5)
    load_served(model, buffer.getvalue())
    assert weights_hash(model.state_dict()) == weights_hash(state)


class Malicious:
    """Would create a file while being unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return Path.touch, (self.path,)


def stored(document: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(document, buffer)
    return buffer.getvalue()


def without(name: str) -> dict[str, torch.Tensor]:
    return {key: tensor for key, tensor in engine().state_dict().items() if key != name}


@pytest.mark.parametrize(
    "make",
    [
        lambda _: b"",
        lambda _: b"no model",
        lambda _: stored(engine().state_dict())[:5000],
        lambda _: stored([1, 2, 3]),
        lambda _: stored({"model_state_dict": 7}),
        lambda trap: stored(Malicious(trap)),
        lambda _: stored(without("output_proj.bias")),
        lambda _: stored({**engine().state_dict(), "surplus": torch.zeros(1)}),
        lambda _: stored({**engine().state_dict(), "output_proj.bias": torch.zeros(2)}),
        lambda _: stored({**engine().state_dict(), "output_proj.bias": torch.tensor([float("nan")])}),
    ],
    ids=["empty", "text", "torn", "list", "number", "code", "key-lost", "key-more", "shape", "nan"],
)
def test_a_file_that_is_not_exactly_this_architecture_is_refused(
    tmp_path: Path, make: Callable[[Path], bytes]
) -> None:
    """With strict=False each of these would serve random weights, or run what somebody put there."""
    trap = tmp_path / "sprung"
    with pytest.raises(ArtefactError) as caught:
        load_served(engine(), make(trap))
    assert caught.value.code == "MODEL_UNREADABLE"
    assert not trap.exists()


def test_the_weights_hash_sees_values_names_and_shapes() -> None:
    """Two models have one hash only if they are one model."""
    state = {"a": torch.zeros(2, 3), "b": torch.ones(1)}
    hashes = {
        weights_hash(state),
        weights_hash({**state, "a": torch.zeros(3, 2)}),
        weights_hash({**state, "b": torch.ones(1) + 1e-6}),
        weights_hash({"a": state["a"], "c": state["b"]}),
        weights_hash({**state, "a": torch.zeros(2, 3, dtype=torch.int32)}),
    }
    assert len(hashes) == 5
    assert weights_hash(dict(reversed(state.items()))) == weights_hash(state)


@pytest.mark.parametrize("wrong", [2e-5, np.nan])
def test_an_export_that_answers_otherwise_is_refused(wrong: float) -> None:
    """The gates would judge one model and the engine serve another."""
    p_N = np.array([0.2, 0.6])
    with pytest.raises(TrainingError) as caught:
        require_agreement(p_N, p_N + np.array([0.0, wrong]))
    assert caught.value.code == "EXPORT_MISMATCH"


def test_an_export_within_the_tolerance_reports_its_difference() -> None:
    """The proof pack shows it."""
    assert require_agreement(np.array([0.2]), np.array([0.2 + 5e-6])) == pytest.approx(5e-6)
