"""The child that measures the signal floor: `python -m clm.training.signal DIRECTORY [PARENT_PID]`.

Two plain models look at the last step of each window: logistic regression, and small boosted trees. It
needs no torch, and says by its exit code how it ended (ChildExit).
"""

import importlib
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from clm.artefacts.job_files import ChildExit
from clm.artefacts.signal_files import POLICY, read_signal_job, write_floor
from clm.data.signal import Predict, measure_signal
from clm.domain.sample import Bytes8, Floats
from clm.errors import TrainingError
from clm.training.process import end_with, leave, loading

_POLL_S = 0.02


def main(arguments: Sequence[str]) -> ChildExit:
    """Measure the rows in the directory named first."""
    directory = Path(arguments[0])
    try:
        end_with(int(arguments[1]) if len(arguments) > 1 else None)
    except TrainingError as error:
        sys.stderr.write(error.message + "\n")
        return ChildExit[error.code]
    _make_ready()
    while len(arguments) > 1 and not (directory / POLICY).exists():
        # The parent is still reading; with it, this process ends.
        time.sleep(_POLL_S)
    try:
        rows, policy = read_signal_job(directory)
    except (OSError, ValueError, KeyError, TypeError) as error:
        sys.stderr.write(f"{directory} holds no rows to measure: {error}\n")
        return ChildExit.JOB_UNREADABLE
    write_floor(directory, measure_signal(rows, MODELS, policy))
    return ChildExit.DONE


def _make_ready() -> None:
    """Load scikit-learn, which takes a second or more, while the parent may still read the store."""
    with loading():
        for module in ("sklearn.linear_model", "sklearn.ensemble"):
            importlib.import_module(module)


def _logistic(train_NC: Floats, label_N: Bytes8, test_NC: Floats) -> Floats:
    # Not at the top: the tie to the parent comes first, as it may die while this loads.
    from sklearn.linear_model import LogisticRegression

    mean_C, std_C = train_NC.mean(axis=0), train_NC.std(axis=0)
    scale_C = np.where(std_C > 0, std_C, 1.0)
    model = LogisticRegression(max_iter=300).fit((train_NC - mean_C) / scale_C, label_N)
    return np.asarray(model.decision_function((test_NC - mean_C) / scale_C), dtype=np.float64)


def _trees(train_NC: Floats, label_N: Bytes8, test_NC: Floats) -> Floats:
    from sklearn.ensemble import HistGradientBoostingClassifier

    model = HistGradientBoostingClassifier(
        max_iter=40, max_leaf_nodes=8, min_samples_leaf=50, early_stopping=False, random_state=0
    ).fit(train_NC, label_N)
    return np.asarray(model.decision_function(test_NC), dtype=np.float64)


MODELS: Mapping[str, Predict] = {"logistic regression": _logistic, "boosted trees": _trees}


if __name__ == "__main__":
    leave(main(sys.argv[1:]))
