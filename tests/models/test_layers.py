"""The cheap dropout drops as it says, everywhere alike, and nothing where it is not trained."""

import pytest
import torch

from clm.models.engine import EngineConfig, EngineNetwork
from clm.models.layers import ByteDropout

N = 8 * 40_000


@pytest.mark.parametrize("probability", [0.1, 0.2, 0.5])
def test_it_drops_its_share_at_every_place_of_a_word_and_keeps_the_mean(probability: float) -> None:
    """One random word makes eight bytes: none of them may be drawn from less than all 256 values."""
    torch.manual_seed(1)
    y = ByteDropout(probability)(torch.ones(N))
    share = round(256 * probability) / 256
    zeros_8 = (y.view(-1, 8) == 0).float().mean(dim=0)
    assert zeros_8.tolist() == pytest.approx([share] * 8, abs=5 * (share * (1 - share) / 40_000) ** 0.5)
    assert y.unique().tolist() == pytest.approx([0.0, 1 / (1 - share)])
    assert float(y.mean()) == pytest.approx(1.0, abs=0.01)


def test_neighbours_are_dropped_independently() -> None:
    """A pattern would be learnt."""
    torch.manual_seed(2)
    gone = (ByteDropout(0.5)(torch.ones(N)) == 0).float()
    for distance in (1, 7, 8, 64):
        together = float((gone[:-distance] * gone[distance:]).mean())
        assert together == pytest.approx(0.25, abs=0.01)


def test_the_gradient_goes_where_the_numbers_went() -> None:
    """What was dropped learns nothing of this step."""
    torch.manual_seed(3)
    x = torch.randn(3, 5, 7, requires_grad=True)
    y = ByteDropout(0.3)(x)
    y.sum().backward()
    assert x.grad is not None
    assert torch.equal(x.grad == 0, y == 0)
    assert 0 < int((y == 0).sum()) < y.numel()


def test_the_same_seed_drops_the_same_numbers() -> None:
    """A training has to be repeatable bit for bit."""
    torch.manual_seed(4)
    first, other = (ByteDropout(0.3)(torch.ones(100)) for _ in range(2))
    torch.manual_seed(4)
    assert torch.equal(ByteDropout(0.3)(torch.ones(100)), first)
    assert not torch.equal(first, other)


def test_nothing_is_dropped_outside_of_training_or_at_zero() -> None:
    """The served network answers alike each time."""
    x = torch.randn(50)
    assert torch.equal(ByteDropout(0.5).eval()(x), x)
    assert torch.equal(ByteDropout(0.0)(x), x)


@pytest.mark.parametrize("probability", [-0.1, 1.0])
def test_an_impossible_probability_is_refused(probability: float) -> None:
    """At 1 nothing would be left to learn from."""
    with pytest.raises(ValueError, match="dropout"):
        ByteDropout(probability)


def test_the_network_drops_numbers_in_all_its_places() -> None:
    """Embedding, attention, and after each part of a layer, as torch's own layer does; by bytes alone."""
    model = EngineNetwork(EngineConfig(dropout=0.1))
    seen: list[tuple[int, ...]] = []
    for module in model.modules():
        assert not isinstance(module, torch.nn.Dropout) or module.p == 0
        if isinstance(module, ByteDropout):
            module.register_forward_hook(lambda _module, _input, y: seen.append(tuple(y.shape)))
    model(torch.randn(2, 128, 8))
    layer = [(2, 4, 8, 8), (2, 8, 128), (2, 8, 512), (2, 8, 128)]
    assert seen == [(2, 8, 128), *layer, *layer, *layer]
