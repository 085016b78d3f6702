"""A layer learns what torch's own would, dropout included, and dropout drops as it says."""

from itertools import combinations, pairwise

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from clm.models.dropout import MAX_POOLED, MIN_POOL, ByteDropout
from clm.models.layers import learn

N = 8 * 40_000


@pytest.mark.parametrize("probability", [0.1, 0.2, 0.5])
def test_it_drops_its_share_at_every_place_of_a_word_and_keeps_the_mean(probability: float) -> None:
    """One random word makes eight bytes: none of them may be drawn from less than all 256 values."""
    torch.manual_seed(1)
    y = ByteDropout(probability)(torch.ones(N))
    share = round(256 * probability) / 256
    zeros_8 = (y.view(-1, 8) == 0).float().mean(dim=0)
    assert zeros_8.tolist() == pytest.approx([share] * 8, abs=5 * (share * (1 - share) / 40_000) ** 0.5)
    # A threshold that is off by one value of a byte is off by 1/256, seven deviations of all places together.
    assert float(zeros_8.mean()) == pytest.approx(share, abs=5 * (share * (1 - share) / N) ** 0.5)
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


def test_masks_of_one_epoch_are_different_pieces_and_independent() -> None:
    """They come from one pool: any two have as much in common as chance gives them."""
    torch.manual_seed(6)
    dropout, cpu = ByteDropout(0.5), torch.device("cpu")
    masks = [dropout.mask((MIN_POOL // 4,), torch.float32, cpu) for _ in range(6)]
    assert len({mask.data_ptr() for mask in masks}) == len(masks)
    assert len({mask.untyped_storage().data_ptr() for mask in masks}) == 1
    for one, other in combinations(masks, 2):
        together = float(((one > 0) & (other > 0)).float().mean())
        assert together == pytest.approx(0.25, abs=5 * (0.1875 / (MIN_POOL // 4)) ** 0.5)


@pytest.mark.parametrize(("kind", "one"), [(torch.float32, 4 / 3), (torch.int16, 1), (torch.float64, 4 / 3)])
def test_a_mask_is_of_the_type_that_is_asked_for(kind: torch.dtype, one: float) -> None:
    """Integers multiply the bits of a number: they are 0 or 1."""
    dropout, cpu = ByteDropout(0.25), torch.device("cpu")
    mask = dropout.mask((50, 40), kind, cpu)
    assert (mask.shape, mask.dtype) == ((50, 40), kind)
    assert mask.unique().tolist() == pytest.approx([0, one])


def test_a_mask_larger_than_the_pool_has_a_larger_pool() -> None:
    """Pieces of a pool as large as themselves would all be the same."""
    torch.manual_seed(7)
    dropout, cpu = ByteDropout(0.5), torch.device("cpu")
    few = dropout.mask((10,), torch.int16, cpu)
    first, other = (dropout.mask((MIN_POOL,), torch.int16, cpu) for _ in range(2))
    assert few.untyped_storage().data_ptr() != first.untyped_storage().data_ptr()
    assert not torch.equal(first, other)
    assert len(first.untyped_storage()) == 2 * 4 * MIN_POOL


def test_the_largest_masks_have_no_pool() -> None:
    """A network that reads each of 32 channels by itself would keep 800 MB of them."""
    torch.manual_seed(9)
    dropout, cpu = ByteDropout(0.5), torch.device("cpu")
    first, other = (dropout.mask((2, MAX_POOLED), torch.float32, cpu) for _ in range(2))
    assert not torch.equal(first, other)
    assert len(first.untyped_storage()) == 4 * 2 * MAX_POOLED
    assert dropout._pools == {}
    assert first.unique().tolist() == [0.0, 2.0]


def test_each_epoch_has_a_pool_of_its_own_which_the_seed_decides() -> None:
    """What goes on behind an epoch has to meet the masks that it would have met without the interruption."""
    dropout, cpu = ByteDropout(0.5), torch.device("cpu")

    def epoch() -> Tensor:
        dropout.train()
        mask = torch.cat([dropout.mask((100,), torch.int16, cpu) for _ in range(3)])
        dropout.eval()
        return mask

    torch.manual_seed(8)
    first, state = epoch(), torch.get_rng_state()
    second = epoch()
    torch.set_rng_state(state)
    dropout = ByteDropout(0.5)
    assert torch.equal(epoch(), second)
    assert not torch.equal(first, second)


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


B, P, D, HEADS, F = 3, 5, 12, 2, 20


def encoder_layer(**changes: object) -> nn.TransformerEncoderLayer:
    torch.manual_seed(5)
    sizes = {"d_model": D, "nhead": HEADS, "dim_feedforward": F, "dropout": 0.0, "batch_first": True}
    return nn.TransformerEncoderLayer(**{**sizes, **changes}).double()  # type: ignore[arg-type]


def by_torch(block: nn.TransformerEncoderLayer, h_BPD: Tensor, masks: list[Tensor], scale: float) -> Tensor:
    """The layer as the papers write it, on torch's own operators, with these numbers dropped."""
    drop = iter(masks)
    attention = block.self_attn
    q, k, v = (
        part.unflatten(-1, (HEADS, -1)).transpose(1, 2)
        for part in functional.linear(h_BPD, attention.in_proj_weight, attention.in_proj_bias).chunk(3, -1)
    )
    weight = torch.softmax(q @ k.transpose(-2, -1) / (D / HEADS) ** 0.5, dim=-1)
    mixed = (weight * next(drop).view_as(weight) * scale) @ v
    attended = attention.out_proj(mixed.transpose(1, 2).flatten(2))
    h_BPD = block.norm1(h_BPD + attended * next(drop).view_as(attended) * scale)
    wide = functional.relu(block.linear1(h_BPD))
    narrow = block.linear2(wide * next(drop).view_as(wide) * scale)
    return block.norm2(h_BPD + narrow * next(drop).view_as(narrow) * scale)


@pytest.mark.parametrize("probability", [0.0, 0.25])
def test_a_layer_learns_what_torch_would_teach_it_with_the_same_numbers_dropped(
    probability: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its backward pass is written by hand: every gradient, and that of the input, to the last digits."""
    drawn: list[Tensor] = []

    masks = ByteDropout.mask

    def remembered(*asked: object) -> Tensor:
        mask = masks(*asked)  # type: ignore[arg-type]
        drawn.append((mask != 0).double())
        return mask

    monkeypatch.setattr(ByteDropout, "mask", remembered)
    block, found = encoder_layer(), []
    h_BPD = torch.randn(B, P, D, dtype=torch.float64)
    weigh_BPD = torch.randn(B, P, D, dtype=torch.float64)
    whole = [torch.ones(size) for size in (B * HEADS * P * P, B * P * D, B * P * F, B * P * D)]
    for way in (
        lambda h: learn(block, h, ByteDropout(probability)),
        lambda h: by_torch(block, h, drawn or whole, 1 / (1 - probability)),
    ):
        block.zero_grad()
        given = h_BPD.clone().requires_grad_()
        learnt = way(given)
        (learnt * weigh_BPD).sum().backward()
        found.append([learnt, given.grad, *(p.grad for p in block.parameters())])
    assert [int(kept.numel()) for kept in drawn] == ([len(mask) for mask in whole] if probability else [])
    for ours, torchs in zip(*found, strict=True):
        torch.testing.assert_close(ours, torchs, rtol=0, atol=1e-12)


def test_in_bf16_a_layer_is_near_the_one_in_fp32_and_its_gradients_are_not_rounded_away() -> None:
    """bf16 holds eight bits: numbers are off by up to 1/256 of themselves, through five products in turn."""
    block, h_BPD = encoder_layer().float(), torch.randn(64, P, D)
    found = []
    for low in (False, True):
        block.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=low):
            learnt = learn(block, h_BPD, ByteDropout(0.0))
        assert learnt.dtype == torch.float32
        (learnt * h_BPD).sum().backward()
        found.append([learnt.detach(), *(p.grad for p in block.parameters() if p.grad is not None)])
    for exact, low_ in zip(*found, strict=True):
        assert low_.dtype == torch.float32
        assert float((low_ - exact).norm() / exact.norm()) < 0.05
    assert not torch.equal(found[0][0], found[1][0])


def test_nothing_is_dropped_twice_alike() -> None:
    """Each place and each step has numbers of its own."""
    block = encoder_layer().float()
    h_BPD, dropout = torch.randn(B, P, D), ByteDropout(0.5)
    several = [learn(block, h_BPD, dropout) for _ in range(3)]
    assert not any(torch.equal(one, other) for one, other in pairwise(several))
    dropout.eval()
    assert torch.equal(learn(block, h_BPD, dropout), learn(block, h_BPD, dropout))


@pytest.mark.parametrize(
    "other", [{"norm_first": True}, {"activation": "gelu"}, {"batch_first": False}, {"bias": False}]
)
def test_a_layer_of_another_kind_is_refused(other: dict[str, object]) -> None:
    """It would learn one function and serve another."""
    with pytest.raises(ValueError, match="ReLU"):
        learn(encoder_layer(**other), torch.randn(B, P, D), ByteDropout(0.1))


@pytest.mark.parametrize("shape", [(0, P, D), (1, 1, D)])
def test_a_batch_of_none_and_one_of_one_number_are_batches(shape: tuple[int, ...]) -> None:
    """Nothing in, nothing out."""
    h_BPD = torch.randn(shape, requires_grad=True)
    learnt = learn(encoder_layer().float(), h_BPD, ByteDropout(0.1))
    learnt.sum().backward()
    assert learnt.shape == h_BPD.shape
    assert h_BPD.grad is not None
