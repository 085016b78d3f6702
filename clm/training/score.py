"""The child that scores models: `python -m clm.training.score DIRECTORY [PARENT_PID]`.

Every file is read as data (`weights_only`), wrapped as `model_state_dict` or bare, and asked for the test
rows from raw windows, as the engine would.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from clm.artefacts.job_files import ChildExit, read_job
from clm.artefacts.score_files import Scores, read_models, write_scores
from clm.errors import TrainingError
from clm.training.process import become_disposable, leave, loading


def main(arguments: Sequence[str]) -> ChildExit:
    """Score the models of the directory named first."""
    directory = Path(arguments[0])
    try:
        become_disposable(int(arguments[1]) if len(arguments) > 1 else None)
        write_scores(directory, score(directory))
    except TrainingError as error:
        sys.stderr.write(error.message + "\n")
        return ChildExit[error.code]
    return ChildExit.DONE


def score(directory: Path) -> Scores:
    """Return what each model answers to the test rows.

    Raises:
        TrainingError: JOB_UNREADABLE, a model cannot be scored and why.
    """
    # Imported here, after the tie to the parent: torch takes seconds in which the parent may die.
    with loading():
        from clm.training.champion import score_champion
        from clm.training.determinism import make_deterministic
        from clm.training.logistic import score_logistic

    job, arrays = read_job(directory)
    make_deterministic(job.spec.seed, job.spec.threads)
    found = []
    for model in read_models(directory):
        scores = score_champion(model, job.feature_names, arrays, job.context_length)
        if scores.p_N is None:
            raise TrainingError("JOB_UNREADABLE", scores.absent_because.removeprefix("champion "))
        found.append(scores.p_N)
    return Scores(p_models=tuple(found), p_logistic_N=score_logistic(arrays))


if __name__ == "__main__":
    leave(main(sys.argv[1:]))
