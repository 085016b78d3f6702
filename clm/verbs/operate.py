"""Operator commands, with or without a running daemon.

They do not need the daemon's lock: the lock of the models directory serialises promotions, and commands to
the daemon are rows that it reads before it acts.
"""

import socket

import structlog

from clm.artefacts.files import sha256_of
from clm.clock import SystemClock, iso
from clm.domain.freeze import FreezeState
from clm.errors import PromotionError, UsageError
from clm.events import PerformanceAlert
from clm.gates.decision import DecisionKind
from clm.gates.verdict import GateStatus
from clm.owner import root_connection
from clm.ports import (
    Control,
    PromotionKind,
    PromotionOutcome,
    PromotionRequest,
    Reign,
    StopSignal,
)
from clm.promotion.activation import Activation
from clm.settings import Settings
from clm.store.contract import check_contract
from clm.store.migrate import has_schema, migrate
from clm.store.promotions import SqlitePromotionLog
from clm.verbs.run import send_events
from clm.wiring import Wired, controls_of, redis_brake_of, wire

log = structlog.get_logger()


def promote_version(
    settings: Settings, version: str, *, override: str | None, stop: StopSignal
) -> PromotionOutcome:
    """Promote a registered model and return the outcome.

    Raises:
        ArtefactError: ARTEFACT_MISSING, ARTEFACT_TORN.
        PromotionError: NOT_PASSED, the gates did not say PROMOTE; FROZEN, the freeze keys are set, or
            were when Redis last answered.
        PromotionBusy: another promotion is under way.
    """
    _demand_words(override)
    wired = _ready(settings, stop)
    artefact = wired.registry.get(version)
    asked = "asked for at the command line" if override is None else f"override: {override}"
    if override is None:
        if artefact.manifest.decision != DecisionKind.PROMOTE.value:
            raise PromotionError(
                "NOT_PASSED",
                f"{version} was judged {artefact.manifest.decision}; `clm show "
                f'{artefact.manifest.lineage.run_id}` says why, `--override "reason"` promotes it anyway',
            )
        freeze = redis_brake_of(settings).freeze()
        if frozen := freeze.stops_because:
            raise PromotionError("FROZEN", f"{frozen}; remove the key, or --override with a reason")
        if freeze.state is FreezeState.UNKNOWN:
            log.warning("promotion.freeze_unknown", version=version, reason=freeze.reason)
            asked = f"{asked} although {freeze.reason}"
    request = PromotionRequest(
        kind=PromotionKind.PROMOTE,
        reason=asked,
        override=override is not None,
    )
    outcome = wired.promoter.promote(artefact, artefact.manifest.lineage.run_id, request)
    send_events(settings, wired.outbox)
    return outcome


def roll_back(settings: Settings, version: str | None, *, reason: str, stop: StopSignal) -> PromotionOutcome:
    """Promote a former champion and return the outcome.

    Raises:
        PromotionError: NO_CHAMPION_BEFORE, NEVER_CHAMPION.
        PromotionBusy: another promotion is under way.
    """
    wired = _ready(settings, stop)
    reign = former_champion(wired.log.reigns(), version)
    request = PromotionRequest(kind=PromotionKind.ROLLBACK, reason=reason)
    outcome = wired.promoter.bring_back(reign, request)
    send_events(settings, wired.outbox)
    return outcome


def activate(settings: Settings, version: str, *, override: str | None, stop: StopSignal) -> Activation:
    """Let the engine trade on the champion and return the result.

    Raises:
        PromotionError: NOT_PROVEN, gates 3 and 4 do not both pass; NOT_CHAMPION, ALREADY_LIVE, or the first
            failed precondition.
        BusUnavailable: the streams with the model's decisions in shadow cannot be read.
    """
    _demand_words(override)
    wired = _ready(settings, stop, root=root_connection())
    why = _proven_in_shadow(settings, version) if override is None else f"override: {override}"
    wired.outbox.append([_live_alert(version, f"a person lets the engine trade on {version}: {why}")], "live")
    ended = wired.promoter.go_live(version)
    if ended.is_live:
        known = wired.log.known_sha256(ended.path)
        wired.log.adopt(
            path=ended.path,
            sha256=known or sha256_of(ended.path),
            env_sha256=ended.env_sha256,
            reason=f"live: {why}",
            known=known is not None,
            events=[_live_alert(version, ended.reason)],
            kind=PromotionKind.ACTIVATE,
        )
    else:
        wired.outbox.append([_live_alert(version, f"not live: {ended.reason}")], "live")
    send_events(settings, wired.outbox)
    return ended


def _proven_in_shadow(settings: Settings, version: str) -> str:
    from clm.verbs.shadow import shadow_verdicts

    verdicts = shadow_verdicts(settings, version)
    if missing := [f"{v.name}: {v.reason}" for v in verdicts if v.status is not GateStatus.PASS]:
        raise PromotionError(
            "NOT_PROVEN",
            f"{version} was not proven in shadow ({'; '.join(missing)}); `clm gates {version}` shows why, "
            '`--override "reason"` goes live anyway',
        )
    return f"passed: {', '.join(v.name for v in verdicts)}"


def _live_alert(version: str, message: str) -> PerformanceAlert:
    return PerformanceAlert(
        model_id=version,
        severity="warning",
        message=message,
        timestamp=iso(SystemClock().now()),
        metadata={"live": True},
    )


def former_champion(reigns: list[Reign], version: str | None) -> Reign:
    """Return the reign to restore: of this version, or the one that the champion replaced.

    After a rollback, the champion counts at its first reign: a second rollback goes one further back.
    """
    if not reigns:
        raise PromotionError("NO_CHAMPION_BEFORE", "no champion is recorded yet; `clm history` is empty")
    now = reigns[0]
    if version is not None:
        found = next((r for r in reigns if r.version == version), None)
        if found is None:
            raise PromotionError(
                "NEVER_CHAMPION",
                f"{version} was never champion; see `clm history`, or `clm promote {version}` for a new one",
            )
        return found
    came = next(
        (n for n, r in enumerate(reigns) if r.path == now.path and r.kind is not PromotionKind.ROLLBACK), 0
    )
    before = next((r for r in reigns[came:] if r.path != now.path), None)
    if before is None:
        raise PromotionError(
            "NO_CHAMPION_BEFORE", f"nothing is recorded before {now.version}; name a VERSION of `clm history`"
        )
    return before


def pin_champion(settings: Settings, version: str | None, *, reason: str) -> str:
    """Pin the model that the environment file names.

    Raises:
        PromotionError: NO_CHAMPION; NOT_CHAMPION, the version is another one.
    """
    wired = wire(settings)
    champion = wired.promoter.champion()
    if champion is None:
        raise PromotionError(
            "NO_CHAMPION", f"{settings.engine_env_file} names no model to pin; see `clm doctor`"
        )
    if version is not None and version != champion.version:
        raise PromotionError(
            "NOT_CHAMPION",
            f"{version} is not the champion, {champion.version} is; `clm promote` or `clm rollback` first",
        )
    controls_of(settings).set(Control.PIN, value=champion.version, reason=reason)
    return champion.version


def unpin(settings: Settings) -> str | None:
    """Remove the pin and return what was pinned."""
    _prepare(settings)
    lifted = controls_of(settings).clear(Control.PIN)
    return lifted[Control.PIN].value if lifted else None


def pause_learning(settings: Settings, reason: str) -> None:
    """Pause automatic training and promotion; the daemon obeys before its next step."""
    _prepare(settings)
    controls_of(settings).set(Control.PAUSE, reason=reason)


def resume_learning(settings: Settings) -> dict[str, str]:
    """End a pause and a hold; return their reasons."""
    _prepare(settings)
    lifted = controls_of(settings).clear(Control.PAUSE, Control.SUSPENDED)
    return {control.value: row.reason for control, row in lifted.items()}


def champions(settings: Settings) -> list[dict[str, object]]:
    """Return the reigns of champions, newest first; empty if none is recorded."""
    check_contract(settings.store)
    if not has_schema(settings.store):
        return []
    return [
        {
            "version": reign.version,
            "path": str(reign.path),
            "since": reign.since or None,
            "until": reign.until,
            "kind": reign.kind.value,
            "why": reign.why,
            "run_id": reign.run_id,
        }
        for reign in SqlitePromotionLog(settings.store, SystemClock()).reigns()
    ]


def reconcile_record(settings: Settings, *, repair: bool) -> list[str]:
    """Return how the record contradicts the environment file; `repair` corrects the record."""
    wired = wire(settings)
    champion = wired.promoter.champion()
    if champion is None:
        raise PromotionError(
            "NO_CHAMPION", f"{settings.engine_env_file} names no model to compare with; see `clm doctor`"
        )
    reigns = wired.log.reigns()
    differences = []
    if not reigns or reigns[0].path != champion.path:
        last = reigns[0].version if reigns else "nobody"
        differences.append(
            f"the engine's file names {champion.version}, the last recorded champion is {last}"
        )
    differences += wired.log.wrongly_active(champion.version)
    if differences and repair:
        wired.promoter.recover()
        if wired.promoter.adopt() is None:
            wired.log.set_active(champion.version)
    return differences


def _ready(settings: Settings, stop: StopSignal, root: socket.socket | None = None) -> Wired:
    """Connect the parts, finish an interrupted promotion, and record the champion."""
    wired = wire(settings, stop=stop, root=root)
    if outcome := wired.promoter.recover():
        log.warning("promotion.recovered", version=outcome.version, state=outcome.state.value)
    wired.promoter.adopt()
    return wired


def _prepare(settings: Settings) -> None:
    check_contract(settings.store)
    migrate(settings.store)


def _demand_words(override: str | None) -> None:
    if override is not None and not override.strip():
        raise UsageError("USAGE", "--override needs a reason in words: it is recorded")
