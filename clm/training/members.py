"""Train the members of an ensemble in this process and in helpers, each claiming the next member.

Processes have one thread each: a second thread speeds up one training by less than a second training gains.
A process trains member after member, so that it loads torch once; this process trains too instead of waiting.
A member depends on its seed alone: the process that trains it, and what runs at the same time, change no bit.
"""

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial

from clm.artefacts.records import decode_line
from clm.domain.job import EpochReport
from clm.domain.sample import Floats
from clm.errors import TrainingError
from clm.models.catalogue import Architecture, architecture
from clm.questions.members import NAME, MembersJob, claim, read_member, write_member, write_members
from clm.questions.question import ChildExit
from clm.questions.train import read_training
from clm.training.checkpoint import Checkpoints, checkpoints_of
from clm.training.determinism import make_deterministic
from clm.training.device import device_of
from clm.training.loop import fit
from clm.training.predict import logits, p_win
from clm.training.process import end_as
from clm.training.start import begin
from clm.training.windows import Part, Windows, part_of, scaled_windows, scaler_of

_POLL_S = 0.05
_GRACE_S = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Material:
    """What all members learn from, and what they predict."""

    architecture: Architecture
    windows: Windows
    parts: Mapping[str, Part]
    """By name: `train`, `validation`, and the parts whose P(WIN) is wanted."""
    checkpoints: Checkpoints | None = None
    """Of members that were interrupted; None keeps nothing."""


def train_members(
    job: MembersJob, material: Material, on_epoch: Callable[[EpochReport], None]
) -> tuple[Mapping[str, Floats], ...]:
    """Return each member's calibrated P(WIN) by part, in the order of the seeds; no process is left behind.

    `on_epoch` gets every epoch of every member. If a helper is killed, or fails with a code without a
    meaning, this process ends in the same way, so that its parent sees the reason.

    Raises:
        TrainingError: NAN_LOSS, JOB_UNREADABLE, ARCHITECTURE_UNKNOWN, CHILD_OOM; RESULT_INVALID.
        ArtefactError: the files cannot be written.
    """
    write_members(job)
    helpers_count = processes_at_once(job.spec.processes, job.spec.threads, len(job.seeds)) - 1
    with _helpers(job, helpers_count) as helpers:
        news = _News(job, on_epoch)

        def report_all(_number: int, report: EpochReport) -> None:
            on_epoch(report)
            _require_well(helpers)
            news.pass_on()

        take_members(job, material, report_all)
        while any(helper.poll() is None for helper in helpers):
            _require_well(helpers)
            news.pass_on()
            time.sleep(_POLL_S)
        _require_well(helpers)
        news.pass_on()
    return tuple(read_member(job, number) for number in range(len(job.seeds)))


def take_members(job: MembersJob, material: Material, on_epoch: Callable[[int, EpochReport], None]) -> None:
    """Train members until all are claimed; `on_epoch` gets their numbers, from 0, and their epochs.

    Raises:
        TrainingError: NAN_LOSS, ARCHITECTURE_UNKNOWN.
        ArtefactError: an answer cannot be written.
    """
    while (number := claim(job)) is not None:
        write_member(job, number, _train(job, number, material, partial(_named, job, number, on_epoch)))


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


def processes_at_once(wanted: int, threads: int, n_networks: int) -> int:
    """Return how many networks are trained at a time; 0 wanted is as many as this process may use cores."""
    at_once = wanted or len(os.sched_getaffinity(0)) // max(1, threads)
    return max(1, min(at_once, n_networks))


def _train(
    job: MembersJob, number: int, material: Material, on_epoch: Callable[[EpochReport], None]
) -> Mapping[str, Floats]:
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


def _named(
    job: MembersJob, number: int, on_epoch: Callable[[int, EpochReport], None], report: EpochReport
) -> None:
    on_epoch(number, replace(report, network=f"member {number + 1} of {len(job.seeds)}"))


@contextmanager
def _helpers(job: MembersJob, count: int) -> Iterator[Sequence[subprocess.Popen[bytes]]]:
    """Start so many processes that claim members too, and end them however this ends."""
    # They inherit the number of threads, the scheduling class, the limits, the logs and the process group,
    # which the parent of this process ends as a whole.
    command = [sys.executable, "-P", "-m", "clm.training", NAME, str(job.directory), str(os.getpid())]
    helpers: list[subprocess.Popen[bytes]] = []
    try:
        for _ in range(count):
            # One by one, so that the earlier ones are ended if the next cannot be started.
            helpers.append(subprocess.Popen(command, stdin=subprocess.DEVNULL))  # noqa: PERF401
        yield helpers
    finally:
        for helper in helpers:
            helper.terminate()
        for helper in helpers:
            with contextlib.suppress(subprocess.TimeoutExpired):
                helper.wait(_GRACE_S)
            helper.kill()
            helper.wait()


def _require_well(helpers: Sequence[subprocess.Popen[bytes]]) -> None:
    """Return while no helper has failed.

    Raises:
        TrainingError: one ended with a code of ours; its message is in the log.
    """
    for code in filter(None, (helper.poll() for helper in helpers)):
        if code in set(ChildExit):
            raise TrainingError(ChildExit(code).name, "a process that trained other members failed")
        for helper in helpers:
            helper.kill()
        end_as(code)


class _News:
    """Passes on the epochs of the helpers while they train."""

    def __init__(self, job: MembersJob, on_epoch: Callable[[EpochReport], None]) -> None:
        self._job, self._on_epoch = job, on_epoch
        self._reported = [0] * len(job.seeds)

    def pass_on(self) -> None:
        """Report every epoch that a helper completed since the last call."""
        for number, reported in enumerate(self._reported):
            path = self._job.progress(number)
            lines = path.read_bytes().split(b"\n")[:-1] if path.exists() else []
            for line in lines[reported:]:
                self._on_epoch(decode_line(EpochReport, line))
            self._reported[number] = max(reported, len(lines))
