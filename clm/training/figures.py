"""Metrics of the test rows, computed by scikit-learn. The parent computes them again without it."""

import math
from collections.abc import Mapping

import numpy as np
from sklearn import metrics

from clm.domain.job import TrainingResult
from clm.domain.sample import Bytes8, Floats
from clm.evaluation.metrics import CLIP
from clm.questions.train import TrainingArrays


def figures_of(arrays: TrainingArrays, result: TrainingResult) -> Mapping[str, Mapping[str, float]]:
    """Return the metrics of candidate, champion and plain models; NaN if a metric is undefined."""
    label_N = arrays.label_N[arrays.test]
    answers = {
        "candidate": result.p_candidate_N,
        "champion": result.p_champion_N,
        "logistic": result.p_logistic_N,
        "trees": result.p_trees_N,
    }
    return {name: measure(label_N, p_N) for name, p_N in answers.items() if p_N is not None}


def measure(label_N: Bytes8, p_N: Floats) -> Mapping[str, float]:
    """Return AUROC, log loss in nats, Brier score, and the classification metrics at P(WIN) >= 0.5."""
    called_N, both = p_N >= 0.5, len(np.unique(label_N)) == 2
    counted = {"zero_division": math.nan}
    return {
        "auroc": float(metrics.roc_auc_score(label_N, p_N)) if both else math.nan,
        "log_loss": float(metrics.log_loss(label_N, np.clip(p_N, CLIP, 1.0 - CLIP), labels=[0, 1])),
        "brier": float(np.mean((p_N - label_N) ** 2))
        if not both
        else float(metrics.brier_score_loss(label_N, p_N)),
        "accuracy": float(metrics.accuracy_score(label_N, called_N)),
        "precision": float(metrics.precision_score(label_N, called_N, **counted)),
        "recall": float(metrics.recall_score(label_N, called_N, **counted)),
        "f1": float(metrics.f1_score(label_N, called_N, **counted)),
    }
