"""`clm preflight`: check a store before any training; nothing is written."""

from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass

from clm.clock import SystemClock, from_micros, iso
from clm.data.audits import audit, blocked, ranked, with_floor
from clm.data.audits.coverage import starves_at
from clm.data.audits.holds import negative_holds
from clm.data.dataset import Dataset
from clm.data.findings import AuditPolicy, Finding
from clm.data.floor import Floor
from clm.ports import Clock, StopSignal
from clm.report.distributions import distributions_section
from clm.report.sections import data_section, findings_section, floor_section, splits_section
from clm.settings import Settings
from clm.steps.floor import prepared_floor
from clm.steps.read import read_dataset
from clm.store.holds import read_holds
from clm.store.samples import SqliteSampleSource
from clm.wiring import asker_of, candles_of, policies


@dataclass(frozen=True, slots=True, kw_only=True)
class Preflight:
    """The findings, ranked, and the data in which they were found."""

    dataset: Dataset
    findings: tuple[Finding, ...]
    signal: Floor | None
    """None if it was not requested, or if the data is refused anyway."""
    starves_at: int | None
    """When a window ending then has too few samples if no new ones arrive; microseconds since 1970."""
    class_weights: bool
    seconds: Mapping[str, float]

    @property
    def blocked(self) -> bool:
        """Whether a cycle would be refused."""
        return blocked(self.findings)


def preflight(settings: Settings, *, stop: StopSignal, clock: Clock | None = None) -> Preflight:
    """Read the data as a cycle does, and run every audit.

    The store is opened read-only; our tables are neither required nor created.

    Raises:
        DataError: the store or the candles cannot be read.
        StoreBusy: the store's lock was held for too long.
        Interrupted: `stop` was set.
    """
    clock = clock or SystemClock()
    policy, now, began = policies(settings), clock.now(), clock.monotonic()
    of_floor = policy.floor
    # The child loads its models while the store is read here.
    with prepared_floor(asker_of(settings), of_floor) if of_floor else nullcontext() as measure:
        source = SqliteSampleSource(settings.store, clock)
        dataset = read_dataset(source, candles_of(settings), policy, now)
        read = clock.monotonic()
        findings = ranked([*audit(dataset, policy.audit, now), *_of_the_store(settings, policy.audit)])
        audited = clock.monotonic()
        floor = measure(dataset, stop) if measure and not blocked(findings) else None
    return Preflight(
        dataset=dataset,
        findings=with_floor(findings, floor, policy.audit) if floor else findings,
        signal=floor,
        starves_at=starves_at(dataset, policy.audit),
        class_weights=policy.training.class_weights,
        seconds={
            "read": read - began,
            "audit": audited - read,
            "signal": clock.monotonic() - audited,
            "total": clock.monotonic() - began,
        },
    )


def preflight_document(found: Preflight, settings: Settings) -> dict[str, object]:
    """Return the report as JSON-compatible values."""
    return {
        "store": str(settings.store),
        "blocked": found.blocked,
        "findings": findings_section(found.findings),
        "samples": len(found.dataset.table),
        "windows": len(found.dataset.row_N),
        "fingerprint": found.dataset.fingerprint,
        "starves_at": iso(from_micros(found.starves_at)) if found.starves_at is not None else None,
        "data": data_section(found.dataset),
        "splits": splits_section(found.dataset),
        "distributions": distributions_section(found.dataset, balanced=found.class_weights),
        "signal": floor_section(found.signal) if found.signal else None,
        "seconds": dict(found.seconds),
    }


def _of_the_store(settings: Settings, policy: AuditPolicy) -> list[Finding]:
    holds = read_holds(settings.store)
    found = negative_holds(holds.known, holds.negative, holds.sample_ids, policy)
    return [found] if found else []
