"""`clm compare`: two models side by side on the test part of the current store, which is not changed."""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from clm.artefacts.files import sha256_of
from clm.artefacts.registry import DirectoryRegistry
from clm.clock import SystemClock
from clm.data.dataset import Dataset
from clm.domain.job import ChampionRef, TrainingJob
from clm.domain.ledger import PastAttempts
from clm.domain.sample import Floats
from clm.errors import ArtefactError, UsageError
from clm.evaluation.evaluate import better_plain, compare, rows_of
from clm.evaluation.evaluation import Comparison
from clm.evaluation.predictions import Answers
from clm.gates.catalogue import judge
from clm.gates.verdict import GateVerdict
from clm.ports import StopSignal
from clm.questions.score import Scores, score_question
from clm.settings import Settings
from clm.steps.read import read_dataset
from clm.steps.world import Policies
from clm.store.contract import check_contract
from clm.store.samples import SqliteSampleSource
from clm.wiring import asker_of, candles_of, policies


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
        TrainingError: NOT_SCORED, a file cannot be loaded or scored, and why; those of every child.
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
    better = better_plain(scores.validation_by_plain, dataset.label_N[dataset.split.validation])

    def against(p_candidate_N: Floats, p_champion_N: Floats) -> Comparison:
        answers = Answers(
            p_candidate_N=p_candidate_N,
            p_champion_N=p_champion_N,
            champion_absent_because="",
            p_logistic_N=scores.p_logistic_N,
            base_rate=dataset.base_rate,
            p_trees_N=scores.p_trees_N,
        )
        found = compare(rows, answers, policy=policy.evaluation, past=PastAttempts())
        return replace(found, better_plain=better)

    found = against(p_second_N, p_first_N)
    return SideBySide(
        names=(first, second),
        second=found,
        first=against(p_first_N, p_second_N),
        verdicts=judge(found, policy.gates),
    )


def _model(settings: Settings, name: str) -> ChampionRef:
    """Return the file for a name."""
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
            f"{name} is not a registered version, a file in {settings.models_dir} or a file path",
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
        return asker_of(settings).ask(score_question(job, models, dataset), job.directory, stop)
