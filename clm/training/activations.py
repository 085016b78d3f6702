"""What happens inside a network: units that never answer, and layers that erase what stands still.

Shapes: B windows, L context_length, C channels, U units.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn

WINDOWS = 256
"""Windows that are looked at."""


def activation_figures(model: nn.Module, x_BLC: Tensor) -> Mapping[str, float]:
    """Return dead_share, static_share and static_kept of a network in evaluation mode.

    dead_share: feed-forward units (`linear1`, before their ReLU) above zero for no window.
    static_share: how much of the inputs' variance lies between windows and not within them.
    static_kept: each window is given the mean of another one; how much of that change is left behind the
    normalisation that erases most of it, against what arrives there. 1 where nothing normalises.
    """
    level_B1C = x_BLC.mean(dim=1, keepdim=True)
    exchanged_BLC = x_BLC - level_B1C + level_B1C.roll(1, dims=0)
    with _seen(model) as seen, torch.inference_mode():
        model(x_BLC)
        plain = dict(seen)
        model(exchanged_BLC)
    return {
        "dead_share": _dead_share(plain),
        "static_share": _static_share(x_BLC),
        "static_kept": _static_kept(plain, seen),
    }


@contextmanager
def _seen(model: nn.Module) -> Iterator[dict[str, tuple[Tensor, Tensor]]]:
    """Give what goes into and comes out of the layers of interest, by name, of the last pass."""
    seen: dict[str, tuple[Tensor, Tensor]] = {}
    handles = []
    for name, module in model.named_modules():
        if name.endswith("linear1") or "norm" in type(module).__name__.lower():
            # The name is bound now: the hook runs after the loop.
            def hook(_module: nn.Module, given: tuple[Tensor, ...], out: Tensor, name: str = name) -> None:
                seen[name] = (given[0], out)

            handles.append(module.register_forward_hook(hook))
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # the fused path calls no layer by itself
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
    between_C = x_BLC.mean(dim=1).var(dim=0, correction=0)
    all_C = x_BLC.flatten(0, 1).var(dim=0, correction=0)
    share_C = (between_C / all_C)[all_C > 0].double().numpy()
    return float(np.mean(share_C)) if len(share_C) else 0.0


def _static_kept(
    plain: Mapping[str, tuple[Tensor, Tensor]], exchanged: Mapping[str, tuple[Tensor, Tensor]]
) -> float:
    """Return the least ratio of the relative change behind a normalisation to that before it."""
    kept = [1.0]
    for name, (given, out) in plain.items():
        if name.endswith("linear1"):
            continue
        before, after = _change(given, exchanged[name][0]), _change(out, exchanged[name][1])
        if before > 0:
            kept.append(after / before)
    return float(min(kept))


def _change(first: Tensor, second: Tensor) -> float:
    """Return how far two passes are apart, against the size of what varies in one."""
    size = float((first - first.mean()).square().mean().sqrt())
    return float((first - second).square().mean().sqrt()) / size if size > 0 else 0.0
