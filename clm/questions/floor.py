"""The question `floor`: whether plain models find any skill in the last step of each window."""

from dataclasses import dataclass
from functools import partial

import numpy as np

from clm.data.floor import Floor, FloorPolicy, FloorRows
from clm.questions.question import Limits, Question

NAME = "floor"


@dataclass(frozen=True, slots=True, kw_only=True)
class FloorInputs:
    """Labelled decisions, and how they are measured."""

    rows: FloorRows
    policy: FloorPolicy


def floor_question(rows: FloorRows, policy: FloorPolicy, *, budget_s: float) -> Question[Floor]:
    """Return the question whose answer is the floor; one thread, so that the engine keeps its core."""
    return Question(
        name=NAME,
        subject="measuring the floor",
        inputs=FloorInputs(rows=rows, policy=policy),
        limits=Limits(wall_s=budget_s),
        answer=Floor,
        check=partial(_checked, len(rows.label_N)),
        advice="lower CLM_HISTORY_DAYS, or set CLM_DATA__FLOOR=off",
    )


def _checked(n_rows: int, floor: Floor) -> Floor:
    if not 0 <= floor.n_rows <= n_rows:
        raise ValueError(f"{floor.n_rows} rows out of sample, {n_rows} were given")
    for name, skill in floor.skills.items():
        for figure in (skill.auroc, skill.p_value):
            if not (np.isnan(figure) or 0.0 <= figure <= 1.0):
                raise ValueError(f"{name} has the figure {figure}, outside of 0 to 1")
    return floor
