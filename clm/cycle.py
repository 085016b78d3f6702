"""One learning cycle, top to bottom. Read this first.

rows -> samples -> data set -> findings -> training -> proof -> comparison -> verdicts -> decision
-> artefact -> promotion

Each step is a function of records that returns one record. The run keeps the records, and the report is made
from them. Every run leaves a proof pack, a closed row in the journal, and events.
"""

from clm.gates.decision import Decision, DecisionKind, refuse, skip
from clm.ports import RunRow
from clm.steps.candidate import train_and_judge
from clm.steps.diagnosis import diagnose
from clm.steps.floor import check_floor
from clm.steps.promotion import promote
from clm.steps.read import read
from clm.steps.repetition import look_back
from clm.steps.results import Data, Ending
from clm.steps.run import CycleReport, RunInProgress
from clm.steps.tuning import retry
from clm.steps.world import Cycle, Policies, Request, World


def run_cycle(world: World, policies: Policies, request: Request) -> CycleReport:
    """Run one cycle and close its run.

    A decision is a value. If a step raises, the run is closed as failed and the exception is raised again.
    """
    run = RunInProgress(
        request.task,
        request.reason,
        line=world.line,
        clock=world.clock,
        journal=world.journal,
        runs_dir=world.runs_dir,
    )
    try:
        return run.close(learn(Cycle(world=world, policies=policies, request=request, run=run)))
    except Exception as error:
        run.close_broken(error)
        raise


def learn(cycle: Cycle) -> Ending:
    """Return how the cycle ended: refused, skipped, rejected, held, or with a promotion."""
    if why := cycle.world.brake.frozen_because():
        return _frozen(why)
    data = cycle.step(read)
    if data.is_blocked:
        return _refused(data)
    known = cycle.step(look_back, data)  # has an input changed since the last decision?
    if known.earlier:
        return _skipped(known.earlier, data)
    if policy := cycle.policies.floor:
        data = cycle.step(check_floor, data, policy)  # can plain models learn anything?
        if data.is_blocked:
            return _refused(data)
    candidate = train_and_judge(cycle, data.dataset, known.champion)  # registered in any case
    if candidate.is_rejected:
        diagnosis = cycle.step(diagnose, candidate, data)
        candidate = retry(cycle, candidate, diagnosis)  # the second one if it passes, else the first
    if not candidate.passed:
        return Ending(decision=candidate.judged.decision, artefact=candidate.artefact)
    return cycle.step(promote, candidate)


def _frozen(why: str) -> Ending:
    reason = f"nothing is trained while the system is frozen: {why}"
    return Ending(decision=Decision(kind=DecisionKind.REFUSED, reasons=(reason,)))


def _refused(data: Data) -> Ending:
    return Ending(decision=refuse(data.findings))


def _skipped(earlier: RunRow, data: Data) -> Ending:
    return Ending(decision=skip(earlier.run_id, str(earlier.decision), data.dataset.fingerprint))
