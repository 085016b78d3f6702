"""The report of `clm walkforward`: one line for each cut, and the means with their intervals."""

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from clm.clock import iso
from clm.evaluation.attempts import in_percent
from clm.evaluation.evaluation import Comparison, EvaluationPolicy
from clm.evaluation.evidence import comparison_of
from clm.evaluation.walk_forward import CutResult, over_cuts
from clm.gates.catalogue import judge
from clm.gates.decision import DecisionKind, decide
from clm.gates.policy import GatePolicy
from clm.report.plain import Plain, plain

INTERVALS = "bootstrap of cuts and of blocks of time"
MEANS = {
    "candidate_minus_logistic": "log loss, candidate - logistic regression",
    "candidate_minus_trees": "log loss, candidate - boosted trees",
    "trees_minus_logistic": "log loss, boosted trees - logistic regression",
    "net_return_per_trade": "net return per trade of the candidate",
}
FIGURES = (
    "log_loss",
    "log_loss_minus_logistic",
    "log_loss_minus_trees",
    "auroc",
    "ece",
    "net_return_per_trade",
    "n_trades",
    "better_plain",
    "gates",
    "best_epoch",
    "notes",
    "seconds",
)
"""Keys of a cut that are null if nothing was trained."""


def document(
    results: Sequence[CutResult], evaluation: EvaluationPolicy, gates: GatePolicy
) -> dict[str, Plain]:
    """Return all figures, computed from the stored predictions by today's policies; the keys are stable."""
    judged = [replace(one.evidence, policy=evaluation) for one in results if one.evidence]
    cuts = [_cut(one, evaluation, gates) for one in results]
    behind = [cut["log_loss_minus_logistic"] for cut in cuts if cut["log_loss_minus_logistic"] is not None]
    return {
        "cuts": list(cuts),
        "mean": plain(over_cuts(judged, evaluation)) if judged else None,
        "worst_minus_logistic": max(behind, default=None),  # type: ignore[type-var]  # numbers
        "intervals": INTERVALS,
    }


def _cut(result: CutResult, evaluation: EvaluationPolicy, gates: GatePolicy) -> dict[str, Plain]:
    """Return one cut; the figures of a cut without a model are null."""
    shown: dict[str, Plain] = {
        "cut": iso(result.cut),
        "refused_because": result.refused_because,
        "decision": DecisionKind.REFUSED.value,
        "windows": plain(result.windows),
        **dict.fromkeys(FIGURES),
    }
    if result.evidence is None:
        return shown
    evidence = replace(result.evidence, policy=evaluation)
    comparison = comparison_of(evidence)
    verdicts = judge(comparison, gates)
    return {
        **shown,
        **_figures(comparison),
        "decision": decide(verdicts).kind.value,
        "gates": {verdict.name: verdict.status.value for verdict in verdicts},
        "best_epoch": result.best_epoch,
        "notes": plain(result.notes),
        "seconds": result.seconds,
    }


def _figures(comparison: Comparison) -> dict[str, Plain]:
    models = {
        "candidate": comparison.candidate,
        "logistic": comparison.logistic,
        "trees": comparison.trees,
    }
    loss = {name: found.log_loss if found else float("nan") for name, found in models.items()}
    return {
        "log_loss": plain(loss),
        "log_loss_minus_logistic": plain(loss["candidate"] - loss["logistic"]),
        "log_loss_minus_trees": plain(loss["candidate"] - loss["trees"]),
        "auroc": plain({name: found.auroc if found else float("nan") for name, found in models.items()}),
        "ece": plain(comparison.candidate.ece),
        "net_return_per_trade": plain(comparison.net_return_per_trade),
        "n_trades": comparison.candidate.trading.n_trades,
        "better_plain": comparison.better_plain,
    }


def lines(found: Mapping[str, Any]) -> Iterator[str]:
    """Yield the lines of the table, at most 80 characters each."""
    yield f"{'':21}{'log loss':>9}{'minus':>9}{'minus':>9}{'':7}{'net per':>9}"
    yield f"{'cut':11}{'test rows':>10}{'':9}{'logistic':>9}{'trees':>9}{'AUROC':>7}{'trade':>9}  decision"
    for cut in found["cuts"]:
        if cut["refused_because"]:
            yield textwrap.shorten(
                f"{cut['cut'][:10]}  REFUSED  {cut['refused_because']}", 80, placeholder="..."
            )
            continue
        figures = (
            (cut["log_loss"]["candidate"], "9.4f"),
            (cut["log_loss_minus_logistic"], "+9.4f"),
            (cut["log_loss_minus_trees"], "+9.4f"),
            (cut["auroc"]["candidate"], "7.3f"),
            (cut["net_return_per_trade"]["value"], "+9.4f"),
        )
        shown = "".join(_number(value, form) for value, form in figures)
        yield f"{cut['cut'][:10]:11}{cut['windows']['test']:10,}{shown}  {cut['decision']}"
    if found["mean"]:
        confidence = found["mean"]["candidate_minus_logistic"]["confidence"]
        yield f"means over the cuts, {in_percent(confidence)} % intervals ({INTERVALS}):"
        yield from (f"  {words:46}{_interval(found['mean'][name])}" for name, words in MEANS.items())


def _number(value: float | None, form: str) -> str:
    return f"{'–':>{form.strip('+').partition('.')[0]}}" if value is None else f"{value:{form}}"


def _interval(interval: Mapping[str, Any]) -> str:
    value = _number(interval["value"], "+8.4f")
    if interval["low"] is None or interval["high"] is None:
        return f"{value}  no interval"
    return f"{value}  {interval['low']:+.4f} to {interval['high']:+.4f}"
