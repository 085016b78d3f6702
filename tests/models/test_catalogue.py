"""One battery for every architecture; a new one is covered as soon as it is listed."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from clm.data.scaling import Scaler
from clm.domain.architecture import KNOWN
from clm.errors import TrainingError
from clm.models.catalogue import ARCHITECTURES, Architecture, architecture
from clm.models.engine import EngineConfig, EngineNetwork
from clm.models.patchtst import PatchTST, PatchTSTConfig
from clm.models.patchtst_mix import MixConfig, PatchTSTMix
from clm.models.scaling import linear_layer
from clm.training.calibrate import Calibration, fold_calibration

ENGINE_KEYS = {
    "pos_encoding": (1, 8, 128),
    "patch_embedding.weight": (128, 128),
    "patch_embedding.bias": (128,),
    "output_proj.weight": (1, 128),
    "output_proj.bias": (1,),
    **{
        f"transformer.layers.{layer}.{name}": shape
        for layer in range(3)
        for name, shape in {
            "self_attn.in_proj_weight": (384, 128),
            "self_attn.in_proj_bias": (384,),
            "self_attn.out_proj.weight": (128, 128),
            "self_attn.out_proj.bias": (128,),
            "linear1.weight": (512, 128),
            "linear1.bias": (512,),
            "linear2.weight": (128, 512),
            "linear2.bias": (128,),
            "norm1.weight": (128,),
            "norm1.bias": (128,),
            "norm2.weight": (128,),
            "norm2.bias": (128,),
        }.items()
    },
}


def built(chosen: Architecture, *, seed: int = 3, dropout: float = 0.0) -> nn.Module:
    torch.manual_seed(seed)
    return chosen.build(dropout)


def raw_scale(chosen: Architecture) -> Scaler:
    """Means and deviations as raw features have them: ratios and prices side by side."""
    return Scaler(
        mean_C=np.linspace(-2.0, 300.0, chosen.n_features),
        scale_C=np.geomspace(0.01, 40.0, chosen.n_features),
    )


def windows(chosen: Architecture, n: int = 6) -> Tensor:
    generator = torch.Generator().manual_seed(11)
    return torch.randn(n, chosen.context_length, chosen.n_features, generator=generator)


@pytest.mark.parametrize("chosen", ARCHITECTURES, ids=lambda chosen: chosen.name)
class TestEveryArchitecture:
    def test_one_logit_a_window(self, chosen: Architecture) -> None:
        """The loss, the calibration and the engine read one number a window."""
        logit_B = built(chosen)(windows(chosen))
        assert logit_B.shape == (6,)
        assert logit_B.dtype == torch.float32

    def test_the_same_seed_draws_the_same_weights(self, chosen: Architecture) -> None:
        """Reproducible training begins with a reproducible start."""
        first, again, other = (built(chosen, seed=seed).state_dict() for seed in (3, 3, 4))
        assert all(torch.equal(first[name], again[name]) for name in first)
        assert any(not torch.equal(first[name], other[name]) for name in first)

    def test_a_state_dict_survives_the_round_trip(self, chosen: Architecture) -> None:
        """What is exported is all there is: no behaviour hides outside the state dict."""
        model, copy = built(chosen, seed=3).eval(), built(chosen, seed=4).eval()
        copy.load_state_dict(model.state_dict(), strict=True)
        assert torch.equal(model(windows(chosen)), copy(windows(chosen)))

    def test_it_learns_as_it_serves(self, chosen: Architecture) -> None:
        """Training may compute in another way; without dropout it has to be the same, gradients included."""
        model = built(chosen)
        logits = {}
        for mode in (True, False):
            model.train(mode).zero_grad()
            logits[mode] = model(windows(chosen))
            logits[mode].pow(2).sum().backward()
            logits[mode, "gradient"] = torch.cat([p.grad.flatten() for p in model.parameters()])
        torch.testing.assert_close(logits[True], logits[False], rtol=0, atol=1e-6)
        scale = float(logits[False, "gradient"].abs().max())
        torch.testing.assert_close(
            logits[True, "gradient"], logits[False, "gradient"], rtol=0, atol=1e-5 * scale
        )

    def test_half_precision_is_of_its_products_alone(self, chosen: Architecture) -> None:
        """Logit and gradients stay in fp32, and near what fp32 gives: the processor must not decide."""
        model = built(chosen)
        wanted_B = model(windows(chosen))
        with torch.autocast("cpu", torch.bfloat16):
            logit_B = model(windows(chosen))
        assert logit_B.dtype == torch.float32
        torch.testing.assert_close(logit_B, wanted_B, rtol=0, atol=0.03)
        assert not torch.equal(logit_B, wanted_B)
        logit_B.sum().backward()
        assert {p.grad.dtype for p in model.parameters() if p.grad is not None} == {torch.float32}

    def test_every_parameter_gets_a_gradient(self, chosen: Architecture) -> None:
        """A parameter without one is dead weight that the engine would load all the same."""
        model = built(chosen)
        model(windows(chosen)).pow(2).sum().backward()
        dead = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
        assert dead == []

    def test_a_window_is_answered_alone_as_in_a_batch(self, chosen: Architecture) -> None:
        """The engine asks for one window, the gates were computed on batches."""
        model = built(chosen).eval()
        with torch.inference_mode():
            together = model(windows(chosen))
            alone = torch.cat([model(one[None]) for one in windows(chosen)])
        torch.testing.assert_close(together, alone, atol=1e-6, rtol=0)

    def test_every_step_and_channel_counts(self, chosen: Architecture) -> None:
        """A window whose beginning is cut off would train and serve without anybody noticing."""
        x_BLC = windows(chosen, 2).requires_grad_()
        built(chosen).eval()(x_BLC).sum().backward()
        assert x_BLC.grad is not None
        assert (x_BLC.grad.abs() > 0).all()

    def test_dropout_acts_in_training_only(self, chosen: Architecture) -> None:
        """Served answers must not be random."""
        model = built(chosen, dropout=0.5)
        model.train()
        assert not torch.equal(model(windows(chosen)), model(windows(chosen)))
        model.eval()
        assert torch.equal(model(windows(chosen)), model(windows(chosen)))

    def test_folded_it_reads_raw_windows_as_it_read_scaled_ones(self, chosen: Architecture) -> None:
        """The gates judged answers to scaled windows, the engine feeds raw ones."""
        model, scaler, live_C = built(chosen).eval(), raw_scale(chosen), np.ones(8, dtype=np.bool_)
        scaled_BLC = windows(chosen)
        raw_BLC = (scaled_BLC.double() * torch.tensor(scaler.scale_C) + torch.tensor(scaler.mean_C)).float()
        with torch.inference_mode():
            wanted_B = model(scaled_BLC)
            assert not torch.allclose(model(raw_BLC), wanted_B, rtol=0, atol=1e-3)
            chosen.fold_scaling(model, scaler, live_C)
            torch.testing.assert_close(model(raw_BLC), wanted_B, rtol=0, atol=1e-4)

    def test_folded_it_ignores_channels_that_were_silent(self, chosen: Architecture) -> None:
        """An engine may feed there what it likes; no weight of it was ever learnt."""
        model, live_C = built(chosen).eval(), np.arange(8) != 5
        chosen.fold_scaling(model, raw_scale(chosen), live_C)
        quiet_BLC = windows(chosen)
        loud_BLC = quiet_BLC.clone()
        loud_BLC[:, :, 5] = 1e6
        with torch.inference_mode():
            assert torch.equal(model(loud_BLC), model(quiet_BLC))
            if chosen.facts.fixed_channels is None:
                loud_BLC[:, :, 5] = torch.inf  # zero times this would be no number
                assert torch.equal(model(loud_BLC), model(quiet_BLC))

    def test_it_is_as_wide_as_the_data_where_it_can_be(self, chosen: Architecture) -> None:
        """Features beyond eight are of use only to a network that is built for them."""
        facts = chosen.facts
        for n_features in (1, 5, facts.max_features):
            sized = chosen.sized(n_features)
            assert sized.n_features == (facts.fixed_channels or n_features)
            assert built(sized).eval()(windows(sized)).shape == (6,)
        with pytest.raises(TrainingError, match=f"takes at most {facts.max_features} features"):
            chosen.sized(facts.max_features + 1)

    def test_its_calibration_scales_all_of_the_logit(self, chosen: Architecture) -> None:
        """A path around the last layer would go uncalibrated."""
        model = built(chosen).eval()
        with torch.inference_mode():
            logit_B = model(windows(chosen))
            fold_calibration(linear_layer(model, chosen.output_layer), Calibration(slope=2.0, intercept=-0.5))
            torch.testing.assert_close(model(windows(chosen)), 2.0 * logit_B - 0.5, rtol=0, atol=1e-5)

    def test_what_is_said_of_levels_is_true(self, chosen: Architecture) -> None:
        """The audits refuse static inputs where they would be erased, and there alone."""
        model = built(chosen).eval()
        x_BLC = windows(chosen)
        lifted_BLC = x_BLC + torch.linspace(-1, 1, 8)
        with torch.inference_mode():
            moved = float((model(lifted_BLC) - model(x_BLC)).abs().max())
        assert (moved < 1e-5) == chosen.facts.erases_levels

    def test_its_last_layer_is_linear(self, chosen: Architecture) -> None:
        """The calibration is folded into it."""
        assert linear_layer(built(chosen), chosen.output_layer).out_features == 1


def test_the_engine_has_612481_parameters_under_the_engines_names() -> None:
    """The engine loads with strict=False: a wrong name would silently serve random weights."""
    state = built(architecture("engine")).state_dict()
    assert {name: tuple(tensor.shape) for name, tensor in state.items()} == ENGINE_KEYS
    assert sum(tensor.numel() for tensor in state.values()) == 612_481


def test_the_layers_of_the_encoder_start_differently() -> None:
    """torch clones one layer; layers that start alike learn alike at first."""
    state = built(architecture("engine")).state_dict()
    first, second = (state[f"transformer.layers.{layer}.linear1.weight"] for layer in (0, 1))
    assert not torch.equal(first, second)


def test_every_known_architecture_has_a_network() -> None:
    """Settings and audits use facts without torch; an architecture that passes them can be trained."""
    assert [chosen.name for chosen in ARCHITECTURES] == list(KNOWN)
    assert all(chosen.facts is KNOWN[chosen.name] for chosen in ARCHITECTURES)
    assert [chosen.name for chosen in ARCHITECTURES if chosen.facts.loads_in("existing")] == ["engine"]


def test_the_document_tells_every_architecture_with_its_size() -> None:
    """Operators choose an architecture from this page."""
    document = (Path(__file__).parents[2] / "docs/explanation/models.md").read_text(encoding="utf-8")
    told = re.findall(r"^\| `([a-z-]+)` \| ([\d,]{5,}) \| (\d+) \|", document, re.MULTILINE)
    assert told == [
        (
            chosen.name,
            f"{sum(p.numel() for p in built(chosen).parameters()):,}",
            str(chosen.facts.max_features),
        )
        for chosen in ARCHITECTURES
    ]


def test_patchtst_sees_channels_apart_and_has_the_papers_patches() -> None:
    """What makes it PatchTST: no weight knows which channel it reads, but for those of the head."""
    model = PatchTST(PatchTSTConfig(n_channels=8)).eval()
    assert model.config.n_patches == 16  # floor((128 - 16) / 8) + 2, the last one padded
    x_BLC = windows(architecture("patchtst"))
    order = [1, 0, 2, 3, 4, 5, 6, 7]
    head = model.output_proj.weight.view(8, -1)
    with torch.inference_mode():
        wanted_B = model(x_BLC)
        assert not torch.allclose(model(x_BLC[:, :, order]), wanted_B, atol=1e-3)
        head.copy_(head[order].clone())
        torch.testing.assert_close(model(x_BLC[:, :, order]), wanted_B, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    "switched",
    [
        {"mix_channels": False},
        {"last_step": False},
        {"last_step_hidden": 12},
        {"static_token": False},
        {"attention_pooling": False},
        {"pre_norm": False},
        {"patch_stride": 16},
    ],
    ids=lambda switched: next(iter(switched)),
)
def test_every_part_of_ours_can_be_switched(switched: dict[str, object]) -> None:
    """An ablation is a config, and every parameter of it learns."""
    torch.manual_seed(3)
    whole = PatchTSTMix(MixConfig(n_channels=8)).eval()
    torch.manual_seed(3)
    other = PatchTSTMix(MixConfig(n_channels=8, **switched)).eval()  # type: ignore[arg-type]
    x_BLC = windows(architecture("patchtst-mix"))
    assert other(x_BLC).shape == (6,)
    assert not torch.allclose(other(x_BLC), whole(x_BLC))
    other(x_BLC).pow(2).sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in other.parameters())


def test_patches_that_would_lose_the_newest_steps_are_refused() -> None:
    """The newest step says most."""
    with pytest.raises(ValueError, match="the newest steps would be lost"):
        _ = MixConfig(n_channels=8, patch_stride=10).n_patches


def test_an_unknown_architecture_is_named_with_the_known_ones() -> None:
    """A mistyped setting ends in one line that says what to write."""
    with pytest.raises(TrainingError, match=r"ARCHITECTURE_UNKNOWN: .*'engin'.*engine") as caught:
        architecture("engin")
    assert caught.value.code == "ARCHITECTURE_UNKNOWN"


def test_a_window_without_a_whole_number_of_patches_is_refused() -> None:
    """A remainder would silently lose the newest steps."""
    with pytest.raises(ValueError, match="100 steps"):
        EngineNetwork(EngineConfig(context_length=100))


def test_a_layer_that_is_not_linear_cannot_take_a_fold() -> None:
    """The catalogue names the layers in words; a wrong word must not fold anything."""
    with pytest.raises(TypeError, match="transformer is TransformerEncoder"):
        linear_layer(built(architecture("engine")), "transformer")
