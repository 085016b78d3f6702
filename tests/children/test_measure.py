"""The child that measures for the probes: real, within its budget, and never in the way of a rejection."""

import threading
from collections.abc import Mapping
from pathlib import Path

import pytest

from clm.artefacts.records import write_record
from clm.children.ask import SubprocessAsker
from clm.domain.job import TrainingJob
from clm.domain.measurement import MEASURED, Measurement
from clm.errors import Interrupted
from clm.questions.question import Files
from clm.questions.train import NAME, WEIGHTS
from clm.steps.diagnosis import measured
from clm.training.measure import MEASUREMENTS
from tests.builders import training_spec
from tests.training import jobs
from tests.training.conftest import train

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> TrainingJob:
    """A job as a training child leaves it."""
    spec = training_spec(batch_size=64, epochs=1)
    trained = train(tmp_path_factory.mktemp("probed") / "job", jobs.dataset(n_windows=160), spec=spec)
    write_record(Files(directory=trained.job.directory, name=NAME).answer, trained.result)
    return trained.job


def measured_in(job: TrainingJob, budget_s: float) -> Mapping[str, Measurement]:
    return measured(SubprocessAsker(), job, budget_s, threading.Event())


def test_what_is_measured_has_the_names_that_the_probes_ask_for():
    """The parent does not import the child's catalogue."""
    assert tuple(measure.__name__ for measure in MEASUREMENTS) == MEASURED


def test_a_budget_ends_the_measuring_and_what_it_ended_before_is_said(job):
    """A millisecond is enough for the first one, which is under way when it ends."""
    found = measured_in(job, 0.001)
    assert set(found) == set(MEASURED)
    figures = found["saved_file"].figures
    assert figures["file_log_loss"] == pytest.approx(figures["reported_log_loss"], abs=1e-5)
    assert found["saved_file"].cost_s > 0
    assert "CLM_DIAGNOSIS__BUDGET_S" in found["scaling"].absent_because


def test_a_job_without_its_model_is_unknown_and_no_error(job, tmp_path):
    """A rejection must not hang on its explanation."""
    (job.directory / WEIGHTS).rename(tmp_path / WEIGHTS)
    found = measured_in(job, 5.0)
    (tmp_path / WEIGHTS).rename(job.directory / WEIGHTS)
    assert all(measurement.absent_because for measurement in found.values())


def test_a_stop_ends_the_measuring(job):
    """The daemon is to end now."""
    stop = threading.Event()
    stop.set()
    with pytest.raises(Interrupted):
        measured(SubprocessAsker(), job, 5.0, stop)


def test_a_python_that_is_not_there_is_said(job):
    """CLM_TRAINING__PYTHON may be wrong; the training said it before."""
    asker = SubprocessAsker(python=Path("/nowhere/python"))
    found = measured(asker, job, 5.0, threading.Event())
    assert "cannot be started" in found["overfit"].absent_because
