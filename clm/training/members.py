"""Train the members of an ensemble: networks that differ by their seed, several at a time."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from clm.domain.job import EpochReport
from clm.domain.sample import Floats
from clm.models.catalogue import Architecture, architecture
from clm.questions.members import NAME, MemberAnswer, MembersJob, write_members
from clm.questions.shares import read_item, write_item
from clm.questions.train import read_training
from clm.training.checkpoint import Checkpoints, checkpoints_of
from clm.training.determinism import make_deterministic
from clm.training.device import device_of
from clm.training.loop import fit
from clm.training.predict import logits, p_win
from clm.training.sharing import OnEpoch, Shared, help_with, processes_at_once, share
from clm.training.start import begin
from clm.training.windows import Part, Windows, part_of, scaled_windows, scaler_of
from clm.training.work import Work


def answer(inputs: MembersJob, work: Work) -> None:
    """Answer the question `members`: help the process that asked, which trains members too.

    If a person starts it without a parent, it trains all members, as many at a time as the question allows.

    Raises:
        TrainingError: JOB_UNREADABLE, NAN_LOSS, ARCHITECTURE_UNKNOWN.
        ArtefactError: a file cannot be written.
    """
    job = replace(inputs, directory=work.directory)
    material = read_material(job)
    if work.parented:
        help_with(_shared(job), lambda number, on_epoch: take_member(job, material, number, on_epoch))
    else:
        train_members(job, material, lambda _report: None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Material:
    """What all members learn from, and what they predict."""

    architecture: Architecture
    windows: Windows
    parts: Mapping[str, Part]
    """By name: `train`, `validation`, and the parts whose P(WIN) is wanted."""
    checkpoints: Checkpoints | None = None
    """Of members that were interrupted; None keeps nothing."""


def train_members(job: MembersJob, material: Material, on_epoch: OnEpoch) -> tuple[Mapping[str, Floats], ...]:
    """Return each member's calibrated P(WIN) by part, in the order of the seeds; no process is left behind.

    Raises:
        TrainingError: NAN_LOSS, JOB_UNREADABLE, ARCHITECTURE_UNKNOWN, CHILD_OOM; RESULT_INVALID.
        ArtefactError: the files cannot be written.
    """
    write_members(job)
    at_once = processes_at_once(job.spec.processes, job.spec.threads, len(job.seeds))
    share(
        _shared(job),
        lambda number, report: take_member(job, material, number, report),
        on_epoch,
        at_once=at_once,
    )
    return tuple(read_item(MemberAnswer, job.directory, number).p_by_part for number in range(len(job.seeds)))


def take_member(job: MembersJob, material: Material, number: int, on_epoch: OnEpoch) -> None:
    """Train one member and write its answer.

    Raises:
        TrainingError: NAN_LOSS, ARCHITECTURE_UNKNOWN.
        ArtefactError: the answer cannot be written.
    """

    def report(epoch: EpochReport) -> None:
        on_epoch(replace(epoch, network=f"member {number + 1} of {len(job.seeds)}"))

    p_by_part = _train(job, number, material, report)
    write_item(job.directory, number, MemberAnswer(p_by_part=p_by_part))


def _shared(job: MembersJob) -> Shared:
    return Shared(name=NAME, directory=job.directory, count=len(job.seeds))


def read_material(job: MembersJob) -> Material:
    """Return the windows of the job's data, scaled as the members ask for.

    Raises:
        TrainingError: JOB_UNREADABLE, ARCHITECTURE_UNKNOWN.
    """
    inputs = read_training(job.data)
    of, arrays = inputs.job, inputs.arrays
    learnt = replace(arrays, scaler=scaler_of(arrays, job.spec.scaling))
    chosen = architecture(job.spec.architecture).sized(len(of.feature_names))
    device = device_of(job.spec.device)
    windows = scaled_windows(learnt, n_channels=chosen.n_features, context_length=of.context_length)
    names = {"train", "validation", *job.parts}
    return Material(
        architecture=chosen,
        windows=windows.to(device),
        parts={name: part_of(arrays, getattr(arrays, name)).to(device) for name in names},
        checkpoints=checkpoints_of(replace(of, spec=job.spec), arrays, lambda epoch: None),
    )


def _train(job: MembersJob, number: int, material: Material, on_epoch: OnEpoch) -> Mapping[str, Floats]:
    """Train one member, as if it were the only one, and return its P(WIN) by part."""
    spec, parts = replace(job.spec, seed=job.seeds[number]), material.parts
    make_deterministic(spec.seed, spec.threads)
    model = begin(material.architecture, material.windows, parts["train"], spec)
    kept = material.checkpoints.of(f"teacher-{number + 1}") if material.checkpoints else None
    fitted = fit(model, material.windows, parts["train"], parts["validation"], spec, on_epoch, kept)
    model.load_state_dict(fitted.state)
    slope, intercept = fitted.calibration.slope, fitted.calibration.intercept
    return {
        name: p_win(slope * logits(model, material.windows, parts[name].row_N) + intercept)
        for name in job.parts
    }
