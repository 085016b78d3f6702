"""An encoder layer as it learns: forward and backward written out, for short sequences on a processor.

Torch's own attention, softmax and dropout are made for long sequences and graphics cards; a window is eight
patches. `benchmarks/training.py` says what each is worth. Within `torch.autocast` products are of its type;
sums over a row, norms and the residual stream stay in that of the parameters.

Shapes: B batch, P patches, D d_model, F feed-forward, T = B * P tokens, H heads, G = B * H, E numbers of
a head. In `backward`, g_x is the gradient of x.
"""

from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from clm.models.dropout import ByteDropout
from clm.models.linear import linear

_norm = torch.ops.aten.native_layer_norm
_norm_backward = torch.ops.aten.native_layer_norm_backward
_relu_backward = torch.ops.aten.threshold_backward
_ALL = [True, True, True]


def learn(block: nn.TransformerEncoderLayer, h_BPD: Tensor, dropout: ByteDropout) -> Tensor:
    """Return what a post-norm ReLU encoder layer returns; `dropout` acts wherever the layer's own would.

    Raises:
        ValueError: the layer is of another kind.
    """
    attend, first, second = block.self_attn, block.norm1, block.norm2
    usual = attend.batch_first and block.linear1.bias is not None
    if block.norm_first or block.activation is not functional.relu or not usual:
        raise ValueError(
            "only a batch-first layer with ReLU and biases, normalised behind its parts, learns so"
        )
    h_BPD = _Attention.apply(  # type: ignore[no-untyped-call]  # torch leaves it untyped
        *(h_BPD.to(first.weight.dtype), attend.num_heads, dropout, first.eps),
        *(attend.in_proj_weight, attend.in_proj_bias, attend.out_proj.weight, attend.out_proj.bias),
        *(first.weight, first.bias),
    )
    learnt_BPD: Tensor = _FeedForward.apply(  # type: ignore[no-untyped-call]
        *(h_BPD, dropout, second.eps),
        *(block.linear1.weight, block.linear1.bias, block.linear2.weight, block.linear2.bias),
        *(second.weight, second.bias),
    )
    return learnt_BPD


class _Attention(torch.autograd.Function):
    """norm(x + dropout(attention(x))) as one step of the graph."""

    @staticmethod
    def forward(
        ctx: Any, x_BPD: Tensor, n_heads: int, dropout: ByteDropout, eps: float, *parameters: Tensor
    ) -> Tensor:
        qkv_weight, qkv_bias, out_weight, out_bias, *norm = parameters
        n_batch, n_patches, d_model = x_BPD.shape
        x_TD, kind = x_BPD.reshape(-1, d_model), _type_of_products(x_BPD)
        mask_GPP = mask_TD = None
        if dropout.active:
            square = (n_batch * n_heads, n_patches, n_patches)
            mask_GPP, mask_TD = (
                dropout.mask(shape, x_TD.dtype, x_TD.device) for shape in (square, x_TD.shape)
            )

        low_TD, qkv_low, out_low = x_TD.to(kind), qkv_weight.to(kind), out_weight.to(kind)
        qkv_T = linear(low_TD, qkv_low, qkv_bias.to(kind))
        qkv_3BHPE = qkv_T.view(n_batch, n_patches, 3, n_heads, d_model // n_heads).permute(2, 0, 3, 1, 4)
        q_GPE, k_GPE, v_GPE = qkv_3BHPE.flatten(1, 2).unbind()
        weight_GPP = _softmax(torch.bmm(q_GPE, k_GPE.transpose(1, 2)).to(x_TD.dtype), q_GPE.shape[-1])
        left_GPP = _times(weight_GPP, mask_GPP).to(kind)
        mixed_BHPE = torch.bmm(left_GPP, v_GPE).view(n_batch, n_heads, *v_GPE.shape[1:])
        mixed_TD = mixed_BHPE.transpose(1, 2).reshape(-1, d_model)
        attended_TD = linear(mixed_TD, out_low, out_bias.to(kind)).to(x_TD.dtype)
        sum_TD = _plus(x_TD, attended_TD, mask_TD)
        y_TD, mean_T, rstd_T = _norm(sum_TD, (d_model,), *norm, eps)
        ctx.save_for_backward(
            *(low_TD, qkv_low, q_GPE, k_GPE, v_GPE, weight_GPP, mask_GPP, left_GPP),
            *(mixed_TD, out_low, mask_TD, sum_TD, mean_T, rstd_T, *norm),
        )
        return cast(Tensor, y_TD.view(x_BPD.shape))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g_BPD: Tensor) -> Any:
        low_TD, qkv_low, q_GPE, k_GPE, v_GPE, weight_GPP, mask_GPP, left_GPP, *saved = ctx.saved_tensors
        mixed_TD, out_low, mask_TD, sum_TD, *norm = saved
        n_batch, n_patches, d_model = g_BPD.shape
        full, kind = g_BPD.dtype, low_TD.dtype
        g_TD, *g_norm = _norm_backward(g_BPD.reshape(-1, d_model), sum_TD, (d_model,), *norm, _ALL)
        g_attended_TD = _times(g_TD, mask_TD)
        g_out_bias, g_attended_TD = g_attended_TD.sum(0), g_attended_TD.to(kind)
        g_out_weight = (g_attended_TD.t() @ mixed_TD).to(full)

        heads = (d_model // q_GPE.shape[-1], q_GPE.shape[-1])
        g_mixed_BPHE = linear(g_attended_TD, out_low.t()).view(n_batch, n_patches, *heads)
        g_mixed_GPE = g_mixed_BPHE.transpose(1, 2).flatten(0, 1)
        g_weight_GPP = _times(torch.bmm(g_mixed_GPE, v_GPE.transpose(1, 2)).to(full), mask_GPP)
        g_score_GPP = _softmax_backward(g_weight_GPP, weight_GPP, q_GPE.shape[-1]).to(kind)
        g_qkv_3GPE = torch.empty((3, *q_GPE.shape), dtype=kind, device=q_GPE.device)
        torch.bmm(g_score_GPP, k_GPE, out=g_qkv_3GPE[0])
        torch.bmm(g_score_GPP.transpose(1, 2), q_GPE, out=g_qkv_3GPE[1])
        torch.bmm(left_GPP.transpose(1, 2), g_mixed_GPE, out=g_qkv_3GPE[2])
        g_qkv_3BHPE = g_qkv_3GPE.view(3, n_batch, heads[0], *q_GPE.shape[1:])
        g_qkv_T = g_qkv_3BHPE.permute(1, 3, 0, 2, 4).reshape(len(g_TD), 3 * d_model)
        g_qkv_weight, g_qkv_bias = (g_qkv_T.t() @ low_TD).to(full), g_qkv_T.sum(0, dtype=full)
        g_x_BPD = g_TD.add_(linear(g_qkv_T, qkv_low.t())).view(g_BPD.shape)
        return g_x_BPD, None, None, None, g_qkv_weight, g_qkv_bias, g_out_weight, g_out_bias, *g_norm


class _FeedForward(torch.autograd.Function):
    """norm(x + dropout(linear(dropout(relu(linear(x)))))) as one step of the graph."""

    @staticmethod
    def forward(ctx: Any, x_BPD: Tensor, dropout: ByteDropout, eps: float, *parameters: Tensor) -> Tensor:
        wide_weight, wide_bias, narrow_weight, narrow_bias, *norm = parameters
        d_model = x_BPD.shape[-1]
        x_TD, kind = x_BPD.reshape(-1, d_model), _type_of_products(x_BPD)
        # The many numbers are kept or not; their scale, which bf16 would round, goes into the weights.
        scale = ctx.scale = dropout.scale
        low_TD, wide_low = x_TD.to(kind), wide_weight.to(kind)
        narrow_low = (narrow_weight * scale).to(kind)
        wide_TF, mask_TD = linear(low_TD, wide_low, wide_bias.to(kind)).relu_(), None
        if dropout.active:
            _drop(wide_TF, dropout)
            mask_TD = dropout.mask(x_TD.shape, x_TD.dtype, x_TD.device)
        narrow_TD = linear(wide_TF, narrow_low, narrow_bias.to(kind)).to(x_TD.dtype)
        sum_TD = _plus(x_TD, narrow_TD, mask_TD)
        y_TD, mean_T, rstd_T = _norm(sum_TD, (d_model,), *norm, eps)
        ctx.save_for_backward(
            *(low_TD, wide_low, wide_TF, narrow_low, mask_TD, sum_TD, mean_T, rstd_T, *norm)
        )
        return cast(Tensor, y_TD.view(x_BPD.shape))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g_BPD: Tensor) -> Any:
        low_TD, wide_low, wide_TF, narrow_low, mask_TD, sum_TD, *norm = ctx.saved_tensors
        d_model, full, kind = g_BPD.shape[-1], g_BPD.dtype, low_TD.dtype
        g_TD, *g_norm = _norm_backward(g_BPD.reshape(-1, d_model), sum_TD, (d_model,), *norm, _ALL)
        g_narrow_TD = _times(g_TD, mask_TD)
        g_narrow_bias, g_narrow_TD = g_narrow_TD.sum(0), g_narrow_TD.to(kind)
        g_narrow_weight = (g_narrow_TD.t() @ wide_TF).to(full).mul_(ctx.scale)
        # Above zero is what neither ReLU nor dropout stopped: the mask itself is not needed again.
        g_wide_TF = _relu_backward(linear(g_narrow_TD, narrow_low.t()), wide_TF, 0)
        g_wide_weight, g_wide_bias = (g_wide_TF.t() @ low_TD).to(full), g_wide_TF.sum(0, dtype=full)
        g_x_BPD = g_TD.add_(linear(g_wide_TF, wide_low.t())).view(g_BPD.shape)
        return g_x_BPD, None, None, g_wide_weight, g_wide_bias, g_narrow_weight, g_narrow_bias, *g_norm


def _type_of_products(x: Tensor) -> torch.dtype:
    """Return the type that autocast asks for, or that of `x`."""
    kind = x.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else x.dtype


def _drop(x: Tensor, dropout: ByteDropout) -> None:
    """Set to zero, in place, what is dropped; the bits as integers, which is four times as fast for bf16."""
    bits = {2: torch.int16, 4: torch.int32, 8: torch.int64}[x.element_size()]
    x.view(bits).mul_(dropout.mask(x.shape, bits, x.device))


def _times(x: Tensor, mask: Tensor | None) -> Tensor:
    return x if mask is None else x * mask


def _plus(x: Tensor, y: Tensor, mask: Tensor | None) -> Tensor:
    return x + y if mask is None else torch.addcmul(x, y, mask)


def _softmax(score_GPP: Tensor, head_size: int) -> Tensor:
    """Return the softmax of scaled scores, written over them: torch's takes six times as long over eight."""
    score_GPP.sub_(score_GPP.amax(-1, keepdim=True)).mul_(head_size**-0.5).exp_()
    return score_GPP.div_(score_GPP.sum(-1, keepdim=True))


def _softmax_backward(g_weight_GPP: Tensor, weight_GPP: Tensor, head_size: int) -> Tensor:
    g_GPP = g_weight_GPP * weight_GPP
    g_GPP.addcmul_(weight_GPP, g_GPP.sum(-1, keepdim=True), value=-1)
    return g_GPP.mul_(head_size**-0.5)
