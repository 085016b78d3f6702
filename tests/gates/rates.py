"""Complete judgements of many small histories: how often noise is promoted, and how often skill."""

from dataclasses import replace
from pathlib import Path

import numpy as np
from sklearn.linear_model import LogisticRegression

from clm.data.dataset import Dataset
from clm.domain.job import TrainingResult
from clm.domain.ledger import PastAttempts
from clm.domain.sample import Floats
from clm.evaluation.evidence import comparison_of, evidence_of
from clm.gates.catalogue import judge
from clm.gates.decision import Decision, decide
from clm.gates.verdict import GateVerdict
from tests.builders import evaluation_policy, gate_policy
from tests.training import jobs

SMALL = 2400
"""Windows of two symbols at every hour; the test part is 360 rows over seven and a half days."""
MONTH = 6000
"""The test part has 900 rows, like that of a store of one month."""


def history(seed: int, windows: int = SMALL) -> Dataset:
    """Return a history whose wins follow one feature; logistic regression has an AUROC of about 0.77."""
    dataset = jobs.dataset(n_windows=windows, seed=seed)
    flipped_N = np.random.default_rng(seed).random(len(dataset.label_N)) < 0.15
    return replace(dataset, label_N=np.where(flipped_N, 1 - dataset.label_N, dataset.label_N))


def shuffled(dataset: Dataset, seed: int) -> Dataset:
    """Return the same rows with random labels."""
    return replace(dataset, label_N=np.random.default_rng(seed).permutation(dataset.label_N))


def stand_in(dataset: Dataset) -> TrainingResult:
    """Return the result of a cheap trainer: ridge regression calibrated on validation, and the baseline."""
    split = dataset.split
    odds_N = _odds(dataset, 0.02)
    platt = LogisticRegression(C=1e6).fit(odds_N[split.validation, None], dataset.label_N[split.validation])
    p_N = platt.predict_proba(odds_N[:, None])[:, 1]
    return TrainingResult(
        weights_path=Path("model.pth"),
        file_sha256="",
        weights_hash="",
        n_parameters=11,
        best_epoch=1,
        stopped_because="",
        epochs=(),
        seconds=0.0,
        p_candidate_N=p_N[split.test],
        p_logistic_N=1 / (1 + np.exp(-_odds(dataset, 1.0)[split.test])),
        p_champion_N=None,
        champion_absent_because="none is named",
        p_validation_N=p_N[split.validation],
    )


def judged(dataset: Dataset, training: TrainingResult) -> tuple[tuple[GateVerdict, ...], Decision]:
    """Return the decision of a cycle on a first model."""
    evidence = evidence_of(dataset, training, policy=evaluation_policy(), past=PastAttempts(), serving=None)
    verdicts = judge(comparison_of(evidence), gate_policy())
    return verdicts, decide(verdicts)


def _odds(dataset: Dataset, strength: float) -> Floats:
    """Return the log odds of every window by a regression on the last step of the training part."""
    train = dataset.split.train
    steps_NC = dataset.scaler.apply(dataset.windows.steps_MC[dataset.windows.end_N])
    regression = LogisticRegression(C=strength, max_iter=1000).fit(steps_NC[train], dataset.label_N[train])
    odds_N: Floats = regression.decision_function(steps_NC)
    return odds_N
