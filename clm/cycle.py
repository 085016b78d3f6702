"""One learning cycle, top to bottom. Read this first.

rows -> samples -> data set -> findings -> training -> proof -> comparison -> verdicts -> decision
-> artefact -> promotion

Whatever its end, a run leaves a proof pack, a closed row in the journal, and events.
"""

from collections.abc import Callable
from dataclasses import replace

from clm.artefacts.judgement import write_judgement
from clm.artefacts.manifest import Artefact
from clm.attempt import Attempt, attempt, read_dataset
from clm.basis import basis_of, decided_on, fails_by_a_measurement
from clm.data.audits import audit, blocked, with_floor
from clm.data.dataset import DataPolicy, Dataset
from clm.decision import Decision, DecisionKind, refuse, skip
from clm.diagnosis import Diagnosis
from clm.domain.job import EpochReport
from clm.domain.task import Task
from clm.errors import DataError, Interrupted
from clm.ladder import entries
from clm.ports import (
    PromotionKind,
    PromotionOutcome,
    PromotionState,
    PromotionWish,
    StopSignal,
    held_by,
)
from clm.record import CycleReport, RunInProgress
from clm.world import Policies, World


def run_cycle(
    world: World,
    policies: Policies,
    *,
    task: Task | None,
    reason: str,
    stop: StopSignal,
    on_epoch: Callable[[EpochReport], None],
) -> CycleReport:
    """Learn once; every decision is a value, every broken promise an exception after the run was closed."""
    run = RunInProgress(
        task, reason, line=world.line, clock=world.clock, journal=world.journal, runs_dir=world.runs_dir
    )
    try:
        return _learn(run, world, policies, task, stop, on_epoch)
    except Exception as error:
        run.close_broken(error)
        raise


def _learn(
    run: RunInProgress,
    world: World,
    policies: Policies,
    task: Task | None,
    stop: StopSignal,
    on_epoch: Callable[[EpochReport], None],
) -> CycleReport:
    if frozen := world.brake.frozen_because():
        return run.close(_refused(f"nothing is trained while the system is frozen: {frozen}"))

    with run.phase("read"):
        dataset = read_dataset(world.source, world.candles, policies, run.started_at)
        findings = audit(dataset, policies.audit, run.started_at)
    run.note(dataset=dataset, findings=findings, class_weights=policies.training.class_weights)
    if blocked(findings):
        return run.close(refuse(findings))

    champion = world.promoter.champion()
    tries = world.ladder.trials, world.ladder.budget_s
    basis = basis_of(world.code_version, dataset, (policies, tries), champion)
    run.note(basis=basis)
    if task and not task.trigger.by_a_person and (earlier := decided_on(basis, world.journal)):
        return run.close(skip(earlier.run_id, str(earlier.decision), dataset.fingerprint))

    floor = None
    if world.signal:
        with run.phase("signal"):
            floor = world.signal.measure(dataset, stop)
        findings = with_floor(findings, floor, policies.audit)
        run.note(signal=floor, findings=findings)
        if blocked(findings):
            return run.close(refuse(findings))

    made = attempt(run, world, policies, dataset, champion, stop, on_epoch)
    if made.decision.kind is DecisionKind.REJECT:
        with run.phase("diagnose"):
            diagnosis = world.examiner.examine(
                made.job, dataset, made.training, made.verdicts, findings, floor, stop
            )
        run.note(diagnosis=diagnosis)
        made = _repaired(run, world, policies, made, diagnosis, stop, on_epoch) or made
    if fails_by_a_measurement(made.verdicts):
        run.note(basis=None)
    if made.decision.kind is not DecisionKind.PROMOTE:
        return run.close(made.decision, made.artefact)

    with run.phase("promote"):
        if stop.is_set():
            raise Interrupted("STOPPING", "asked to stop before the promotion; nothing was changed")
        why = made.decision.reasons[0]
        wish = PromotionWish(kind=PromotionKind.CYCLE, reason=why, instead_of=champion)
        promotion = _promote(world, policies, made.artefact, run, wish)
    return run.close(made.decision, made.artefact, promotion)


def _repaired(
    run: RunInProgress,
    world: World,
    policies: Policies,
    first: Attempt,
    diagnosis: Diagnosis,
    stop: StopSignal,
    on_epoch: Callable[[EpochReport], None],
) -> Attempt | None:
    """Try what may repair the cause and judge the best try once; None where the rejection stands."""

    def reread(data: DataPolicy) -> Dataset:
        other = read_dataset(world.source, world.candles, replace(policies, data=data), run.started_at)
        if blocked(found := audit(other, policies.audit, run.started_at)):
            raise DataError("REFUSED", refuse(found).reasons[0])
        return other

    with run.phase("tune"):
        tuning, candidate = world.ladder.climb(
            first.job, first.dataset, first.training, policies.data, diagnosis, reread, stop
        )
    # Before it is judged: an attempt that was killed on the way was an attempt.
    for entry in entries(run.run_id, tuning):
        world.journal.record(entry)
    run.note(tuning=tuning)
    if candidate is None:
        return None
    other = replace(policies, training=candidate.spec, data=candidate.data)
    champion = first.job.champion
    again = attempt(run, world, other, candidate.dataset, champion, stop, on_epoch, directory="tuned")
    stands = again.decision.kind is DecisionKind.REJECT
    kept, lost = (first, again) if stands else (again, first)
    # The files that `clm verify-run` reads are those of the candidate in the report.
    run.note(**kept.facts, evidence_sha256=write_judgement(run.directory, kept.judgement))
    run.note(tuning=replace(tuning, lost=lost.in_short))
    return None if stands else again


def _promote(
    world: World, policies: Policies, artefact: Artefact, run: RunInProgress, wish: PromotionWish
) -> PromotionOutcome:
    """Ask the promoter, unless this run, the freeze keys or a broken ledger have the last word."""
    version = artefact.manifest.version
    if not policies.promote:
        why = "this run was asked not to promote"
    elif held := held_by(world.brake.freeze(), version, wish):
        return held
    elif broken := run.standing.broken_because:
        why = f"the ledger is broken, attempts cannot be counted: {broken}; `clm verify-ledger` says more"
    else:
        return world.promoter.promote(artefact, run.run_id, wish)
    why = f"{why}; `clm promote {version}` brings it in"
    return PromotionOutcome(state=PromotionState.WAITING, version=version, reason=why, changes=())


def _refused(reason: str) -> Decision:
    return Decision(kind=DecisionKind.REFUSED, reasons=(reason,))
