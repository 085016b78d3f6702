"""What each trick of the training loop is worth, beside the loop that scripts usually have.

    python benchmarks/training.py [--windows N] [--repeats N] [--json]

Each rung keeps what the rungs before it have:

reference        a DataLoader of tensors, Adam, batches of 32, loss.item() at each step, torch's own layers
index batches    windows gathered from the rows by index, no loader, no copies of overlapping windows
fused optimiser  AdamW with one kernel for all parameters
batch 128        four times the windows a step
ours             the loop that trains: the same with class weights, clipping, schedule and the check for NaN

and beside them, each with batches of 128, what is not in use yet:

byte dropout     one random byte a number instead of a float
plain attention  the same, and attention as matrix products: eight patches need no kernel for long sequences
no dropout       the same without any: what is left to be gained there

One thread, the same windows and the same number of parameters. The ways are interleaved; a figure is the
median of processor seconds, so that what else the machine does weighs little. `share of the floor` is forward
and backward as plain products at this machine's rate of such products, over what the loop takes.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset

from clm.models.catalogue import architecture
from clm.models.existing_engine import ExistingEngineNetwork
from clm.training import loop
from clm.training.windows import Part, Windows
from tests.builders import training_spec

LENGTH, CHANNELS, DROPOUT = 128, 8, 0.1
LADDER = ("reference", "index batches", "fused optimiser", "batch 128", "ours")
FLOP_A_WINDOW = 3 * 2 * 8 * (128 * 128 + 3 * (128 * 384 + 128 * 128 + 2 * 128 * 512 + 2 * 8 * 128))
"""Forward, and twice as much backward."""

Epoch = Callable[[], object]


def reference(values_RC: Tensor, label_N: Tensor) -> Epoch:
    """The loop of the usual script."""
    windows_NLC = values_RC.unfold(0, LENGTH, 1).transpose(1, 2).contiguous()
    batches = DataLoader(TensorDataset(windows_NLC, label_N), batch_size=32, shuffle=True)
    model, criterion = ExistingEngineNetwork().train(), nn.BCEWithLogitsLoss()
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-4)

    def epoch() -> float:
        total = 0.0
        for x_BLC, label_B in batches:
            optimizer.zero_grad()
            loss = criterion(model(x_BLC).squeeze(-1), label_B)
            loss.backward()
            optimizer.step()
            total += loss.item()
        return total

    return epoch


def indexed(windows: Windows, part: Part, model: nn.Module, *, batch: int, fused: bool) -> Epoch:
    """Batches by index from the rows."""
    model.train()
    if fused:
        optimizer: torch.optim.Optimizer = torch.optim.AdamW(model.parameters(), lr=5e-4, fused=True)
    else:
        optimizer = torch.optim.Adam(model.parameters(), lr=5e-4)

    def epoch() -> None:
        for index_B in torch.randperm(len(part.row_N)).split(batch):
            logit_B = model(windows.gather(part.row_N[index_B])).reshape(-1)
            loss = functional.binary_cross_entropy_with_logits(logit_B, part.label_N[index_B])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    return epoch


def ours(windows: Windows, part: Part) -> Epoch:
    """One epoch of `clm.training.loop.fit`, all of it but the validation: one window is no work."""
    few = Part(row_N=part.row_N[:2], label_N=torch.tensor([0.0, 1.0]))
    spec = training_spec(epochs=1, batch_size=128, dropout=DROPOUT)
    return lambda: loop.fit(architecture("engine").build(DROPOUT), windows, part, few, spec, lambda _: None)


class ByteDropout(nn.Module):
    """Dropout that draws a random byte a number instead of a float; the share is a multiple of 1/256."""

    def __init__(self, probability: float) -> None:
        super().__init__()
        self.dropped = round(256 * probability)

    def forward(self, x: Tensor) -> Tensor:
        # Of the whole range: random_() leaves the sign out, and with it half the values of every eighth byte.
        words = torch.randint(-(2**63), 2**63 - 1, ((x.numel() + 7) // 8,))
        byte = words.view(torch.uint8)[: x.numel()].view(x.shape)
        # By arithmetic, 0 below the threshold and 1 from it on: comparing costs several times as much.
        kept = byte.to(x.dtype).clamp_(self.dropped - 1, self.dropped).sub_(self.dropped - 1)
        return x * kept.mul_(256 / (256 - self.dropped))


def with_byte_dropout(model: nn.Module) -> nn.Module:
    """The network with its dropout drawn by bytes, but for that of the small attention matrices."""
    model.dropout = ByteDropout(DROPOUT)
    for block in model.transformer.layers:
        block.dropout, block.dropout1, block.dropout2 = (ByteDropout(DROPOUT) for _ in range(3))
    return model


class PlainAttention(nn.Module):
    """The network with attention as plain matrix products."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x_BLC: Tensor) -> Tensor:
        model, b = self.model, len(x_BLC)
        h_BPD = model.dropout(model.patch_embedding(x_BLC.reshape(b, 8, -1)) + model.pos_encoding)
        for block in model.transformer.layers:
            attention = block.self_attn
            qkv = functional.linear(h_BPD, attention.in_proj_weight, attention.in_proj_bias)
            q, k, v = qkv.view(b, 8, 3, 4, 32).permute(2, 0, 3, 1, 4).unbind(0)
            weight = torch.softmax((q * 32**-0.5) @ k.transpose(-2, -1), dim=-1)
            mixed = (model.dropout(weight) @ v).transpose(1, 2).reshape(b, 8, 128)
            h_BPD = block.norm1(h_BPD + block.dropout1(attention.out_proj(mixed)))
            hidden = block.dropout(functional.relu(block.linear1(h_BPD)))
            h_BPD = block.norm2(h_BPD + block.dropout2(block.linear2(hidden)))
        logit: Tensor = model.output_proj(h_BPD.mean(dim=1))
        return logit


def products_a_second(tokens: int = 1024) -> float:
    """Operations a processor second in the largest of the network's products."""
    left, right, out = torch.ones(tokens, 128), torch.ones(128, 512), torch.empty(tokens, 512)
    best = 0.0
    for _ in range(50):
        began = time.process_time()
        torch.mm(left, right, out=out)
        best = max(best, 2 * tokens * 128 * 512 / (time.process_time() - began))
    return best


def measure(n_windows: int, repeats: int, say: Callable[[str], None]) -> dict[str, object]:
    """Run every way, interleaved, and return seconds and ratios."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    values_RC = torch.randn(n_windows + LENGTH - 1, CHANNELS)
    label_N = (torch.rand(n_windows) > 0.5).float()
    windows = Windows(values_RC=values_RC, context_length=LENGTH)
    part = Part(row_N=torch.arange(LENGTH - 1, n_windows + LENGTH - 1), label_N=label_N)
    build = architecture("engine").build
    ways: dict[str, Epoch] = {
        "reference": reference(values_RC, label_N),
        "index batches": indexed(windows, part, ExistingEngineNetwork(), batch=32, fused=False),
        "fused optimiser": indexed(windows, part, ExistingEngineNetwork(), batch=32, fused=True),
        "batch 128": indexed(windows, part, build(DROPOUT), batch=128, fused=True),
        "ours": ours(windows, part),
        "byte dropout": indexed(windows, part, with_byte_dropout(build(DROPOUT)), batch=128, fused=True),
        "plain attention": indexed(
            windows, part, PlainAttention(with_byte_dropout(build(DROPOUT))), batch=128, fused=True
        ),
        "no dropout": indexed(windows, part, PlainAttention(build(0.0)), batch=128, fused=True),
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for repeat in range(repeats):
        for name, epoch in ways.items():
            began = time.process_time()
            epoch()
            seconds[name].append(time.process_time() - began)
        say(f"  {repeat + 1} of {repeats}")
    median = {name: statistics.median(kept) for name, kept in seconds.items()}
    ratio = {name: median["reference"] / value for name, value in median.items()}
    return {
        "windows": n_windows,
        "cpu_s": median,
        "ratio_vs_reference_loop": ratio["ours"],
        "ladder": {name: ratio[name] for name in LADDER},
        "not_in_use": {name: value for name, value in ratio.items() if name not in LADDER},
        "share_of_the_floor": n_windows * FLOP_A_WINDOW / products_a_second() / median["ours"],
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
    }


def main() -> int:
    """Measure and tell."""
    parser = argparse.ArgumentParser(description="What each trick of the training loop is worth.")
    parser.add_argument("--windows", type=int, default=2165)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout, progress on stderr")
    asked = parser.parse_args()
    progress = sys.stderr if asked.json else sys.stdout
    report = measure(asked.windows, asked.repeats, lambda line: print(line, file=progress, flush=True))
    if asked.json:
        print(json.dumps(report))
        return 0
    for name, value in report["cpu_s"].items():
        print(f"{name:18} {value:7.2f} s   {report['cpu_s']['reference'] / value:5.2f} x")
    print(f"{'share of the floor':18} {report['share_of_the_floor']:7.2f}     ({report['cpu_capability']})")
    return 0


if __name__ == "__main__":
    sys.exit(main())
