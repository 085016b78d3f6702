"""The signal floor: can plain models learn anything from the data?"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from clm.data.audits import with_floor
from clm.data.dataset import Dataset
from clm.data.floor import Floor, FloorPolicy, floor_rows
from clm.errors import ArtefactError, TrainingError
from clm.ports import Asker, PreparedChild, StopSignal
from clm.questions.floor import NAME, floor_question
from clm.steps.asking import reason_of
from clm.steps.results import Data
from clm.steps.world import Cycle

BUDGET_S = 60.0

MeasureFloor = Callable[[Dataset, StopSignal], Floor]


def check_floor(cycle: Cycle, data: Data, policy: FloorPolicy) -> Data:
    """Return the data with the skill of plain models, and with a finding if they have none.

    Raises:
        Interrupted: the stop signal was set.
    """
    with prepared_floor(cycle.world.asker, policy) as measure:
        floor = measure(data.dataset, cycle.request.stop)
    return replace(data, floor=floor, findings=with_floor(data.findings, floor, cycle.policies.audit))


@contextmanager
def prepared_floor(
    asker: Asker, policy: FloorPolicy, *, budget_s: float = BUDGET_S
) -> Iterator[MeasureFloor]:
    """Start the child, which loads its libraries while the data is still being read."""
    with ExitStack() as started:
        try:
            place = started.enter_context(TemporaryDirectory(prefix="clm-floor-"))
            child = started.enter_context(asker.prepared(NAME, Path(place)))
        except (OSError, TrainingError, ArtefactError) as error:
            absent = _no_floor(error)
            yield lambda _dataset, _stop: absent
            return
        yield partial(_measure, child, policy, budget_s)


def _measure(
    child: PreparedChild, policy: FloorPolicy, budget_s: float, dataset: Dataset, stop: StopSignal
) -> Floor:
    question = floor_question(floor_rows(dataset, policy), policy, budget_s=budget_s)
    try:
        return child.ask(question, stop)
    except (TrainingError, ArtefactError) as error:
        return _no_floor(error)


def _no_floor(error: Exception) -> Floor:
    return Floor(skills={}, n_rows=0, n_blocks=0, absent_because=reason_of(error))
