"""One battery for every architecture; a new one is covered as soon as it is listed."""

import pytest
import torch
from torch import Tensor, nn

from clm.errors import TrainingError
from clm.models.catalogue import ARCHITECTURES, Architecture, architecture
from clm.models.engine import EngineConfig, EngineNetwork
from clm.models.scaling import linear_layer

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
