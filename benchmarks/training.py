"""The gain of each optimisation of the training loop, compared with the loop of usual scripts.

    python benchmarks/training.py [--windows N] [--repeats N] [--compile] [--store PATH [--seeds N]] [--json]

Each rung keeps what the rungs before it have:

reference        a DataLoader of tensors, Adam, batches of 32, loss.item() at each step, torch's own layers
index batches    windows gathered from the rows by index, no loader, no copies of overlapping windows
fused optimiser  AdamW with one kernel for all parameters
byte dropout     pieces of a pool of random bytes instead of a random float a number
plain attention  attention as matrix products: eight patches need no kernel for long sequences
written out      a layer's forward and backward pass by hand (clm/models/layers.py)
batch 128        four times the windows a step
batch 256        twice as many again
oneDNN           rows by weights through oneDNN's operator (clm/models/linear.py), in fp32 alone
bf16             products of bf16 where the processor has it
kept memory      the allocator keeps what a step frees, as the training child has it
ours             the loop that trains: the same with class weights, clipping, schedule and the check for NaN

The second column has the same in fp32 alone, as on a processor without bf16. Beside them what is not in use:

autocast alone   plain attention with batches of 256 in bf16, and torch's own backward pass
no dropout       ours without any: what is left to be gained there
reference, kept  the reference with an allocator that keeps what it frees
torch.compile    `autocast alone`, compiled; with --compile, and where there is a compiler

Then the same work by `transformers.PatchTSTForClassification` in the loop of its examples: at our number of
parameters (it takes every channel by itself, so that the work is eight times ours), and at our number of
operations a window. It is the extra `bench`; without it the figure is null, with the reason.

One thread, the same windows. Each way has a process of its own, since how memory is kept belongs to one: as
every script has it, or as the training child sets it. They are interleaved, never two at once; a figure is
the median of processor seconds, so that what else the machine does weighs little; `best` has the ratios of
the fastest repeats. The floor is forward and backward as plain products at the best rate at which this
machine makes the largest of them, in the numbers in use; the share is what of our time that takes.

With --store, the test AUROC of `engine`, begun anywhere, as it trains here and in fp32; otherwise by default.
"""

import argparse
import json
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any
from unittest.mock import patch

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset

from clm.models import layers
from clm.models.catalogue import architecture
from clm.models.dropout import ByteDropout
from clm.models.existing_engine import ExistingEngineNetwork
from clm.models.linear import onednn
from clm.training import loop, precision
from clm.training.determinism import make_deterministic
from clm.training.process import keep_freed_memory
from clm.training.windows import Part, Windows
from tests.builders import training_spec

LENGTH, CHANNELS, DROPOUT = 128, 8, 0.1
FLOP_A_WINDOW = 3 * 2 * 8 * (128 * 128 + 3 * (128 * 384 + 128 * 128 + 2 * 128 * 512 + 2 * 8 * 128))
"""Forward, and twice as much backward."""
LADDER = (
    "reference",
    "index batches",
    "fused optimiser",
    "byte dropout",
    "plain attention",
    "written out",
    "batch 128",
    "batch 256",
    "oneDNN",
    "bf16",
    "kept memory",
    "ours",
)
OUR_EPOCHS = 3
"""Of one training: to build a network and to end is no part of an epoch."""
HF_WINDOWS = 256
"""What transformers is timed on, by the window: an epoch of it would take longer than all else together."""
HF_SIZES = {
    "same_parameters": {"d_model": 128, "ffn_dim": 512},
    "same_flops": {"d_model": 44, "ffn_dim": 192},
}
"""Three layers of four heads as ours; 44 and 192 make 9.8 million operations a window."""

OF_FIT = ("ours", "ours, fp32", "no dropout")
KEPT = (*OF_FIT, "kept memory", "reference, kept")
"""The ways whose process keeps its memory."""
HF = tuple(HF_SIZES)

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


def indexed(
    windows: Windows, part: Part, model: nn.Module, *, batch: int = 32, fused: bool = True, low: bool = False
) -> Epoch:
    """Batches by index from the rows."""
    model.train()
    if fused:
        optimizer: torch.optim.Optimizer = torch.optim.AdamW(model.parameters(), lr=5e-4, fused=True)
    else:
        optimizer = torch.optim.Adam(model.parameters(), lr=5e-4)

    def epoch() -> None:
        for index_B in torch.randperm(len(part.row_N)).split(batch):
            with torch.autocast("cpu", torch.bfloat16, enabled=low):
                logit_B = model(windows.gather(part.row_N[index_B]))
            loss = functional.binary_cross_entropy_with_logits(
                logit_B.float().reshape(-1), part.label_N[index_B]
            )
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    return epoch


def ours(windows: Windows, part: Part, asked: str, dropout: float = DROPOUT) -> Epoch:
    """OUR_EPOCHS epochs of `clm.training.loop.fit`, all but the validation: two windows are no work."""
    few = Part(row_N=part.row_N[:2], label_N=torch.tensor([0.0, 1.0]))
    changes = {"epochs": OUR_EPOCHS, "patience": OUR_EPOCHS, "dropout": dropout, "precision": asked}
    spec = training_spec(batch_size=256, start="random", **changes)
    return lambda: loop.fit(architecture("engine").build(dropout), windows, part, few, spec, lambda _: None)


def with_byte_dropout(model: nn.Module) -> nn.Module:
    """The engine's network with dropout by bytes, but for that of the small attention matrices."""
    for block in model.transformer.layers:
        block.dropout, block.dropout1, block.dropout2 = (ByteDropout(DROPOUT) for _ in range(3))
    return model


class PlainAttention(nn.Module):
    """The network with attention as plain matrix products, which autograd follows."""

    def __init__(self, dropout: nn.Module) -> None:
        super().__init__()
        self.model, self.drop = architecture("engine").build(0.0), dropout

    def forward(self, x_BLC: Tensor) -> Tensor:
        model, drop, b = self.model, self.drop, len(x_BLC)
        h_BPD = drop(model.patch_embedding(x_BLC.reshape(b, 8, -1)) + model.pos_encoding)
        for block in model.transformer.layers:
            attention = block.self_attn
            qkv = functional.linear(h_BPD, attention.in_proj_weight, attention.in_proj_bias)
            q, k, v = qkv.view(b, 8, 3, 4, 32).permute(2, 0, 3, 1, 4).unbind(0)
            weight = torch.softmax((q * 32**-0.5) @ k.transpose(-2, -1), dim=-1)
            mixed = (drop(weight) @ v).transpose(1, 2).reshape(b, 8, 128)
            h_BPD = block.norm1(h_BPD + drop(attention.out_proj(mixed)))
            hidden = drop(functional.relu(block.linear1(h_BPD)))
            h_BPD = block.norm2(h_BPD + drop(block.linear2(hidden)))
        logit: Tensor = model.output_proj(h_BPD.mean(dim=1))
        return logit


def without_onednn(epoch: Epoch) -> Epoch:
    """The same epoch with torch's own linear layers."""

    def patched() -> None:
        with patch.object(layers, "linear", functional.linear):
            epoch()

    return patched


def by_transformers(values_RC: Tensor, label_N: Tensor, sizes: dict[str, int]) -> Epoch:
    """The loop of its examples over HF_WINDOWS windows; weights drawn, nothing is downloaded."""
    from transformers import PatchTSTConfig, PatchTSTForClassification

    windows_NLC = values_RC.unfold(0, LENGTH, 1).transpose(1, 2)[:HF_WINDOWS].contiguous()
    labelled = TensorDataset(windows_NLC, label_N[:HF_WINDOWS].long())
    batches = DataLoader(labelled, batch_size=32, shuffle=True)
    config = PatchTSTConfig(
        context_length=LENGTH,
        patch_length=16,
        patch_stride=16,
        num_input_channels=CHANNELS,
        num_hidden_layers=3,
        num_attention_heads=4,
        pooling_type="mean",
        num_targets=2,
        **sizes,
    )
    model = PatchTSTForClassification(config).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-4)

    def epoch() -> float:
        total = 0.0
        for x_BLC, label_B in batches:
            optimizer.zero_grad()
            loss = model(past_values=x_BLC, target_values=label_B).loss
            loss.backward()
            optimizer.step()
            total += loss.item()
        return total

    return epoch


def products_a_second(kind: torch.dtype, tokens: int = 1024) -> float:
    """Operations a processor second in the largest of the network's products."""
    left, right = torch.ones(tokens, 128, dtype=kind), torch.ones(128, 512, dtype=kind)
    out, best = torch.empty(tokens, 512, dtype=kind), 0.0
    for _ in range(100):
        began = time.process_time()
        torch.mm(left, right, out=out)
        best = max(best, 2 * tokens * 128 * 512 / (time.process_time() - began))
    return best


def makers(arguments: argparse.Namespace) -> dict[str, Callable[[], Epoch]]:
    """Return, for each way, what makes it ready to run an epoch."""
    n_windows, low = arguments.windows, precision.chosen("auto") == "bf16"
    torch.manual_seed(0)
    values_RC = torch.randn(n_windows + LENGTH - 1, CHANNELS)
    label_N = (torch.rand(n_windows) > 0.5).float()
    windows = Windows(values_RC=values_RC, context_length=LENGTH)
    part = Part(row_N=torch.arange(LENGTH - 1, n_windows + LENGTH - 1), label_N=label_N)

    def loop_of(model: nn.Module, **changes: Any) -> Epoch:
        return indexed(windows, part, model, **changes)

    def engine() -> nn.Module:
        return architecture("engine").build(DROPOUT)

    def compiled() -> Any:
        return torch.compile(PlainAttention(nn.Dropout(DROPOUT)))

    ways: dict[str, Callable[[], Epoch]] = {
        "reference": lambda: reference(values_RC, label_N),
        "index batches": lambda: loop_of(ExistingEngineNetwork(), fused=False),
        "fused optimiser": lambda: loop_of(ExistingEngineNetwork()),
        "byte dropout": lambda: loop_of(with_byte_dropout(ExistingEngineNetwork())),
        "plain attention": lambda: loop_of(PlainAttention(ByteDropout(DROPOUT))),
        "written out": lambda: without_onednn(loop_of(engine())),
        "batch 128": lambda: without_onednn(loop_of(engine(), batch=128)),
        "batch 256": lambda: without_onednn(loop_of(engine(), batch=256)),
        "oneDNN": lambda: loop_of(engine(), batch=256),
        "bf16": lambda: loop_of(engine(), batch=256, low=True),
        "kept memory": lambda: loop_of(engine(), batch=256, low=low),
        "ours": lambda: ours(windows, part, "auto"),
        "ours, fp32": lambda: ours(windows, part, "fp32"),
        "no dropout": lambda: ours(windows, part, "auto", dropout=0.0),
        "autocast alone": lambda: loop_of(PlainAttention(ByteDropout(DROPOUT)), batch=256, low=True),
        "reference, kept": lambda: reference(values_RC, label_N),
        "torch.compile": lambda: loop_of(
            torch.compile(PlainAttention(nn.Dropout(DROPOUT))), batch=256, low=low
        ),
    }
    return ways | {name: partial(by_transformers, values_RC, label_N, HF_SIZES[name]) for name in HF}


def absent(arguments: argparse.Namespace) -> dict[str, str]:
    """Return which ways cannot be measured here, with the reason."""
    found = {}
    if precision.chosen("auto") != "bf16":
        found |= dict.fromkeys(("bf16", "autocast alone"), "this processor has no bf16")
    if not onednn(torch.float32):
        found["oneDNN"] = "this torch has no such operator"
    if not (arguments.compile and shutil.which("g++")):
        found["torch.compile"] = "not asked for with --compile, or no compiler"
    try:
        import transformers  # noqa: F401
    except ImportError as error:
        found |= dict.fromkeys(HF, f"{error}; install the extra `bench`")
    return found


def serve(end: Connection, arguments: argparse.Namespace, name: str) -> None:
    """Run an epoch of one way as often as is asked, and answer its processor seconds."""
    if name in KEPT:
        keep_freed_memory()
    torch.set_num_threads(1)
    if name in OF_FIT:
        make_deterministic(seed=0, threads=1)  # as in the child; it costs something
    epoch = makers(arguments)[name]()
    epoch()  # what only a first one does
    while end.recv():
        began = time.process_time()
        epoch()
        end.send((time.process_time() - began) / (OUR_EPOCHS if name in OF_FIT else 1))


def measure(arguments: argparse.Namespace, say: Callable[[str], None]) -> dict[str, object]:
    """Run every way, interleaved, and return seconds and ratios."""
    torch.set_num_threads(1)
    n_windows, low = arguments.windows, precision.chosen("auto") == "bf16"
    missing = absent(arguments)
    names = [name for name in makers(arguments) if name not in missing]
    new, ends = get_context("spawn"), {}
    for name in names:
        ends[name], theirs = new.Pipe()
        new.Process(target=serve, args=(theirs, arguments, name), daemon=True).start()
        theirs.close()
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for repeat in range(arguments.repeats):
        for name in names:
            ends[name].send(True)
            seconds[name].append(ends[name].recv())
        say(f"  {repeat + 1} of {arguments.repeats}")
    for end in ends.values():
        end.send(False)
    hf = [name for name in HF if name in names]
    median = {name: statistics.median(kept) for name, kept in seconds.items()}
    ratio = {name: median["reference"] / value for name, value in median.items() if name not in hf}
    floor_s = n_windows * FLOP_A_WINDOW / products_a_second(torch.bfloat16 if low else torch.float32)
    floor_fp32_s = n_windows * FLOP_A_WINDOW / products_a_second(torch.float32)
    in_fp32 = {"bf16": None, "kept memory": None, "ours": ratio["ours, fp32"]}
    return {
        "windows": n_windows,
        "cpu_s": median,
        "ratio_vs_reference_loop": ratio["ours"],
        "ratio_vs_reference_loop_fp32": ratio["ours, fp32"],
        "best": {name: min(seconds["reference"]) / min(seconds[name]) for name in ("ours", "ours, fp32")},
        "ratio_vs_hf_patchtst": {
            name: median[name] / HF_WINDOWS / (median["ours"] / n_windows) if name in hf else None
            for name in HF
        },
        "hf_patchtst": HF_SIZES,
        "ladder": [
            {"rung": name, "ratio": ratio.get(name), "ratio_fp32": in_fp32.get(name, ratio.get(name))}
            for name in LADDER
        ],
        "not_in_use": {name: ratio[name] for name in ratio if name not in (*LADDER, "ours, fp32")},
        "absent": missing,
        "floor": {
            "gflop_an_epoch": n_windows * FLOP_A_WINDOW / 1e9,
            "gflop_a_second": n_windows * FLOP_A_WINDOW / floor_s / 1e9,
            "gflop_a_second_fp32": n_windows * FLOP_A_WINDOW / floor_fp32_s / 1e9,
            "share": floor_s / median["ours"],
            "share_fp32": floor_fp32_s / median["ours, fp32"],
        },
        "precision": precision.described("auto"),
    }


def no_worse(store: Path, seeds: int, say: Callable[[str], None]) -> dict[str, object]:
    """Return the test AUROC of both precisions on the same rows, and an interval of the difference."""
    from benchmarks.accuracy import arrays_of, dataset_of
    from clm.evaluation.metrics import auroc
    from clm.settings.derived import Settings
    from clm.training.determinism import make_deterministic
    from clm.training.ensemble import fit_candidate
    from clm.training.members import Material
    from clm.training.predict import logits, p_win
    from clm.training.windows import part_of, scaled_windows

    settings = Settings(store=store)
    dataset = dataset_of(store, settings)
    arrays = arrays_of(dataset, settings.training_spec())
    label_N, answers = arrays.label_N[arrays.test], {}
    chosen = architecture("engine").sized(arrays.features_RC.shape[1])
    windows = scaled_windows(arrays, n_channels=chosen.n_features, context_length=chosen.context_length)
    parts = [part_of(arrays, part) for part in (arrays.train, arrays.validation, arrays.test)]
    for seed in range(seeds):
        for asked in ("fp32", "auto"):
            # Begun anywhere: those that begin as a regression stay close to it, whatever they are rounded to.
            spec = Settings(store=store, seed=seed, precision=asked, start="random").training_spec()
            make_deterministic(seed, 1)
            with tempfile.TemporaryDirectory() as directory:
                material = Material(
                    architecture=chosen, windows=windows, parts={"train": parts[0], "validation": parts[1]}
                )
                model, fitted = fit_candidate(material, spec, lambda _: None, Path(directory))
            model.load_state_dict(fitted.state)
            answers[asked, seed] = p_win(logits(model, windows, parts[2].row_N))
            found = auroc(label_N, answers[asked, seed])
            say(f"  seed {seed} {asked}: epoch {fitted.best_epoch}, AUROC {found:.5f}")

    def mean_auroc(asked: str, row_N: np.ndarray) -> float:
        return statistics.fmean(auroc(label_N[row_N], answers[asked, seed][row_N]) for seed in range(seeds))

    random, everything = np.random.default_rng(0), np.arange(len(label_N))
    differences = []
    for _ in range(500):
        row_N = random.integers(0, len(label_N), len(label_N))
        differences.append(mean_auroc("auto", row_N) - mean_auroc("fp32", row_N))
    return {
        "seeds": seeds,
        "test_rows": len(label_N),
        "auroc": {asked: mean_auroc(asked, everything) for asked in ("auto", "fp32")},
        "difference_95": [float(q) for q in np.quantile(differences, (0.025, 0.975))],
    }


def tell(report: dict) -> None:
    """Print the report for people."""
    rungs = [(rung["rung"], rung["ratio"], rung["ratio_fp32"]) for rung in report["ladder"]]
    for name, ratio, fp32 in [*rungs, *((name, ratio, None) for name, ratio in report["not_in_use"].items())]:
        columns = (f"{value:6.2f} x" if value is not None else "       -" for value in (ratio, fp32))
        print(f"{name:18} {report['cpu_s'].get(name, float('nan')):7.2f} s  {'  '.join(columns)}")
    for name, ratio in report["ratio_vs_hf_patchtst"].items():
        print(f"transformers, {name:16} " + ("-" if ratio is None else f"{ratio:6.2f} x"))
    for name, why in report["absent"].items():
        print(f"{name} was not measured: {why}")
    print(f"floor: {json.dumps(report['floor'])} ({report['precision']})")
    if "accuracy" in report:
        print(f"accuracy: {json.dumps(report['accuracy'])}")


def main() -> int:
    """Measure and print the figures."""
    parser = argparse.ArgumentParser(description="What each trick of the training loop is worth.")
    parser.add_argument("--windows", type=int, default=2165)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument(
        "--compile", action="store_true", help="measure torch.compile too, which takes minutes"
    )
    parser.add_argument("--store", type=Path, help="compare the test AUROC of both precisions on this store")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout, progress on stderr")
    asked = parser.parse_args()
    progress = sys.stderr if asked.json else sys.stdout

    def say(line: str) -> None:
        print(line, file=progress, flush=True)

    report = measure(asked, say)
    if asked.store:
        report["accuracy"] = no_worse(asked.store, asked.seeds, say)
    if asked.json:
        print(json.dumps(report))
    else:
        tell(report)
    return 0


if __name__ == "__main__":
    sys.exit(main())
