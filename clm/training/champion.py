"""P(WIN) of the serving model on the candidate's test rows, or why there is none."""

import hashlib
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from clm.domain.job import ChampionRef
from clm.domain.sample import Floats
from clm.errors import ArtefactError
from clm.models.catalogue import Architecture
from clm.training.export import load_served
from clm.training.predict import logits, p_win
from clm.training.windows import Windows


@dataclass(frozen=True, slots=True, kw_only=True)
class ChampionScores:
    """Either scores or the reason for their absence."""

    p_N: Floats | None
    absent_because: str = ""


def score_champion(
    champion: ChampionRef | None,
    architecture: Architecture,
    feature_names: tuple[str, ...],
    raw: Windows,
    test_N: Tensor,
) -> ChampionScores:
    """Score the champion from raw windows as the engine would; a file that does not load is no champion."""
    if champion is None:
        return ChampionScores(p_N=None, absent_because="the engine's environment file names no model")
    if champion.feature_names and champion.feature_names != feature_names:
        return _absent(
            champion,
            f"was trained on {', '.join(champion.feature_names)}, now it is {', '.join(feature_names)}",
        )
    try:
        data = champion.path.read_bytes()
    except OSError as exc:
        return _absent(champion, f"cannot be read: {exc.strerror}")
    sha256 = hashlib.sha256(data).hexdigest()
    if sha256 != champion.sha256:
        return _absent(champion, f"has sha256 {sha256[:12]}…, recorded was {champion.sha256[:12]}…")
    model = architecture.build(0.0)
    try:
        load_served(model, data)
    except ArtefactError as error:
        return _absent(champion, f"cannot be loaded: {error.message[:300]}")
    p_N = p_win(logits(model, raw, test_N))
    if not np.isfinite(p_N).all():
        return _absent(champion, "answers with numbers that are not finite")
    return ChampionScores(p_N=p_N)


def _absent(champion: ChampionRef, why: str) -> ChampionScores:
    return ChampionScores(p_N=None, absent_because=f"champion {champion.version} {why}")
