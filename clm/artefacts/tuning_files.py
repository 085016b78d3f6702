"""What the parent asks of the child that tries other settings, and its answer, as files of its directory."""

from dataclasses import asdict
from pathlib import Path

import orjson

from clm.artefacts.files import replace_durably
from clm.domain.job import TrainingSpec
from clm.domain.tuning import Trial, TuningJob
from clm.errors import TrainingError

TUNING = "tuning.json"
TRIALS = "trials.json"


def write_tuning(job: TuningJob) -> None:
    """Write what the child needs.

    Raises:
        ArtefactError: DISK_FULL, READ_ONLY_FS, PERMISSION, IO_ERROR.
    """
    replace_durably(
        job.directory / TUNING, orjson.dumps(asdict(job), default=str, option=orjson.OPT_INDENT_2)
    )


def read_tuning(directory: Path) -> TuningJob:
    """Return what `write_tuning` wrote.

    Raises:
        TrainingError: JOB_UNREADABLE.
    """
    try:
        document = orjson.loads((directory / TUNING).read_bytes())
        return TuningJob(
            run_id=document["run_id"],
            directory=directory,
            study=document["study"],
            storage=Path(document["storage"]),
            spec=TrainingSpec(**document["spec"]),
            knobs=tuple(document["knobs"]),
            variants={name: Path(path) for name, path in document["variants"].items()},
            trials=document["trials"],
            budget_s=document["budget_s"],
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as exc:
        raise TrainingError("JOB_UNREADABLE", f"{directory} holds no study: {exc}") from exc


def write_trials(directory: Path, trials: tuple[Trial, ...]) -> None:
    """Write all tries so far.

    Raises:
        ArtefactError: DISK_FULL, READ_ONLY_FS, PERMISSION, IO_ERROR.
    """
    replace_durably(directory / TRIALS, orjson.dumps([asdict(trial) for trial in trials]))


def read_trials(directory: Path) -> tuple[Trial, ...]:
    """Return the child's answer.

    Raises:
        OSError, ValueError, KeyError, TypeError, AttributeError: it is not what write_trials writes.
    """
    return tuple(
        Trial(
            number=int(told["number"]),
            state=str(told["state"]),
            variant=str(told["variant"]),
            settings=dict(told["settings"]),
            excess=None if told["excess"] is None else float(told["excess"]),
            epochs=int(told["epochs"]),
            seconds=float(told["seconds"]),
        )
        for told in orjson.loads((directory / TRIALS).read_bytes())
    )
