"""An encoder layer for training, with hand-written forward and backward passes for short sequences on a CPU.

Torch's attention, softmax and dropout are optimised for long sequences and GPUs, but a window has eight
patches. `benchmarks/training.py` measures the gain of each replacement. Within `torch.autocast`, matmuls use
its type; row sums, norms and the residual stream keep the type of the parameters.

Shapes: B batch, P patches, D d_model, F feed-forward, T = B * P tokens, H heads, G = B * H, E head size.
The suffix _low marks a copy in the type of the matmuls. In `backward`, g_x is the gradient of x.
"""

from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from clm.models.dropout import ByteDropout
from clm.models.linear import linear

# The operators behind torch's layers. Called directly, they return the statistics that `backward` needs.
_norm = torch.ops.aten.native_layer_norm
_norm_backward = torch.ops.aten.native_layer_norm_backward
# ReLU's gradient is a threshold at 0.
_relu_backward = torch.ops.aten.threshold_backward
# Gradients to compute: of the input, the weight and the bias.
_ALL = [True, True, True]


def learn(block: nn.TransformerEncoderLayer, h_BPD: Tensor, dropout: ByteDropout) -> Tensor:
    """Return the output (B, P, D) of a post-norm ReLU encoder layer, with `dropout` in place of its own.

    Raises:
        ValueError: the layer has another structure.
    """
    attend, first, second = block.self_attn, block.norm1, block.norm2
    # Refuse any other structure: the code below would train it as if it were this one, with wrong gradients.
    usual = attend.batch_first and block.linear1.bias is not None
    if block.norm_first or block.activation is not functional.relu or not usual:
        raise ValueError(
            "only a post-norm, batch-first encoder layer with ReLU and biases can be trained by this code"
        )
    h_BPD = _Attention.apply(  # type: ignore[no-untyped-call]  # torch leaves it untyped
        *(h_BPD.to(first.weight.dtype), attend.num_heads, dropout, first.eps),
        *(attend.in_proj_weight, attend.in_proj_bias, attend.out_proj.weight, attend.out_proj.bias),
        *(first.weight, first.bias),
    )
    # Parameters are passed one by one because autograd tracks tensors only as direct arguments of `apply`.
    learnt_BPD: Tensor = _FeedForward.apply(  # type: ignore[no-untyped-call]
        *(h_BPD, dropout, second.eps),
        *(block.linear1.weight, block.linear1.bias, block.linear2.weight, block.linear2.bias),
        *(second.weight, second.bias),
    )
    return learnt_BPD


class _Attention(torch.autograd.Function):
    """norm(x + dropout(attention(x))) as one node of the autograd graph."""

    @staticmethod
    def forward(
        ctx: Any, x_BPD: Tensor, n_heads: int, dropout: ByteDropout, eps: float, *parameters: Tensor
    ) -> Tensor:
        qkv_weight, qkv_bias, out_weight, out_bias, *norm = parameters
        n_batch, n_patches, d_model = x_BPD.shape
        x_TD, kind = x_BPD.reshape(-1, d_model), _type_of_products(x_BPD)
        mask_GPP = mask_TD = None
        if dropout.active:  # one mask for the attention weights, one for the branch
            square = (n_batch * n_heads, n_patches, n_patches)
            mask_GPP, mask_TD = (
                dropout.mask(shape, x_TD.dtype, x_TD.device) for shape in (square, x_TD.shape)
            )

        low_TD, qkv_low, out_low = x_TD.to(kind), qkv_weight.to(kind), out_weight.to(kind)
        qkv_T = linear(low_TD, qkv_low, qkv_bias.to(kind))  # (T, 3 * D): query, key and value in one matmul
        qkv_3BHPE = qkv_T.view(n_batch, n_patches, 3, n_heads, d_model // n_heads).permute(2, 0, 3, 1, 4)
        q_GPE, k_GPE, v_GPE = qkv_3BHPE.flatten(1, 2).unbind()
        # The softmax runs in the parameters' type: bf16 would round its sums.
        weight_GPP = _softmax(torch.bmm(q_GPE, k_GPE.transpose(1, 2)).to(x_TD.dtype), q_GPE.shape[-1])
        left_GPP = _times(weight_GPP, mask_GPP).to(kind)
        mixed_BHPE = torch.bmm(left_GPP, v_GPE).view(n_batch, n_heads, *v_GPE.shape[1:])
        mixed_TD = mixed_BHPE.transpose(1, 2).reshape(-1, d_model)  # concatenate the heads
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
        # Norm, dropout and output projection, in the reverse order of `forward`.
        g_TD, *g_norm = _norm_backward(g_BPD.reshape(-1, d_model), sum_TD, (d_model,), *norm, _ALL)
        g_attended_TD = _times(g_TD, mask_TD)
        g_out_bias, g_attended_TD = g_attended_TD.sum(0), g_attended_TD.to(kind)
        g_out_weight = (g_attended_TD.t() @ mixed_TD).to(full)

        # Attention weights, softmax, and the products of query, key and value.
        heads = (d_model // q_GPE.shape[-1], q_GPE.shape[-1])  # (H, E)
        g_mixed_BPHE = linear(g_attended_TD, out_low.t()).view(n_batch, n_patches, *heads)
        g_mixed_GPE = g_mixed_BPHE.transpose(1, 2).flatten(0, 1)
        g_weight_GPP = _times(torch.bmm(g_mixed_GPE, v_GPE.transpose(1, 2)).to(full), mask_GPP)
        g_score_GPP = _softmax_backward(g_weight_GPP, weight_GPP, q_GPE.shape[-1]).to(kind)
        # One buffer for all three gradients, so that one matmul gives the gradient of the input.
        g_qkv_3GPE = torch.empty((3, *q_GPE.shape), dtype=kind, device=q_GPE.device)
        torch.bmm(g_score_GPP, k_GPE, out=g_qkv_3GPE[0])
        torch.bmm(g_score_GPP.transpose(1, 2), q_GPE, out=g_qkv_3GPE[1])
        torch.bmm(left_GPP.transpose(1, 2), g_mixed_GPE, out=g_qkv_3GPE[2])
        g_qkv_3BHPE = g_qkv_3GPE.view(3, n_batch, heads[0], *q_GPE.shape[1:])
        g_qkv_T = g_qkv_3BHPE.permute(1, 3, 0, 2, 4).reshape(len(g_TD), 3 * d_model)
        g_qkv_weight, g_qkv_bias = (g_qkv_T.t() @ low_TD).to(full), g_qkv_T.sum(0, dtype=full)
        # The residual connection adds the gradient of the sum to that of the branch.
        g_x_BPD = g_TD.add_(linear(g_qkv_T, qkv_low.t())).view(g_BPD.shape)
        return g_x_BPD, None, None, None, g_qkv_weight, g_qkv_bias, g_out_weight, g_out_bias, *g_norm


class _FeedForward(torch.autograd.Function):
    """norm(x + dropout(linear(dropout(relu(linear(x)))))) as one node of the autograd graph."""

    @staticmethod
    def forward(ctx: Any, x_BPD: Tensor, dropout: ByteDropout, eps: float, *parameters: Tensor) -> Tensor:
        wide_weight, wide_bias, narrow_weight, narrow_bias, *norm = parameters
        d_model = x_BPD.shape[-1]
        x_TD, kind = x_BPD.reshape(-1, d_model), _type_of_products(x_BPD)
        # The mask of the wide activations is 0 or 1. bf16 would round the dropout scale, so the fp32 weights
        # take it.
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
        # An activation is positive only if ReLU and dropout both kept it, so the mask need not be saved.
        g_wide_TF = _relu_backward(linear(g_narrow_TD, narrow_low.t()), wide_TF, 0)
        g_wide_weight, g_wide_bias = (g_wide_TF.t() @ low_TD).to(full), g_wide_TF.sum(0, dtype=full)
        g_x_BPD = g_TD.add_(linear(g_wide_TF, wide_low.t())).view(g_BPD.shape)
        return g_x_BPD, None, None, g_wide_weight, g_wide_bias, g_narrow_weight, g_narrow_bias, *g_norm


def _type_of_products(x: Tensor) -> torch.dtype:
    """Return autocast's type if it is enabled, else the type of `x`."""
    kind = x.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else x.dtype


def _drop(x: Tensor, dropout: ByteDropout) -> None:
    """Zero the dropped elements in place. Multiplying the bits as integers is four times as fast for bf16."""
    bits = {2: torch.int16, 4: torch.int32, 8: torch.int64}[x.element_size()]
    x.view(bits).mul_(dropout.mask(x.shape, bits, x.device))


def _times(x: Tensor, mask: Tensor | None) -> Tensor:
    # No mask means no dropout: skip the multiplication by ones.
    return x if mask is None else x * mask


def _plus(x: Tensor, y: Tensor, mask: Tensor | None) -> Tensor:
    # addcmul reads each operand once; x + y * mask would write the product to memory first.
    return x + y if mask is None else torch.addcmul(x, y, mask)


def _softmax(score_GPP: Tensor, head_size: int) -> Tensor:
    """Return the softmax of the scaled scores, in place; six times as fast as torch's over eight columns."""
    # Subtracting the maximum keeps exp from overflowing and does not change the result.
    score_GPP.sub_(score_GPP.amax(-1, keepdim=True)).mul_(head_size**-0.5).exp_()
    return score_GPP.div_(score_GPP.sum(-1, keepdim=True))


def _softmax_backward(g_weight_GPP: Tensor, weight_GPP: Tensor, head_size: int) -> Tensor:
    """Return the gradient of the unscaled scores: w * (g - sum(g * w)) / sqrt(head_size)."""
    g_GPP = g_weight_GPP * weight_GPP
    # The softmax's Jacobian is diag(w) - w w^T, so its product with a vector needs one row sum only.
    g_GPP.addcmul_(weight_GPP, g_GPP.sum(-1, keepdim=True), value=-1)
    return g_GPP.mul_(head_size**-0.5)
