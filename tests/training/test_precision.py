"""bf16 products: what they may change, what they may not, and what is said about them."""

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from clm.errors import TrainingError
from clm.models.catalogue import architecture
from clm.training import loop, precision
from clm.training.predict import logits
from clm.training.windows import Part, Windows
from tests.builders import training_spec
from tests.training import jobs
from tests.training.conftest import Trained, train

SHARE = 0.1
"""Of the distance in P(WIN) between two fp32 trainings that differ in their seed alone."""


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Trained]:
    """The same job in both precisions."""
    data = jobs.dataset()
    return {
        name: train(
            tmp_path_factory.mktemp(name),
            data,
            spec=training_spec(batch_size=32, epochs=2, dropout=0.0, precision=name),
        )
        for name in ("bf16", "fp32")
    }


def test_bf16_trains_nearly_the_same_network(both: dict[str, Trained], tmp_path: Path) -> None:
    """Another rounding, no other model: it moves answers by less than another seed does."""
    p_bf16, p_fp32 = (both[name].result.p_candidate_N for name in ("bf16", "fp32"))
    other_seed = training_spec(batch_size=32, epochs=2, dropout=0.0, precision="fp32", seed=8)
    p_other = train(tmp_path, both["fp32"].dataset, spec=other_seed).result.p_candidate_N
    assert 0 < np.abs(p_bf16 - p_fp32).mean() < SHARE * np.abs(p_other - p_fp32).mean()


def test_the_served_file_is_judged_and_checked_in_fp32(both: dict[str, Trained]) -> None:
    """The engine computes in fp32: a score that only bf16 gives will never be served."""
    for trained in both.values():
        assert trained.result.notes["export_difference"] < 1e-5
        weights = torch.load(trained.result.weights_path, weights_only=True)["model_state_dict"]
        assert {tensor.dtype for tensor in weights.values()} == {torch.float32}
    assert float(both["bf16"].result.notes["export_difference"]) < 1e-6


@pytest.mark.parametrize("name", ["bf16", "fp32"])
def test_the_same_seed_gives_the_same_weights_in_either_precision(
    both: dict[str, Trained], name: str, tmp_path: Path
) -> None:
    """A result that cannot be repeated cannot be examined."""
    again = train(tmp_path, both[name].dataset, spec=both[name].job.spec)
    assert again.result.weights_hash == both[name].result.weights_hash
    assert both["bf16"].result.weights_hash != both["fp32"].result.weights_hash


def test_master_weights_gradients_and_the_optimiser_stay_in_fp32() -> None:
    """A step is a thousandth of a weight: in bf16, which has eight bits, it would be rounded away."""
    model, seen = architecture("engine").build(0.1), set()
    values_RC = torch.randn(160, 8)
    part = Part(row_N=torch.arange(127, 159), label_N=(torch.rand(32) > 0.5).float())
    kept: list[torch.optim.Optimizer] = []
    step = torch.optim.AdamW.step

    def spied(optimizer: torch.optim.AdamW) -> None:
        seen.update(p.grad.dtype for p in model.parameters())
        step(optimizer)
        kept.append(optimizer)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.optim.AdamW, "step", spied)
        spec = training_spec(epochs=1, precision="bf16")
        loop.fit(model, Windows(values_RC=values_RC, context_length=128), part, part, spec, lambda _: None)
    state = [tensor for moments in kept[0].state.values() for tensor in moments.values()]
    assert {*seen, *(p.dtype for p in model.parameters()), *(tensor.dtype for tensor in state)} == {
        torch.float32
    }


def test_the_logit_of_the_engine_network_is_of_fp32_also_while_it_learns() -> None:
    """Of bf16 it would have three digits, and so would the loss that each step goes down."""
    model = architecture("engine").build(0.0)
    with torch.autocast("cpu", torch.bfloat16):
        assert model(torch.randn(2, 128, 8)).dtype == torch.float32


def test_only_learning_is_in_bf16() -> None:
    """Validation chooses the epoch: by answers of three digits it would choose among ties."""
    seen: dict[bool, set[torch.dtype]] = {True: set(), False: set()}

    class Spied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner, self.last = nn.Linear(8, 4), nn.Linear(4, 1)

        def forward(self, x_BLC: Tensor) -> Tensor:
            inner = self.inner(x_BLC[:, -1])
            seen[self.training].add(inner.dtype)
            logit_B: Tensor = self.last(inner).squeeze(-1)
            return logit_B

    windows = Windows(values_RC=torch.randn(60, 8), context_length=4)
    part = Part(row_N=torch.arange(10, 60), label_N=(torch.rand(50) > 0.5).float())
    model = Spied()
    loop.fit(model, windows, part, part, training_spec(precision="bf16"), lambda _: None)
    assert seen == {True: {torch.bfloat16}, False: {torch.float32}}
    assert logits(model, windows, part.row_N).dtype == np.float64


def test_the_proof_pack_says_what_was_in_use(both: dict[str, Trained]) -> None:
    """Who repeats a run has to know."""
    assert both["fp32"].result.notes["precision"] == "fp32"
    assert str(both["bf16"].result.notes["precision"]).startswith("bf16 products (")


@pytest.mark.parametrize(
    ("has", "chosen", "told"),
    [
        ({"avx512_bf16": True, "amx_bf16": False}, "bf16", "bf16 products (avx512_bf16), fp32 weights"),
        ({"avx512_bf16": True, "amx_bf16": True}, "bf16", "bf16 products (amx_bf16), fp32 weights"),
        ({"avx512_bf16": False, "avx2": True}, "fp32", "fp32"),
        ({}, "fp32", "fp32"),
    ],
)
def test_auto_takes_bf16_where_the_processor_has_it(
    monkeypatch: pytest.MonkeyPatch, has: dict[str, bool], chosen: str, told: str
) -> None:
    """Emulated it is slower than fp32."""
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: has)
    assert (precision.chosen("auto"), precision.described("auto")) == (chosen, told)
    assert [precision.chosen(asked) for asked in ("bf16", "fp32")] == ["bf16", "fp32"]


def test_auto_is_fp32_on_a_gpu_whatever_the_processor_has(monkeypatch: pytest.MonkeyPatch) -> None:
    """The network is so small there that casts cost more than products gain."""
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"amx_bf16": True})
    gpu = torch.device("cuda")
    assert [precision.chosen(asked, gpu) for asked in precision.PRECISIONS] == ["fp32", "bf16", "fp32"]
    assert precision.described("bf16", gpu) == "bf16 products (cuda), fp32 weights"


def test_bf16_where_it_is_emulated_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody asked for it, and wonders why it takes so long."""
    monkeypatch.setattr(torch.cpu, "get_capabilities", dict)
    assert "emulated" in precision.described("bf16")


def test_a_precision_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    """It would silently be one of the two."""
    with pytest.raises(TrainingError, match=r"JOB_UNREADABLE: .*fp16.*bf16"):
        train(tmp_path, jobs.dataset(n_windows=160), spec=training_spec(precision="fp16"))


@pytest.mark.parametrize("bad", [1, 15, 16, 17, 40, 41])
def test_e9_the_error_names_the_first_step_whose_loss_is_no_number(
    monkeypatch: pytest.MonkeyPatch, bad: int
) -> None:
    """Losses are checked every few steps, but the error names the first bad step."""
    steps = itertools.count(1)
    taken = []

    def loss(logit_B: Tensor, *_: object, **__: object) -> Tensor:
        taken.append(step := next(steps))
        return logit_B.sum() * (float("nan") if step >= bad else 1.0)

    monkeypatch.setattr(loop, "weighted_loss", loss)
    windows = Windows(values_RC=torch.randn(60, 8), context_length=4)
    part = Part(row_N=torch.arange(10, 51), label_N=(torch.rand(41) > 0.5).float())
    network = nn.Sequential(nn.Flatten(), nn.Linear(32, 1), nn.Flatten(0))
    with pytest.raises(TrainingError, match=f"NAN_LOSS: the training loss at step {bad} of epoch 1 is nan"):
        loop.fit(network, windows, part, part, training_spec(batch_size=1), lambda _: None)
    assert len(taken) < bad + 20
