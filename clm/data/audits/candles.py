"""Audits of the candles that windows are made of: are they sound, are they there."""

from datetime import datetime

from clm.data.dataset import Dataset
from clm.data.findings import AuditPolicy, Finding, Severity
from clm.domain.markets import PERPETUAL, spot_of

FEWEST_JOINED = 30
"""Samples of a symbol and month below which a misfit is an accident."""
WITHIN = 0.9
"""Share of the entry prices that are within their candle if clock, market and unit are right."""
MAX_LOST_SHARE = 0.5
"""Samples without their candles above which the candles are of another market, or of another time."""


def bad_candles(dataset: Dataset, policy: AuditPolicy, now: datetime) -> Finding | None:
    """Candles that cannot be: what writes or fetches them is broken."""
    read = sum(report.rows_read for report in dataset.candles)
    bad = sum(sum(report.rejected.values()) for report in dataset.candles)
    share = bad / read if read else 0.0
    if share <= policy.warn_bad_share:
        return None
    block = share > policy.max_bad_share
    worst = max(dataset.candles, key=lambda report: sum(report.rejected.values()))
    shown = ", ".join(f"{reason} {n:,}" for reason, n in worst.rejected.items())
    return Finding(
        name="bad_candles",
        severity=Severity.BLOCK if block else Severity.WARN,
        statistic=share,
        threshold=policy.max_bad_share if block else policy.warn_bad_share,
        rows=bad,
        message=f"{bad:,} of {read:,} candles ({share:.1%}) cannot be used, most of {worst.symbol}: {shown}",
        next_step="fetch them anew; bad candles are left out, never filled in",
    )


def samples_without_candles(dataset: Dataset, policy: AuditPolicy, now: datetime) -> Finding | None:
    """A sample without the unbroken candles before its decision has no window."""
    lost = {reason: n for reason, n in dataset.dropped.items() if reason.startswith("candles_")}
    rows, labelled = sum(lost.values()), int(dataset.table.labelled_R.sum())
    share = rows / labelled if labelled else 0.0
    if share <= policy.max_bad_share:
        return None
    block = share > MAX_LOST_SHARE
    reach = ", ".join(
        f"{report.symbol} {report.candles:,} candles with {report.gaps:,} gaps"
        for report in dataset.candles[:5]
    )
    return Finding(
        name="samples_without_candles",
        severity=Severity.BLOCK if block else Severity.WARN,
        statistic=share,
        threshold=MAX_LOST_SHARE if block else policy.max_bad_share,
        rows=rows,
        message=f"{rows:,} of {labelled:,} samples ({share:.1%}) have no window: "
        + ", ".join(f"{reason} {n:,}" for reason, n in lost.items())
        + f"; there are {reach or 'no candles'}",
        next_step=_nearly_the_same(dataset)
        or "download candles of these symbols and times into CLM_CANDLES_DIR",
    )


def _nearly_the_same(dataset: Dataset) -> str:
    """Return a hint where the candles are of a contract of the market, or the samples are; else ""."""
    held = {report.symbol for report in dataset.candles}
    for symbol in dataset.table.symbols:
        other = spot_of(symbol) if spot_of(symbol) != symbol else f"{symbol}{PERPETUAL}"
        if symbol not in held and other in held:
            return (
                f"the samples are of {symbol}, the candles of {other}: a perpetual is not its spot; download "
                f"candles of {symbol}, or name the files by it if they are its candles"
            )
    return ""


def market_not_trading(dataset: Dataset, policy: AuditPolicy, now: datetime) -> Finding | None:
    """A market that does not trade can be predicted perfectly, and nothing can be earned with it."""
    still = {report.symbol: report.not_trading for report in dataset.candles if report.not_trading}
    rows, read = sum(still.values()), sum(report.rows_read for report in dataset.candles)
    share = rows / read if read else 0.0
    if share <= policy.warn_bad_share:
        return None
    listed = ", ".join(
        f"{symbol} {n:,}" for symbol, n in sorted(still.items(), key=lambda each: -each[1])[:5]
    )
    return Finding(
        name="market_not_trading",
        severity=Severity.WARN,
        statistic=share,
        threshold=policy.warn_bad_share,
        rows=rows,
        message=f"{rows:,} of {read:,} candles ({share:.1%}) have no volume and no move for hours: {listed}; "
        "they are left out",
        next_step="remove markets that are delisted, and candles that an export filled up",
    )


def candle_jumps(dataset: Dataset, policy: AuditPolicy, now: datetime) -> Finding | None:
    """An opening far from the close before: prices in another unit, a split, another contract."""
    jumped = [report for report in dataset.candles if report.jumps]
    if not jumped:
        return None
    listed = "; ".join(f"{report.symbol} {report.first_jump}" for report in jumped[:5])
    rows = sum(report.jumps for report in jumped)
    return Finding(
        name="candle_jumps",
        severity=Severity.WARN,
        statistic=float(rows),
        threshold=0.0,
        rows=rows,
        message=f"prices jump {rows:,} times from one candle to the next ({listed}); no window spans a jump",
        next_step="look whether the unit or the contract changed there, and give each its own file name",
    )


def coarse_prices(dataset: Dataset, policy: AuditPolicy, now: datetime) -> Finding | None:
    """Prices with too few digits stand still, and every feature of them is a step."""
    coarse = {report.symbol: report.coarse_share for report in dataset.candles if report.coarse_share}
    if not coarse:
        return None
    return Finding(
        name="coarse_prices",
        severity=Severity.WARN,
        statistic=max(coarse.values()),
        threshold=0.0,
        rows=sum(report.candles for report in dataset.candles if report.symbol in coarse),
        message="prices have too few digits: "
        + ", ".join(
            f"{symbol} does not move in {share:.0%} of its candles" for symbol, share in coarse.items()
        ),
        next_step="download the candles again with all digits",
    )


def entries_outside_candles(dataset: Dataset, policy: AuditPolicy, now: datetime) -> Finding | None:
    """An entry price far from the candle at its time: two clocks, two markets, or two units."""
    joins = dataset.joins
    samples = sum(join.samples for join in joins)
    many = [join for join in joins if join.samples >= FEWEST_JOINED]
    wrong = [join for join in many if join.lag_s or join.inside < WITHIN * join.samples]
    rows = sum(join.samples if join.lag_s else join.samples - join.inside for join in wrong)
    share = rows / samples if samples else 0.0
    if share <= policy.warn_bad_share:
        return None
    block = share > policy.max_bad_share
    worst = max(wrong, key=lambda join: join.samples)
    if worst.lag_s:
        why = f"the samples' clock is {worst.lag_s / 3600:+.3g} h off the candles'"
        cure = "write timestamps in UTC, or shift the candles; both clocks decide what a feature knows"
    else:
        why = f"the entry is {worst.ratio:.4g} times the last close"
        cure = "look whether the candles are of this market, in this unit, and at these times"
    return Finding(
        name="entries_outside_candles",
        severity=Severity.BLOCK if block else Severity.WARN,
        statistic=share,
        threshold=policy.max_bad_share if block else policy.warn_bad_share,
        rows=rows,
        message=f"{rows:,} of {samples:,} entry prices ({share:.1%}) do not fit the candles at their time; "
        f"{worst.symbol} in {worst.month}: {worst.inside:,} of {worst.samples:,} within the candle, {why}",
        next_step=cure,
    )
