"""Where a network is trained: the plumbing everywhere, a GPU where there is one."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from clm.training.checkpoint import checkpoints_of
from clm.training.device import device_of
from clm.training.train import train_job
from clm.training.windows import HeldWindows, Part, Windows
from tests.builders import training_spec
from tests.training import jobs
from tests.training.conftest import train
from tests.training.jobs import read_job, write_job

CPU = torch.device("cpu")


def test_the_processor_is_taken_where_it_is_asked_for_and_where_there_is_nothing_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """`auto` is for a settings file that two kinds of machine share."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert device_of("cpu") == device_of("auto") == CPU


def test_windows_move_with_all_that_they_hold() -> None:
    """One tensor left behind is an error in the first batch; the windows say the same on either side."""
    plain = Windows(values_RC=torch.randn(20, 2), context_length=4)
    held = HeldWindows(
        values_RC=torch.randn(20, 3),
        context_length=4,
        end_N=torch.arange(3, 20),
        held_K=torch.tensor([2]),
        held_NK=torch.randn(17, 1),
    )
    row_B = torch.tensor([4, 5])
    for windows in (plain, held):
        moved = windows.to(CPU)
        assert type(moved) is type(windows)
        assert torch.equal(moved.gather(row_B), windows.gather(row_B))
        elsewhere = windows.to(torch.device("meta"))
        assert {
            value.device.type
            for name in windows.__dataclass_fields__
            if isinstance(value := getattr(elsewhere, name), torch.Tensor)
        } == {"meta"}
    part = Part(row_N=row_B, label_N=torch.ones(2)).to(torch.device("meta"))
    assert (part.row_N.device.type, part.label_N.device.type) == ("meta", "meta")


def test_the_notes_say_where_it_was_trained(tmp_path: Path) -> None:
    """Weights of two devices differ in their last bits."""
    trained = train(tmp_path, jobs.dataset(n_windows=150), spec=training_spec(epochs=1))
    assert trained.result.notes["device"] == "cpu"


@pytest.mark.needs_cuda
def test_a_gpu_trains_what_the_processor_serves(tmp_path: Path) -> None:
    """The same code: nearly the processor's weights, the same twice; its file is tried on the CPU."""
    dataset = jobs.dataset(n_windows=600)
    # Dropout draws from each device's own generator, and bf16 rounds three digits away.
    spec = training_spec(batch_size=32, epochs=3, patience=3, dropout=0.0, precision="fp32")
    on_cpu = train(tmp_path / "cpu", dataset, spec=spec).result
    first, again = (
        train(tmp_path / name, dataset, spec=replace(spec, device="cuda")).result for name in ("one", "two")
    )
    assert first.notes["device"] == torch.cuda.get_device_name()
    assert first.weights_hash == again.weights_hash
    assert first.notes["export_difference"] <= 1e-5  # type: ignore[operator]
    assert abs(first.p_candidate_N - on_cpu.p_candidate_N).mean() < 0.001
    assert np.corrcoef(first.p_candidate_N, on_cpu.p_candidate_N)[0, 1] > 0.999


@pytest.mark.needs_cuda
@pytest.mark.parametrize(
    ("asked", "told"), [("auto", "fp32"), ("bf16", "bf16 products (cuda), fp32 weights")]
)
def test_a_gpu_trains_in_either_precision_and_says_which(tmp_path: Path, asked: str, told: str) -> None:
    """With dropout, as by default: the same seed gives the same weights there, too."""
    spec = training_spec(batch_size=32, epochs=2, dropout=0.1, precision=asked, device="cuda")
    first, again = (
        train(tmp_path / name, jobs.dataset(n_windows=300), spec=spec).result for name in ("one", "two")
    )
    assert (first.notes["precision"], first.notes["linear_layers"]) == (told, "torch")
    assert first.weights_hash == again.weights_hash


@pytest.mark.needs_cuda
def test_a_training_on_a_gpu_goes_on_to_the_same_bits(tmp_path: Path) -> None:
    """Dropout draws from the GPU's own generator there."""
    dataset = jobs.dataset(n_windows=300)
    spec = training_spec(batch_size=32, epochs=4, patience=4, device="cuda")
    job = replace(jobs.job(tmp_path / "job", of=dataset, spec=spec), checkpoints=tmp_path / "kept")
    write_job(job, dataset)

    def cut(report: object) -> None:
        if report.epoch == 2:  # type: ignore[attr-defined]
            raise InterruptedError

    of = read_job(tmp_path / "job")
    with pytest.raises(InterruptedError):
        train_job(*of, cut, checkpoints_of(*of, lambda epoch: None))
    resumed = train_job(*of, lambda report: None, checkpoints_of(*of, lambda epoch: None))
    assert resumed.notes["checkpoints"] == {"network": "resumed after epoch 2"}
    assert resumed.weights_hash == train(tmp_path / "whole", dataset, spec=spec).result.weights_hash
