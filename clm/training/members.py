"""Networks of several seeds at once: this process and others beside it, each takes the next that is left.

Processes of one thread each, for two threads gain a training less than a second training beside it does. A
process trains one member after the other, so that it loads torch once; this one trains as well instead of
waiting. A member depends on its seed alone: who trains it, and what runs beside it, changes no bit.
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
    """What all members learn from and are asked about."""

    architecture: Architecture
    windows: Windows
    parts: Mapping[str, Part]
    """By name; `train` and `validation`, and those whose P(WIN) is wanted."""
    checkpoints: Checkpoints | None = None
    """Where members that were interrupted go on; None where they need not."""


def train_members(
    job: MembersJob, material: Material, tell: Callable[[EpochReport], None]
) -> tuple[Mapping[str, Floats], ...]:
    """Return each member's calibrated P(WIN) by part, in the order of the seeds; no process is left behind.

    `tell` hears of every epoch of every member. Where a process beside this one is killed, or fails with a
    code that says nothing, this one ends as it did: whoever watches over it tells the reasons apart.

    Raises:
        TrainingError: NAN_LOSS, JOB_UNREADABLE, ARCHITECTURE_UNKNOWN, CHILD_OOM; RESULT_INVALID.
        ArtefactError: the files cannot be written.
    """
    write_members(job)
    beside = processes_at_once(job.spec.processes, job.spec.threads, len(job.seeds)) - 1
    with _helpers(job, beside) as helpers:
        news = _News(job, tell)

        def tell_all(_number: int, report: EpochReport) -> None:
            tell(report)
            _require_well(helpers)
            news.pass_on()

        take_members(job, material, tell_all)
        while any(helper.poll() is None for helper in helpers):
            _require_well(helpers)
            news.pass_on()
            time.sleep(_POLL_S)
        _require_well(helpers)
        news.pass_on()
    return tuple(read_member(job, number) for number in range(len(job.seeds)))


def take_members(job: MembersJob, material: Material, tell: Callable[[int, EpochReport], None]) -> None:
    """Train members until none is left that nobody has taken; `tell` is given their numbers, from 0.

    Raises:
        TrainingError: NAN_LOSS, ARCHITECTURE_UNKNOWN.
        ArtefactError: an answer cannot be written.
    """
    while (number := claim(job)) is not None:
        write_member(job, number, _train(job, number, material, partial(_tell, job, number, tell)))


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
    """Return how many networks are trained at a time; of 0 wanted, as many as the cores we may use allow."""
    at_once = wanted or len(os.sched_getaffinity(0)) // max(1, threads)
    return max(1, min(at_once, n_networks))


def _train(
    job: MembersJob, number: int, material: Material, tell: Callable[[EpochReport], None]
) -> Mapping[str, Floats]:
    """Train one member as it would be trained alone and return its P(WIN) by part."""
    spec, parts = replace(job.spec, seed=job.seeds[number]), material.parts
    make_deterministic(spec.seed, spec.threads)
    model = begin(material.architecture, material.windows, parts["train"], spec)
    kept = material.checkpoints.of(f"teacher-{number + 1}") if material.checkpoints else None
    fitted = fit(model, material.windows, parts["train"], parts["validation"], spec, tell, kept)
    model.load_state_dict(fitted.state)
    slope, intercept = fitted.calibration.slope, fitted.calibration.intercept
    return {
        name: p_win(slope * logits(model, material.windows, parts[name].row_N) + intercept)
        for name in job.parts
    }


def _tell(
    job: MembersJob, number: int, tell: Callable[[int, EpochReport], None], report: EpochReport
) -> None:
    tell(number, replace(report, network=f"member {number + 1} of {len(job.seeds)}"))


@contextmanager
def _helpers(job: MembersJob, count: int) -> Iterator[Sequence[subprocess.Popen[bytes]]]:
    """Start so many processes that take members too, and end them whichever way this ends."""
    # They inherit the threads of the mathematics, class and limits, the logs, and the process group, which
    # whoever watches over this process ends as a whole.
    command = [sys.executable, "-P", "-m", "clm.training", NAME, str(job.directory), str(os.getpid())]
    helpers: list[subprocess.Popen[bytes]] = []
    try:
        for _ in range(count):
            # One by one, so that what was started is ended where the next cannot be.
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
        TrainingError: one ended with a code of ours; its message stands in the log.
    """
    for code in filter(None, (helper.poll() for helper in helpers)):
        if code in set(ChildExit):
            raise TrainingError(ChildExit(code).name, "so ended a process that trained other members")
        for helper in helpers:
            helper.kill()
        end_as(code)


class _News:
    """Passes on what the helpers tell of their epochs, as it comes."""

    def __init__(self, job: MembersJob, tell: Callable[[EpochReport], None]) -> None:
        self._job, self._tell = job, tell
        self._told = [0] * len(job.seeds)

    def pass_on(self) -> None:
        """Tell every epoch that a helper has finished since the last call."""
        for number, told in enumerate(self._told):
            path = self._job.progress(number)
            lines = path.read_bytes().split(b"\n")[:-1] if path.exists() else []
            for line in lines[told:]:
                self._tell(decode_line(EpochReport, line))
            self._told[number] = max(told, len(lines))
