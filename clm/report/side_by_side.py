"""Compare two models side by side, as plain values and as lines of text."""

from collections.abc import Iterator, Mapping

from clm.evaluation.evaluation import Comparison, Evaluation, Interval
from clm.report.plain import Plain, plain
from clm.report.sections import metrics_side_by_side

Line = tuple[str, float, float]

_SHARES = ("BUY", "SELL", "HOLD")
_CONFIDENCE = ("mean", "std", "min", "p10", "p50", "p90", "max", "p10_p90", "unique_values")
_SKILL = ("auroc", "log_loss", "brier", "accuracy", "precision", "recall", "f1")
_PROFIT = ("n_trades", "net_return_per_trade", "net_return_total", "max_drawdown", "turnover_per_day")


def side_by_side(names: tuple[str, str], first: Comparison, second: Comparison) -> dict[str, Plain]:
    """Return every figure of both models, and the differences second - first."""
    models: list[Plain] = [
        {"name": name, **_own_figures(found)} for name, found in zip(names, (first, second), strict=True)
    ]
    return {
        "rows": len(second.rows),
        "models": models,
        "baselines": metrics_side_by_side(second)["baselines"],
        "log_loss_difference": plain(second.log_loss_minus_champion),
        "net_return_difference": plain(second.net_return_minus_champion),
    }


def lines(names: tuple[str, str], first: Comparison, second: Comparison) -> Iterator[str]:
    """Yield the lines of the table: actions, confidence, skill, calibration, profit."""
    a, b = first.candidate, second.candidate
    width = max(14, *(len(name) for name in names))
    yield f"{'':24} {names[0]:>{width}} {names[1]:>{width}}"
    for heading, rows in _sections(a, b):
        yield heading
        yield from (f"  {name:22} {_number(x):>{width}} {_number(y):>{width}}" for name, x, y in rows)
    yield f"both on the same {len(second.rows):,} test rows; {names[1]} - {names[0]}:"
    yield f"  log loss {_interval(second.log_loss_minus_champion)}"
    yield f"  net return per trade {_interval(second.net_return_minus_champion)}"


def _own_figures(found: Comparison) -> Mapping[str, Plain]:
    shown = metrics_side_by_side(found)["candidate"]
    return {name: value for name, value in shown.items() if name != "name"} if isinstance(shown, dict) else {}


def _sections(a: Evaluation, b: Evaluation) -> Iterator[tuple[str, list[Line]]]:
    yield "actions", [(name, a.action_shares[name], b.action_shares[name]) for name in _SHARES]
    yield "confidence, P(WIN)", [_of(name, a.confidence, b.confidence) for name in _CONFIDENCE]
    yield "skill", [_of(name, a, b) for name in _SKILL]
    yield "calibration", [_of("ece", a, b)]
    yield "profit after costs", [_of(name, a.trading, b.trading) for name in _PROFIT]


def _of(name: str, a: object, b: object) -> Line:
    return name.replace("_", " "), getattr(a, name), getattr(b, name)


def _number(value: float) -> str:
    if isinstance(value, int):
        return f"{value:,}"
    return "–" if value != value else f"{value:.4f}"


def _interval(interval: Interval | None) -> str:
    if interval is None or interval.value != interval.value:
        return "unknown"
    if not interval.low <= interval.high:
        return f"{interval.value:+.5f}, no interval"
    return f"{interval.value:+.5f}, {interval.confidence:.0%} {interval.low:+.5f} to {interval.high:+.5f}"
