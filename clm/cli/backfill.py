"""The verb that fills an empty store from market candles: backfill."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict, Unpack

import click

from clm.cli.verbs import Say, verb
from clm.data.candles.catalogue import DEFAULT_FEATURES
from clm.errors import DataError, UsageError
from clm.settings import Settings

if TYPE_CHECKING:
    from clm.data.candles.backfill import BackfillPolicy
    from clm.data.candles.series import CandleReport, Candles

SIDES = ("both", "buy", "sell", "trend")
"""The sides of clm.data.candles.backfill, which only this verb imports; a test compares the two."""


class Options(TypedDict):
    """The parsed options that describe the trades."""

    take_profit: float
    stop_loss: float
    horizon: int
    fee_bps: float
    every: int
    side: str
    features: str


_SHARE = click.FloatRange(0, 1, min_open=True, max_open=True)


@verb("backfill")
@click.option(
    "--candles", type=click.Path(path_type=Path), help="Directory of candle files. Default: CLM_CANDLES_DIR."
)
@click.option(
    "--take-profit", type=_SHARE, default=0.006, show_default=True, help="Share of the entry price."
)
@click.option("--stop-loss", type=_SHARE, default=0.018, show_default=True, help="Share of the entry price.")
@click.option(
    "--horizon",
    type=click.IntRange(1, 10_000),
    default=6,
    show_default=True,
    help="Candles after which a trade is closed.",
)
@click.option(
    "--fee-bps",
    type=click.FloatRange(0, 1000),
    default=4.0,
    show_default=True,
    help="Fee of one side of a trade in basis points.",
)
@click.option(
    "--every",
    type=click.IntRange(1, 10_000),
    default=3,
    show_default=True,
    help="Candles between decisions.",
)
@click.option(
    "--side",
    type=click.Choice(SIDES),
    default="trend",
    show_default=True,
    help="trend: BUY above the mean of 50 candles and SELL below it. Or one side, or both.",
)
@click.option(
    "--features",
    default=",".join(DEFAULT_FEATURES),
    show_default=True,
    help="Comma-separated features from docs/reference/features.md.",
)
def backfill_verb(settings: Settings, say: Say, candles: Path | None, **options: Unpack[Options]) -> object:
    """Fill an empty store with labelled samples from market candles."""
    from clm.clock import SystemClock, from_micros
    from clm.data.candles.backfill import backfill
    from clm.store.backfill import fill_empty
    from clm.store.candle_files import CandleDirectory

    policy = _policy(options)
    directory = candles or settings.candles_dir
    found = CandleDirectory(directory).read()
    _require_sane(directory, found, settings.max_bad_share)
    samples = backfill(found, policy, SystemClock().now())
    if not samples:
        raise DataError("CANDLES_TOO_FEW", f"{directory} holds no run of candles long enough: {_runs(found)}")
    inserted = fill_empty(settings.store, (sample.as_row() for sample in samples))
    _report(found, say)
    won = samples.share_won
    say(f"{inserted:,} samples in {settings.store}, {won:.1%} of them won; `clm preflight` judges them")
    return {
        "store": str(settings.store),
        "samples": inserted,
        "share_won": won,
        "first": from_micros(int(samples.decided_at_N[0])),
        "last": from_micros(int(samples.decided_at_N[-1])),
        "candles": {report.symbol: report.candles for report in found.reports},
        "rejected": found.rejected,
        "gaps": sum(report.gaps for report in found.reports),
    }


def _policy(options: Options) -> "BackfillPolicy":
    """Return the rules for deriving trades from candles.

    Raises:
        UsageError: USAGE, no feature is named.
    """
    from clm.data.candles.backfill import BackfillPolicy
    from clm.data.candles.barriers import Barriers

    names = (name.strip() for name in options["features"].split(","))
    features = tuple(dict.fromkeys(name for name in names if name))
    if not features:
        raise UsageError("USAGE", "--features is empty; docs/reference/features.md lists them")
    return BackfillPolicy(
        barriers=Barriers(
            take_profit=options["take_profit"], stop_loss=options["stop_loss"], horizon=options["horizon"]
        ),
        fee_bps=options["fee_bps"],
        every=options["every"],
        side=options["side"],
        features=features,
    )


def _report(found: "Candles", say: Say) -> None:
    """Print one line per symbol: number of candles, gaps, and rejected candles by reason."""
    for report in found.reports:
        lost = _lost(report, found.examples)
        say(
            f"{report.symbol:12} {report.candles:>9,} candles, {report.gaps:,} gaps"
            f"{f', left out: {lost}' if lost else ''}"
        )
        if report.spellings:
            say(f"{'':12} its files are named {' and '.join(report.spellings)}")
    if found.passed_over:
        others = ", ".join(f"{n:,} {what}" for what, n in found.passed_over.items())
        say(f"passed over, because they are not candle files: {others}")


def _lost(report: "CandleReport", examples: Mapping[str, str]) -> str:
    """Return what was left out of one symbol's candles, by reason, with a value where there is one."""
    reasons = [
        f"{reason} {n:,}" + (f" (such as {examples[reason]})" if reason in examples else "")
        for reason, n in report.rejected.items()
    ]
    return ", ".join([*reasons, *([f"not trading {report.not_trading:,}"] if report.not_trading else [])])


def _runs(found: "Candles") -> str:
    """Return how long the longest run of each symbol is, and what broke it."""
    from clm.data.candles.catalogue import FEATURES

    needed = max(member.warm_up for member in FEATURES) + 1
    longest = {series.symbol: max(run.stop - run.start for run in series.runs()) for series in found.series}
    shown = []
    for report in found.reports[:5]:
        broken = [f"{report.gaps:,} gaps with {report.missing:,} candles missing"] if report.gaps else []
        broken += [f"{report.jumps:,} jumps of the price"] if report.jumps else []
        broken += [f"{report.duplicates:,} repeated"] if report.duplicates else []
        broken += [lost] if (lost := _lost(report, found.examples)) else []
        shown.append(
            f"{report.symbol} has {report.rows_read:,} rows and a longest run of "
            f"{longest.get(report.symbol, 0):,} candles ({'; '.join(broken) or 'nothing is missing'})"
        )
    return f"a sample needs {needed:,} of them and its horizon; {'; '.join(shown) or 'there are no rows'}"


def _require_sane(directory: Path, found: "Candles", max_bad_share: float) -> None:
    bad = sum(found.rejected.values())
    if bad <= max_bad_share * found.rows_read:
        return
    shown = ", ".join(
        f"{reason} {n:,}" + (f" (such as {found.examples[reason]})" if reason in found.examples else "")
        for reason, n in found.rejected.items()
    )
    raise DataError(
        "CANDLES_BAD",
        f"{bad:,} of {found.rows_read:,} candles in {directory} cannot be used ({shown}), "
        f"more than CLM_DATA__MAX_BAD_SHARE {max_bad_share:g}; {_cure(found.rejected)}",
    )


def _cure(rejected: Mapping[str, int]) -> str:
    """Return what helps against the most frequent reason."""
    worst = max(rejected, key=lambda reason: rejected[reason])
    return {
        "bad_timestamp": "write times as 2025-12-30 21:14:40 in UTC, or as a number since 1970",
        "bad_symbol": "write symbols as BTCUSDT, or leave the column out and name the file by its market",
        "wrong_number_of_fields": "download the file again; lines are cut or hold the delimiter",
        "off_grid": "give candles of each interval and phase a directory of their own",
    }.get(worst, "download them again")
