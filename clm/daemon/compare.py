"""`clm compare`: two models side by side on the test part of the present store; nothing is written there."""

import os
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import clm
from clm.artefacts.files import sha256_of
from clm.artefacts.job_files import STDERR, STDOUT
from clm.artefacts.registry import DirectoryRegistry
from clm.artefacts.score_files import Scores, read_scores, write_score_job
from clm.attempt import read_dataset
from clm.clock import SystemClock
from clm.daemon.child import Child
from clm.daemon.wiring import candles_of, policies
from clm.data.dataset import Dataset
from clm.domain.job import ChampionRef, TrainingJob
from clm.domain.ledger import PastAttempts
from clm.domain.sample import Floats
from clm.errors import ArtefactError, Interrupted, TrainingError, UsageError
from clm.evaluation.evaluate import compare, rows_of
from clm.evaluation.evaluation import Comparison
from clm.evaluation.predictions import Answers
from clm.gates.catalogue import judge
from clm.gates.verdict import GateVerdict
from clm.ports import StopSignal
from clm.settings import Settings, inherited_environment
from clm.store.contract import check_contract
from clm.store.samples import SqliteSampleSource
from clm.world import Policies

_POLL_S = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class SideBySide:
    """The second model as the candidate against the first, and the first against the second."""

    names: tuple[str, str]
    second: Comparison
    """Differences are second - first."""
    first: Comparison
    verdicts: tuple[GateVerdict, ...]
    """Of the second model, with the first as its champion."""


def compare_models(settings: Settings, first: str, second: str, *, stop: StopSignal) -> SideBySide:
    """Score both models on the same rows in a child process, and measure.

    Each is a version (registered, or a file of the engine's models directory) or the path of a checkpoint.

    Raises:
        UsageError: MODEL_UNKNOWN.
        ArtefactError: ARTEFACT_TORN.
        DataError: the store or the candles cannot be read; too few samples.
        TrainingError: a file cannot be loaded or answers nothing, and why.
        Interrupted: `stop` was set.
    """
    models = tuple(_model(settings, name) for name in (first, second))
    check_contract(settings.store)
    policy = policies(settings)
    clock = SystemClock()
    dataset = read_dataset(
        SqliteSampleSource(settings.store, clock), candles_of(settings), policy, clock.now()
    )
    if not len(dataset.split.test):
        raise UsageError("NO_TEST_ROWS", f"{settings.store} has too few samples for a test part")
    scores = _scored(settings, policy, dataset, models, stop)
    p_first_N, p_second_N = scores.p_models
    rows = rows_of(dataset)

    def against(p_candidate_N: Floats, p_champion_N: Floats) -> Comparison:
        answers = Answers(
            p_candidate_N=p_candidate_N,
            p_champion_N=p_champion_N,
            champion_absent_because="",
            p_logistic_N=scores.p_logistic_N,
            base_rate=dataset.base_rate,
        )
        return compare(rows, answers, policy=policy.evaluation, past=PastAttempts())

    found = against(p_second_N, p_first_N)
    return SideBySide(
        names=(first, second),
        second=found,
        first=against(p_first_N, p_second_N),
        verdicts=judge(found, policy.gates),
    )


def _model(settings: Settings, name: str) -> ChampionRef:
    """Return the file that a name stands for."""
    if settings.line.is_version(name):
        try:
            artefact = DirectoryRegistry(settings.artefacts_dir, line=settings.line).get(name)
        except ArtefactError as error:
            if error.code != "ARTEFACT_MISSING":
                raise
        else:
            manifest = artefact.manifest
            return ChampionRef(
                version=name,
                path=artefact.model_path,
                sha256=manifest.sha256,
                feature_names=manifest.feature_names,
                architecture=manifest.architecture,
            )
        path = settings.models_dir / f"{name}.pth"
    else:
        path = Path(name).resolve()
    if not path.is_file():
        raise UsageError(
            "MODEL_UNKNOWN",
            f"{name} is no registered version, no file of {settings.models_dir} and no path of a file",
        )
    return ChampionRef(version=path.stem, path=path, sha256=sha256_of(path), adopted=True)


def _scored(
    settings: Settings,
    policy: Policies,
    dataset: Dataset,
    models: Sequence[ChampionRef],
    stop: StopSignal,
) -> Scores:
    with tempfile.TemporaryDirectory(prefix="clm-compare-") as made:
        job = TrainingJob(
            run_id="compare",
            directory=Path(made),
            spec=policy.training,
            context_length=policy.data.context_length,
            feature_names=dataset.feature_names,
            champion=None,
            timeout_s=policy.train_timeout_s,
        )
        write_score_job(job, models, dataset)
        _run_child(settings.python or Path(sys.executable), job, stop)
        return read_scores(job.directory, len(models), len(dataset.split.test))


def _run_child(python: Path, job: TrainingJob, stop: StopSignal) -> None:
    clock, threads = SystemClock(), str(job.spec.threads)
    environment = {
        **inherited_environment(),
        "PYTHONPATH": str(Path(clm.__file__).parents[1]),
        "OMP_NUM_THREADS": threads,
        "MKL_NUM_THREADS": threads,
        "OPENBLAS_NUM_THREADS": threads,
    }
    command = [str(python), "-P", "-m", "clm.training.score", str(job.directory), str(os.getpid())]
    with (job.directory / STDOUT).open("wb") as stdout, (job.directory / STDERR).open("wb") as stderr:
        try:
            child = Child(
                command, environment=environment, directory=job.directory, stdout=stdout, stderr=stderr
            )
        except OSError as exc:
            raise TrainingError(
                "CHILD_FAILED", f"{python} cannot be started: {exc.strerror}; set CLM_PYTHON"
            ) from exc
    deadline = clock.monotonic() + job.timeout_s
    try:
        while not child.has_ended():
            if stop.wait(_POLL_S):
                raise Interrupted("STOPPING", "asked to stop while models were scored")
            if clock.monotonic() >= deadline:
                raise TrainingError("CHILD_TIMEOUT", f"scoring took longer than {job.timeout_s:g} s")
    finally:
        code = child.end(0.0, clock)
    if code:
        words = (job.directory / STDERR).read_text(encoding="utf-8", errors="replace").splitlines()
        raise TrainingError("NOT_SCORED", " ".join(words[-1:]) or f"the scoring child ended with code {code}")
