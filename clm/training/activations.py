"""Measure activations: units that are never active, and layers that erase constant inputs.

Shapes: B windows, L context_length, C channels, U units.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn

WINDOWS = 256
"""Number of windows that are measured."""


def activation_figures(model: nn.Module, x_BLC: Tensor) -> Mapping[str, float]:
    """Return dead_share, static_share and static_kept of a network in evaluation mode.

    dead_share: share of feed-forward units (`linear1`, before the ReLU) that are positive for no window.
    static_share: share of the inputs' variance that is between windows and not within them.
    static_kept: share of a change of the window means that passes the normalisation which erases most of it.
    To measure it, each window gets the mean of another window. It is 1 for a network without normalisation.
    """
    level_B1C = x_BLC.mean(dim=1, keepdim=True)
    exchanged_BLC = x_BLC - level_B1C + level_B1C.roll(1, dims=0)
    with _seen(model) as seen, torch.inference_mode():
        model(x_BLC)
        # A copy: the second pass overwrites the entries.
        plain = dict(seen)
        model(exchanged_BLC)
    return {
        "dead_share": _dead_share(plain),
        "static_share": _static_share(x_BLC),
        "static_kept": _static_kept(plain, seen),
    }


@contextmanager
def _seen(model: nn.Module) -> Iterator[dict[str, tuple[Tensor, Tensor]]]:
    """Yield the inputs and outputs of the measured layers in the last pass, by layer name."""
    seen: dict[str, tuple[Tensor, Tensor]] = {}
    handles = []
    for name, module in model.named_modules():
        if name.endswith("linear1") or "norm" in type(module).__name__.lower():
            # Bind the name now, because the hook runs after the loop.
            def hook(_module: nn.Module, given: tuple[Tensor, ...], out: Tensor, name: str = name) -> None:
                seen[name] = (given[0], out)

            handles.append(module.register_forward_hook(hook))
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # the fused path does not call the layers
    try:
        model.eval()
        yield seen
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
        for handle in handles:
            handle.remove()


def _dead_share(seen: Mapping[str, tuple[Tensor, Tensor]]) -> float:
    layers = [out for name, (_, out) in seen.items() if name.endswith("linear1")]
    alive = [(out > 0).flatten(0, -2).any(dim=0) for out in layers]
    return 1.0 - float(torch.cat(alive).float().mean()) if alive else float("nan")


def _static_share(x_BLC: Tensor) -> float:
    # Law of total variance: variance = variance of means + mean of variances.
    between_C = x_BLC.mean(dim=1).var(dim=0, correction=0)
    all_C = x_BLC.flatten(0, 1).var(dim=0, correction=0)
    share_C = (between_C / all_C)[all_C > 0].double().numpy()
    return float(np.mean(share_C)) if len(share_C) else 0.0


def _static_kept(
    plain: Mapping[str, tuple[Tensor, Tensor]], exchanged: Mapping[str, tuple[Tensor, Tensor]]
) -> float:
    """Return the smallest ratio of the relative change after a normalisation to the change before it."""
    kept = [1.0]
    for name, (given, out) in plain.items():
        if name.endswith("linear1"):
            continue
        before, after = _change(given, exchanged[name][0]), _change(out, exchanged[name][1])
        if before > 0:
            kept.append(after / before)
    return float(min(kept))


def _change(first: Tensor, second: Tensor) -> float:
    """Return the root mean square difference of two passes, relative to the deviation of the first."""
    size = float((first - first.mean()).square().mean().sqrt())
    return float((first - second).square().mean().sqrt()) / size if size > 0 else 0.0
