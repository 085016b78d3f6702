"""P(WIN) of the serving model on the candidate's test rows, or the reason for its absence."""

import hashlib
from dataclasses import dataclass

import numpy as np
import torch

from clm.domain.job import ChampionRef
from clm.domain.sample import Floats
from clm.errors import ArtefactError, TrainingError
from clm.models.catalogue import architecture
from clm.questions.train import TrainingArrays
from clm.training.export import load_served
from clm.training.predict import logits, p_win
from clm.training.windows import raw_windows


@dataclass(frozen=True, slots=True, kw_only=True)
class ChampionScores:
    """Either scores or the reason for their absence."""

    p_N: Floats | None
    absent_because: str = ""


def score_champion(
    champion: ChampionRef | None,
    feature_names: tuple[str, ...],
    arrays: TrainingArrays,
    context_length: int,
) -> ChampionScores:
    """Score the champion on the raw windows of the test rows, as an engine would.

    It has its own architecture. Its channels are found by name among the candidate's features. A champion
    whose file does not load is reported as absent.
    """
    if champion is None:
        return ChampionScores(p_N=None, absent_because="the engine's environment file names no model")
    own = _own_channels(champion, feature_names, arrays)
    if own is None:
        return _absent(
            champion,
            f"was trained on {', '.join(champion.feature_names)}, the data has {', '.join(feature_names)}",
        )
    try:
        data = champion.path.read_bytes()
    except OSError as exc:
        return _absent(champion, f"cannot be read: {exc.strerror}")
    # The bytes that were hashed are the bytes that are loaded; the file may change in between.
    sha256 = hashlib.sha256(data).hexdigest()
    if sha256 != champion.sha256:
        return _absent(champion, f"has sha256 {sha256[:12]}…, but {champion.sha256[:12]}… is recorded")
    try:
        chosen = architecture(champion.architecture).sized(own.features_RC.shape[1])
        model = chosen.build(0.0)
        load_served(model, data)
    except (ArtefactError, TrainingError) as error:
        return _absent(champion, f"cannot be loaded: {error.message[:300]}")
    raw = raw_windows(own, n_channels=chosen.n_features, context_length=context_length)
    p_N = p_win(logits(model, raw, torch.from_numpy(own.name_N[own.test])))
    if not np.isfinite(p_N).all():
        return _absent(champion, "predicts values that are not finite")
    return ChampionScores(p_N=p_N)


def _own_channels(
    champion: ChampionRef, feature_names: tuple[str, ...], arrays: TrainingArrays
) -> TrainingArrays | None:
    """Return the windows with the champion's channels, or None if the data does not have them.

    The features of an adopted file are unknown, so it gets all channels. If every feature of the champion is
    static over the window here, it was trained on a history of samples: these are different windows.
    """
    own = champion.feature_names
    if not own or own == feature_names:
        return arrays
    if not set(own) <= set(feature_names):
        return None
    chosen = arrays.with_columns([feature_names.index(name) for name in own])
    # Different windows would compare two models on different inputs.
    return None if len(chosen.held_K) == len(own) else chosen


def _absent(champion: ChampionRef, why: str) -> ChampionScores:
    return ChampionScores(p_N=None, absent_because=f"champion {champion.version} {why}")
