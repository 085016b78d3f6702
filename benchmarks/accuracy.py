"""How good the networks are: `clm walkforward` with several settings and seeds on one store.

    python benchmarks/accuracy.py --store PATH [--cuts N] [--to DATE] [--seeds N] [--only NAME ...]
                                  [--ablations] [--state DIR] [--json]

Each network is trained at each cut with the default settings, one or two of them changed. The test part of a
cut is before the cut, as a cycle at that moment would have judged it. Logistic regression and boosted trees
on the last step of each window are trained with each network.

Figures are means over cuts and seeds: log loss in nats minus that of both plain models, the worst cut, AUROC,
expected calibration error, net return per trade. Intervals are of `clm walkforward`, over the cuts of all
seeds. Finished cuts in `--state` are not trained again.
"""

import argparse
import json
import statistics
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from clm.evaluation.walk_forward import CutPlan
from clm.report.walk_forward import document
from clm.settings.derived import Settings
from clm.verbs.walkforward import newest_sample, walk_forward

WAYS: Mapping[str, Mapping[str, object]] = {
    "engine": {},
    "engine, random start": {"start": "random"},
    "patchtst": {"architecture": "patchtst"},
    "patchtst-mix": {"architecture": "patchtst-mix"},
    "patchtst-mix, random start": {"architecture": "patchtst-mix", "start": "random"},
}
ABLATIONS: Mapping[str, Mapping[str, object]] = {
    "engine, no class weights": {"class_weights": False},
    "engine, no label smoothing": {"label_smoothing": 0.0},
    "engine, no dropout": {"dropout": 0.0},
    "engine, dropout 0.2": {"dropout": 0.2},
    "engine, learning rate 2e-4": {"learning_rate": 2e-4},
    "engine, learning rate 1e-3": {"learning_rate": 1e-3},
    "engine, weight decay 0.1": {"weight_decay": 0.1},
    "engine, batches of 128": {"batch_size": 128},
    "engine, 16 epochs": {"epochs": 16},
    "engine, weights averaged": {"swa_from": 0.5},
}


def measured(
    store: Path, plan: CutPlan, way: Mapping[str, object], seeds: int, state: Path
) -> dict[str, object]:
    """Return the figures of one way, over the cuts of all seeds."""
    results, settings = [], Settings(store=store)
    for seed in range(1, seeds + 1):
        named = "-".join(f"{key}={value}" for key, value in sorted({**way, "seed": seed}.items()))
        settings = Settings(
            store=store, state_dir=state / named, engine_loads="serving", **{**way, "seed": seed}
        )
        results += walk_forward(settings, plan, stop=threading.Event(), on_cut=lambda _: None)
    return document(results, settings.evaluation_policy(), settings.gate_policy())


def row(name: str, found: Mapping[str, object]) -> str:
    """Return one line of the table."""
    cuts = [cut for cut in found["cuts"] if not cut["refused_because"]]
    logistic, trees = (found["mean"][f"candidate_minus_{plain}"] for plain in ("logistic", "trees"))
    return (
        f"| {name} | {interval(logistic)} | {interval(trees)} | {found['worst_minus_logistic']:+.4f} "
        f"| {mean(cuts, 'auroc', 'candidate'):.3f} | {statistics.fmean(cut['ece'] for cut in cuts):.3f} "
        f"| {interval(found['mean']['net_return_per_trade'])} |"
    )


def plain_row(found: Mapping[str, object]) -> str:
    """Return the line of the trees, whose figures do not depend on the network."""
    cuts = [cut for cut in found["cuts"] if not cut["refused_because"]]
    behind, area = interval(found["mean"]["trees_minus_logistic"]), mean(cuts, "auroc", "trees")
    return f"| boosted trees | {behind} | | | {area:.3f} | | |"


def mean(cuts: Sequence[Mapping[str, object]], figure: str, model: str) -> float:
    """Return the mean of a figure of one model over the cuts."""
    return statistics.fmean(cut[figure][model] for cut in cuts)


def interval(found: Mapping[str, float]) -> str:
    """Return a mean with its interval."""
    return f"{found['value']:+.4f} ({found['low']:+.4f} to {found['high']:+.4f})"


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="How good the networks are on the rows of one store.")
    parser.add_argument("--store", type=Path, help="SQLite store with real outcomes")
    parser.add_argument("--cuts", type=int, default=10, help="first days of the newest months")
    parser.add_argument("--to", type=datetime.fromisoformat, help="no later cut; else the newest sample")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--only", nargs="*", default=[], help="names, or beginnings of names")
    parser.add_argument("--ablations", action="store_true")
    parser.add_argument("--state", type=Path, help="where finished cuts are kept; else a temporary directory")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout, the table on stderr")
    asked = parser.parse_args(arguments)
    if asked.store is None:
        print("accuracy: skipped, it needs a store with real outcomes: --store PATH")
        return 0
    ways = {**WAYS, **(ABLATIONS if asked.ablations else {})}
    if asked.only:
        ways = {name: way for name, way in ways.items() if name.startswith(tuple(asked.only))}
    until = asked.to.replace(tzinfo=UTC) if asked.to else newest_sample(Settings(store=asked.store))
    out, report = (sys.stderr if asked.json else sys.stdout), {}
    print("| | minus logistic | minus trees | worst cut | AUROC | ECE | net return per trade |", file=out)
    print("|---|---|---|---|---|---|---|", file=out)
    with tempfile.TemporaryDirectory(prefix="clm-accuracy-") as made:
        for name, way in ways.items():
            plan = CutPlan(cuts=asked.cuts, until=until)
            found = measured(asked.store, plan, way, asked.seeds, asked.state or Path(made))
            if not report:
                print(plain_row(found), file=out, flush=True)
            report[name] = found
            print(row(name, found), file=out, flush=True)
    if asked.json:
        print(json.dumps(report))
    return 0


if __name__ == "__main__":
    sys.exit(main())
