"""The ports of a cycle that child processes fulfil, except training (clm/children/trainer.py).

The floor, the measurements and the trials explain or improve a run, and no run depends on them: where they
cannot be had, the reason takes their place.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

from clm.children.ask import Prepared, SubprocessAsker
from clm.data.dataset import Dataset
from clm.data.floor import Floor, FloorPolicy, floor_rows
from clm.domain.job import TrainingJob
from clm.domain.load_check import GoldenRows, LoadCheck
from clm.domain.measurement import MEASURED, Measurement
from clm.domain.tuning import Trial, TuningJob
from clm.errors import ArtefactError, ClmError, TrainingError
from clm.ports import StopSignal
from clm.questions.floor import NAME as FLOOR
from clm.questions.floor import floor_question
from clm.questions.load_check import LoadCheckJob, load_check_question
from clm.questions.measure import Measurements, measure_question
from clm.questions.question import Files, Question, read_answer
from clm.questions.tune import Trials, tune_question

A = TypeVar("A")

_TUNE_STARTS = 3
"""How often a study is started, all in all: one whose child was killed goes on."""
_REASON_CHARACTERS = 300

MeasureFloor = Callable[[Dataset, StopSignal], Floor]


class SubprocessFloor:
    """Fulfils ports.SignalProbe."""

    def __init__(self, asker: SubprocessAsker, policy: FloorPolicy, *, budget_s: float = 60.0) -> None:
        self._asker = asker
        self._policy = policy
        self._budget_s = budget_s

    def measure(self, dataset: Dataset, stop: StopSignal) -> Floor:
        """Return the floor, or why it could not be measured.

        Raises:
            Interrupted: `stop` was set; the child is gone.
        """
        with self.prepared() as measure:
            return measure(dataset, stop)

    @contextmanager
    def prepared(self) -> Iterator[MeasureFloor]:
        """Start the child, which loads its libraries while the data is still being read."""
        with ExitStack() as started:
            try:
                place = started.enter_context(TemporaryDirectory(prefix="clm-floor-"))
                child = started.enter_context(self._asker.prepared(FLOOR, Path(place)))
            except (OSError, TrainingError, ArtefactError) as error:
                absent = _no_floor(error)
                yield lambda _dataset, _stop: absent
                return
            yield partial(self._ask, child)

    def _ask(self, child: Prepared, dataset: Dataset, stop: StopSignal) -> Floor:
        rows = floor_rows(dataset, self._policy)
        try:
            return child.ask(floor_question(rows, self._policy, budget_s=self._budget_s), stop)
        except (TrainingError, ArtefactError) as error:
            return _no_floor(error)


def _no_floor(error: Exception) -> Floor:
    return Floor(skills={}, n_rows=0, n_blocks=0, absent_because=_reason(error))


class SubprocessLoadCheck:
    """Fulfils ports.Prover."""

    def __init__(self, asker: SubprocessAsker) -> None:
        self._asker = asker

    def prove(self, job: LoadCheckJob, golden: GoldenRows, stop: StopSignal) -> LoadCheck:
        """Return what a fresh process found; the golden rows are kept with the artefact, not here.

        Raises:
            TrainingError: ARCHITECTURE_UNKNOWN, and those of every child (clm/children/ask.py).
            ArtefactError: the question cannot be written.
            Interrupted: `stop` was set.
        """
        question = load_check_question(job, golden)
        try:
            return self._asker.ask(question, job.directory, stop)
        finally:
            files = Files(directory=job.directory, name=question.name)
            for path in (files.inputs, files.answer):
                path.with_suffix(".npz").unlink(missing_ok=True)


class SubprocessMeasurements:
    """Fulfils ports.Prober."""

    def __init__(self, asker: SubprocessAsker, budget_s: float) -> None:
        self._asker = asker
        self._budget_s = budget_s

    def measure(self, job: TrainingJob, stop: StopSignal) -> Mapping[str, Measurement]:
        """Return what could be measured in time, and for the rest why it could not.

        Raises:
            Interrupted: `stop` was set; the child is gone.
        """
        question = measure_question(job, budget_s=self._budget_s)
        found, why = _as_far_as_it_came(self._asker, question, job.directory, stop, Measurements())
        absent = Measurement(figures={}, cost_s=0.0, absent_because=why or "not measured")
        return {name: found.by_name.get(name, absent) for name in MEASURED}


class SubprocessTuner:
    """Fulfils ports.Tuner."""

    def __init__(self, asker: SubprocessAsker) -> None:
        self._asker = asker

    def tune(self, job: TuningJob, stop: StopSignal) -> tuple[tuple[Trial, ...], str]:
        """Return the trials of the study, those of an earlier process included, and why they are so few.

        Raises:
            Interrupted: `stop` was set; the child is gone, its study is kept.
        """
        deadline = self._asker.clock.monotonic() + job.budget_s
        found, why = Trials(), ""
        for _ in range(_TUNE_STARTS):
            left_s = deadline - self._asker.clock.monotonic()
            if left_s <= 0:
                break
            question = tune_question(replace(job, budget_s=left_s))
            found, why = _as_far_as_it_came(self._asker, question, job.directory, stop, found)
            if not why:
                break
        return found.trials, why


def _as_far_as_it_came(
    asker: SubprocessAsker, question: Question[A], directory: Path, stop: StopSignal, nothing: A
) -> tuple[A, str]:
    """Return the answer and "", or what the child wrote before it failed, and why it failed."""
    try:
        return asker.ask(question, directory, stop), ""
    except ArtefactError as error:
        return nothing, _reason(error)
    except TrainingError as error:
        why = _reason(error)
    try:
        return read_answer(question, directory), why
    except TrainingError:
        return nothing, why


def _reason(error: Exception) -> str:
    """Return why there is no answer, as one line of a report."""
    text = error.message if isinstance(error, ClmError) else f"it cannot be asked: {error}"
    return text[:_REASON_CHARACTERS]
