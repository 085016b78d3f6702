"""oneDNN's operator is tried before it is used, and gives what torch's own gives."""

from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from clm.models.linear import linear, onednn

T, INPUTS, OUTPUTS = 1024, 128, 256
"""Enough rows for the operator."""


@pytest.fixture(autouse=True)
def _tried_anew() -> Iterator[None]:
    onednn.cache_clear()
    yield
    onednn.cache_clear()


def stand_in(monkeypatch: pytest.MonkeyPatch, operator: Callable[..., Any] | None) -> None:
    names = {} if operator is None else {"_linear_pointwise": operator}
    monkeypatch.setattr(torch.ops, "mkldnn", SimpleNamespace(**names))


def plain(x: Tensor, weight: Tensor, bias: Tensor | None, way: str, *_: object) -> Tensor:
    assert way == "none"
    return functional.linear(x, weight, bias)


@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("with_bias", [False, True])
@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("rows", [1, T])
def test_it_multiplies(kind: torch.dtype, with_bias: bool, transposed: bool, rows: int) -> None:
    """With few rows, many rows, either layout of the weights, and types that oneDNN does not take."""
    torch.manual_seed(1)
    x, bias = torch.randn(rows, INPUTS).to(kind), torch.randn(OUTPUTS).to(kind) if with_bias else None
    weight = (
        torch.randn(INPUTS, OUTPUTS).to(kind).t() if transposed else torch.randn(OUTPUTS, INPUTS).to(kind)
    )
    expected = functional.linear(x.double(), weight.double(), None if bias is None else bias.double())
    y = linear(x, weight, bias)
    assert y.dtype == kind
    error = (y.double() - expected).abs().max()
    assert float(error) < {torch.float32: 1e-4, torch.bfloat16: 0.2, torch.float64: 1e-12}[kind]


def test_it_is_asked_where_it_answers_as_torch_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once a type; for large products only."""
    asked: list[int] = []

    def counted(x: Tensor, *rest: Any) -> Tensor:
        asked.append(len(x))
        return plain(x, *rest)

    stand_in(monkeypatch, counted)
    for rows in (T, T, 1):
        linear(torch.randn(rows, INPUTS), torch.randn(OUTPUTS, INPUTS), torch.randn(OUTPUTS))
    assert asked.count(T) == 2
    assert 1 not in asked


def wrong(x: Tensor, weight: Tensor, bias: Tensor | None, way: str, *_: object) -> Tensor:
    return plain(x, weight, bias, way) + 0.2


def blind_to_strides(x: Tensor, weight: Tensor, bias: Tensor | None, way: str, *_: object) -> Tensor:
    laid_out = weight if weight.is_contiguous() else weight.t().contiguous().view(weight.shape)
    return plain(x, laid_out, bias, way)


def refusing(*_: object) -> Tensor:
    raise RuntimeError("could not create a primitive")


@pytest.mark.parametrize("operator", [None, wrong, blind_to_strides, refusing])
def test_another_torch_goes_the_plain_way(
    monkeypatch: pytest.MonkeyPatch, operator: Callable[..., Any] | None
) -> None:
    """It is no public operator: it may go, or come to mean something else."""
    stand_in(monkeypatch, operator)
    assert onednn(torch.float32) is None
    x, weight, bias = torch.randn(T, INPUTS), torch.randn(OUTPUTS, INPUTS), torch.randn(OUTPUTS)
    assert torch.equal(linear(x, weight, bias), functional.linear(x, weight, bias))


def test_it_is_for_fp32_on_the_processor() -> None:
    """A GPU has its own; products of bf16 are oneDNN's already."""
    for kind, device in ((torch.float32, "cuda"), (torch.bfloat16, "cpu"), (torch.float64, "cpu")):
        assert onednn(kind, device) is None


def test_a_number_that_is_none_stays_one() -> None:
    """Hidden, a training would go astray with a finite loss; the operator's own ReLU makes 0 of it."""
    x = torch.randn(T, INPUTS)
    x[5] = float("nan")
    for kind in (torch.float32, torch.bfloat16):
        y = linear(x.to(kind), torch.randn(OUTPUTS, INPUTS).to(kind), torch.randn(OUTPUTS).to(kind))
        assert bool(y[5].isnan().all())
        assert not y[6].isnan().any()
