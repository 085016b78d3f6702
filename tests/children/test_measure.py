"""The child that measures for the probes: real, within its budget, and never in the way of a rejection."""

import threading
from pathlib import Path

import pytest

from clm.artefacts.records import write_record
from clm.children.ask import SubprocessAsker
from clm.children.learning import SubprocessMeasurements
from clm.domain.job import TrainingJob
from clm.domain.measurement import MEASURED
from clm.errors import Interrupted
from clm.questions.question import Files
from clm.questions.train import NAME, WEIGHTS
from clm.training.measurements import MEASUREMENTS
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


def test_what_is_measured_has_the_names_that_the_probes_ask_for():
    """The parent does not import the child's catalogue."""
    assert tuple(measure.__name__ for measure in MEASUREMENTS) == MEASURED


def test_a_budget_ends_the_measuring_and_what_it_ended_before_is_said(job):
    """A millisecond is enough for the first one, which is under way when it ends."""
    measured = SubprocessMeasurements(SubprocessAsker(), 0.001).measure(job, threading.Event())
    assert set(measured) == set(MEASURED)
    figures = measured["saved_file"].figures
    assert figures["file_log_loss"] == pytest.approx(figures["reported_log_loss"], abs=1e-5)
    assert measured["saved_file"].cost_s > 0
    assert "CLM_DIAGNOSIS__BUDGET_S" in measured["scaling"].absent_because


def test_a_job_without_its_model_is_unknown_and_no_error(job, tmp_path):
    """A rejection must not hang on its explanation."""
    (job.directory / WEIGHTS).rename(tmp_path / WEIGHTS)
    measured = SubprocessMeasurements(SubprocessAsker(), 5.0).measure(job, threading.Event())
    (tmp_path / WEIGHTS).rename(job.directory / WEIGHTS)
    assert all(measurement.absent_because for measurement in measured.values())


def test_a_stop_ends_the_measuring(job):
    """The daemon is to end now."""
    stop = threading.Event()
    stop.set()
    with pytest.raises(Interrupted):
        SubprocessMeasurements(SubprocessAsker(), 5.0).measure(job, stop)


def test_a_python_that_is_not_there_is_said(job):
    """CLM_TRAINING__PYTHON may be wrong; the training said it before."""
    measured = SubprocessMeasurements(SubprocessAsker(python=Path("/nowhere/python")), 5.0).measure(
        job, threading.Event()
    )
    assert "cannot be started" in measured["overfit"].absent_because
