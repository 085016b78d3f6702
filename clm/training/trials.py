"""Train the trials of one batch of a study, two at a time where the machine allows it."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from clm.clock import SystemClock
from clm.domain.job import EpochReport, TrainingSpec
from clm.errors import TrainingError
from clm.evaluation.metrics import base_log_loss
from clm.models.catalogue import architecture
from clm.questions.shares import read_item, write_item
from clm.questions.train import TrainInputs, read_training
from clm.questions.trials import NAME, TrialRequest, TrialResult, TrialsJob, write_trials
from clm.training.determinism import make_deterministic
from clm.training.ensemble import fit_candidate
from clm.training.members import Material
from clm.training.sharing import OnEpoch, Shared, help_with, processes_at_once, share
from clm.training.windows import part_of, scaled_windows, scaler_of
from clm.training.work import Work

Data = Mapping[str, TrainInputs]
"""The data of each variant."""


class _Pruned(Exception):
    """The trial is worse than the others were at this epoch, or the time is up."""


def answer(inputs: TrialsJob, work: Work) -> None:
    """Answer the question `trials`: help the process that asked, which trains trials too.

    Raises:
        TrainingError: JOB_UNREADABLE, ARCHITECTURE_UNKNOWN.
        ArtefactError: a file cannot be written.
    """
    job = replace(inputs, directory=work.directory)
    data = read_data(job.variants)
    help_with(_shared(job), lambda number, on_epoch: _take(job, data, number, on_epoch))


def read_data(variants: Mapping[str, Path]) -> Data:
    """Return the data of each variant.

    Raises:
        TrainingError: JOB_UNREADABLE.
    """
    return {name: read_training(path) for name, path in variants.items()}


def train_trials(job: TrialsJob, data: Data) -> Sequence[TrialResult]:
    """Return the results in the order of the batch; a training that diverges is a result, not an error.

    Raises:
        TrainingError: JOB_UNREADABLE, ARCHITECTURE_UNKNOWN; RESULT_INVALID.
        ArtefactError: the files cannot be written.
    """
    write_trials(job)
    share(
        _shared(job),
        lambda number, report: _take(job, data, number, report),
        lambda _report: None,
        at_once=_at_once(job),
    )
    return [read_item(TrialResult, job.directory, number) for number in range(len(job.batch))]


def _at_once(job: TrialsJob) -> int:
    """Return how many trials run at a time; members of an ensemble already do."""
    spec = job.batch[0].spec
    return 1 if spec.ensemble > 1 else processes_at_once(spec.processes, spec.threads, len(job.batch))


def _take(job: TrialsJob, data: Data, number: int, on_epoch: OnEpoch) -> None:
    request = job.batch[number]
    write_item(job.directory, number, _result(job, request, data[request.variant], on_epoch))


def _result(job: TrialsJob, request: TrialRequest, inputs: TrainInputs, on_epoch: OnEpoch) -> TrialResult:
    clock, arrays = SystemClock(), inputs.arrays
    began = clock.monotonic()
    base = base_log_loss(arrays.label_N[arrays.validation])
    epochs: list[int] = []
    excess: list[float] = []

    def watch(report: EpochReport) -> None:
        on_epoch(report)
        # A member of an ensemble is not what would be served: it decides nothing, it only takes time.
        if not report.network:
            epochs.append(report.epoch)
            excess.append(report.validation_log_loss - base)
            # NaN is worse than any bar: only a loss that is known to be as good goes on.
            if not min(excess) <= job.bars.get(str(report.epoch), float("inf")):
                raise _Pruned
        if clock.monotonic() >= job.ends_at:
            raise _Pruned

    state = "complete"
    try:
        _fit(request.spec, inputs, watch)
    except _Pruned:
        state = "pruned"
    except TrainingError:  # NAN_LOSS: this trial diverged, the next may not
        state = "failed"
    return TrialResult(
        state=state, epochs=tuple(epochs), excess=tuple(excess), seconds=clock.monotonic() - began
    )


def _fit(spec: TrainingSpec, inputs: TrainInputs, watch: OnEpoch) -> None:
    """Train as the run itself would, without export and without the test part."""
    of, arrays = inputs.job, inputs.arrays
    make_deterministic(spec.seed, spec.threads)
    chosen = architecture(spec.architecture).sized(len(of.feature_names))
    learnt = replace(arrays, scaler=scaler_of(arrays, spec.scaling))
    windows = scaled_windows(learnt, n_channels=chosen.n_features, context_length=of.context_length)
    parts = {"train": part_of(arrays, arrays.train), "validation": part_of(arrays, arrays.validation)}
    material = Material(architecture=chosen, windows=windows, parts=parts)
    fit_candidate(material, spec, watch, of.directory)


def _shared(job: TrialsJob) -> Shared:
    return Shared(name=NAME, directory=job.directory, count=len(job.batch))
