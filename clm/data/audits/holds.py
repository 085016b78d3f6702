"""What the store says of how long trades were held."""

from clm.data.findings import AuditPolicy, Finding, Severity


def negative_holds(
    known: int, negative: int, sample_ids: tuple[int, ...], policy: AuditPolicy
) -> Finding | None:
    """A trade that was held for less than no time was closed by a wrong clock."""
    share = negative / known if known else 0.0
    if share <= policy.warn_bad_share:
        return None
    return Finding(
        name="negative_holds",
        severity=Severity.WARN,
        statistic=share,
        threshold=policy.warn_bad_share,
        rows=negative,
        message=f"{negative:,} of {known:,} trades ({share:.1%}) have a hold_duration_seconds below 0; "
        "samples "
        + ", ".join(str(sample_id) for sample_id in sample_ids[:5])
        + (", ..." if negative > 5 else ""),
        next_step="look at what writes entry and exit times; training reads exit_time alone",
        sample_ids=sample_ids,
    )
