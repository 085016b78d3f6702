"""Answer the question `measure`. It does not affect the judgement of the run."""

from clm.artefacts.files import sha256_of
from clm.artefacts.records import RecordError, read_record
from clm.domain.job import TrainingResult
from clm.errors import ArtefactError, TrainingError
from clm.questions.measure import MeasureInputs, Measurements
from clm.questions.question import Files
from clm.questions.train import NAME as TRAIN
from clm.questions.train import WEIGHTS, read_training
from clm.training.measurements import Subject, measure_all
from clm.training.work import Work


def answer(inputs: MeasureInputs, work: Work) -> None:
    """Measure until the budget is used up; rewrite the answer after each measurement.

    Raises:
        TrainingError: JOB_UNREADABLE.
    """
    trained = read_training(inputs.directory)
    try:
        result = read_record(TrainingResult, Files(directory=inputs.directory, name=TRAIN).answer)
        file_sha256 = sha256_of(inputs.directory / WEIGHTS)
    except (RecordError, ArtefactError) as exc:
        raise TrainingError("JOB_UNREADABLE", f"{inputs.directory} has no trained network: {exc}") from exc
    if file_sha256 != result.file_sha256:
        raise TrainingError(
            "JOB_UNREADABLE", f"the network in {inputs.directory} is not the one that was trained"
        )
    subject = Subject(job=trained.job, arrays=trained.arrays, epochs=result.epochs)
    measure_all(subject, inputs.budget_s, lambda found: work.keep(Measurements(by_name=found)))
