"""Answer the question `train`: train, check the served file, and measure its predictions."""

from dataclasses import replace

from clm.questions.train import Resumed, TrainInputs, TrainProgress
from clm.training.checkpoint import checkpoints_of
from clm.training.device import device_of
from clm.training.figures import figures_of
from clm.training.plain import score_folds
from clm.training.run import train_job
from clm.training.threads import with_threads
from clm.training.work import Work


def uses_gpu(inputs: TrainInputs) -> bool:
    """Return whether the network is trained on a GPU.

    Raises:
        TrainingError: DEVICE_ABSENT.
    """
    return device_of(inputs.job.spec.device).type != "cpu"


def answer(inputs: TrainInputs, work: Work) -> None:
    """Train; the checkpoints are removed once the answer is on disk.

    Raises:
        TrainingError: ARCHITECTURE_UNKNOWN, DEVICE_ABSENT, JOB_UNREADABLE, NAN_LOSS, EXPORT_MISMATCH.
        ArtefactError: a file cannot be written.
    """
    job, counted = with_threads(replace(inputs.job, directory=work.directory))
    checkpoints = checkpoints_of(
        job, inputs.arrays, lambda epoch: work.report(TrainProgress(news=Resumed(epoch=epoch)))
    )
    result = train_job(
        job, inputs.arrays, lambda report: work.report(TrainProgress(news=report)), checkpoints
    )
    notes = {**result.notes, **counted, "logistic_folds": score_folds(inputs.arrays)}
    work.keep(replace(result, notes=notes, figures=figures_of(inputs.arrays, result)))
    if checkpoints:
        checkpoints.clear()
