"""A record of the right types may still be a lie: what each question's check refuses."""

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from clm.data.floor import Floor, FloorPolicy, Skill
from clm.domain.job import ChampionRef
from clm.domain.load_check import GoldenRows, LoadCheck
from clm.domain.measurement import Measurement
from clm.domain.tuning import AS_SET, Trial, TuningJob
from clm.questions.floor import floor_question
from clm.questions.load_check import LoadCheckJob, load_check_question
from clm.questions.measure import Measurements, measure_question
from clm.questions.question import Question
from clm.questions.score import Scores, score_question
from clm.questions.tune import Trials, tune_question
from tests.builders import training_spec
from tests.data.test_signal import rows
from tests.training import jobs

ROWS = rows()
DATASET = jobs.dataset(n_windows=160)
JOB = jobs.job(Path("/job"), of=DATASET)
N_TEST = len(DATASET.split.test)
PROOF = LoadCheckJob(
    directory=Path("/proof"),
    weights_path=Path("/model.pth"),
    sha256="a" * 64,
    architecture="engine",
    context_length=128,
    n_features=8,
    timeout_s=1.0,
)
GOLDEN = GoldenRows(window_GLC=np.zeros((1, 128, 8), np.float32), p_G=np.full(1, 0.5))
TUNING = TuningJob(
    run_id="p07_x",
    directory=Path("/tuning"),
    study="study",
    storage=Path("/tuning.db"),
    spec=training_spec(),
    knobs=(),
    variants={AS_SET: Path("/job")},
    trials=1,
    budget_s=1.0,
)

FLOOR = Floor(skills={"trees": Skill(auroc=0.6, p_value=math.nan)}, n_rows=10, n_blocks=3)
LOADED = LoadCheck(
    sha256="a" * 64,
    size_bytes=1,
    weights_finite=True,
    golden=GOLDEN,
    routes=(),
    predictions=1,
    p50_ms=1.0,
    p99_ms=1.0,
    p99_wall_ms=1.0,
)
MEASURED = Measurements(by_name={"overfit": Measurement(figures={}, cost_s=1.0)})
TRIAL = Trial(number=0, state="complete", variant=AS_SET, settings={}, excess=0.1, epochs=1, seconds=1.0)
HALF, HALF_VALIDATION = np.full(N_TEST, 0.5), np.full(len(DATASET.split.validation), 0.5)
SCORES = Scores(
    p_models=(HALF,),
    p_logistic_N=HALF,
    p_trees_N=HALF,
    validation_by_plain={"logistic": HALF_VALIDATION, "trees": HALF_VALIDATION},
)

SOUND: Mapping[str, tuple[Callable[[], Question], object]] = {
    "floor": (lambda: floor_question(ROWS, FloorPolicy(block_h=24.0, embargo_h=1.0), budget_s=1.0), FLOOR),
    "load_check": (lambda: load_check_question(PROOF, GOLDEN), LOADED),
    "measure": (lambda: measure_question(JOB, budget_s=1.0), MEASURED),
    "tune": (lambda: tune_question(TUNING), Trials(trials=(TRIAL,))),
    "score": (
        lambda: score_question(JOB, [ChampionRef(version="x", path=Path("/x"), sha256="")], DATASET),
        SCORES,
    ),
}
LIES: Mapping[str, tuple[str, object]] = {
    "more rows than there are": ("floor", replace(FLOOR, n_rows=len(ROWS.label_N) + 1)),
    "an area above one": ("floor", replace(FLOOR, skills={"trees": Skill(auroc=1.1, p_value=0.5)})),
    "a negative p-value": ("floor", replace(FLOOR, skills={"trees": Skill(auroc=0.6, p_value=-0.1)})),
    "another file": ("load_check", replace(LOADED, sha256="b" * 64)),
    "a measurement that was not asked for": (
        "measure",
        Measurements(by_name={"luck": Measurement(figures={}, cost_s=1.0)}),
    ),
    "another state": ("tune", Trials(trials=(replace(TRIAL, state="won"),))),
    "another variant": ("tune", Trials(trials=(replace(TRIAL, variant="of its own"),))),
    "no model": ("score", replace(SCORES, p_models=())),
    "too many rows": ("score", replace(SCORES, p_models=(np.full(N_TEST + 1, 0.5),))),
    "no probability": ("score", replace(SCORES, p_logistic_N=np.full(N_TEST, np.nan))),
    "no probability of the trees": ("score", replace(SCORES, p_trees_N=HALF + 0.51)),
    "too few rows of the trees": ("score", replace(SCORES, p_trees_N=HALF[:-1])),
    "one plain model": ("score", replace(SCORES, validation_by_plain={"logistic": HALF_VALIDATION})),
    "too few validation rows of the trees": (
        "score",
        replace(SCORES, validation_by_plain={"logistic": HALF_VALIDATION, "trees": HALF[:-1]}),
    ),
}


@pytest.mark.parametrize("name", SOUND)
def test_a_sound_answer_passes_the_check(name: str) -> None:
    """The control: it is the lie that is refused."""
    make, answer = SOUND[name]
    assert type(make().check(answer)) is type(answer)


def test_the_golden_rows_of_a_proof_are_the_parents_own() -> None:
    """A child that returns other rows would be compared with its own."""
    others = GoldenRows(window_GLC=np.ones((1, 128, 8), np.float32), p_G=np.full(1, 0.9))
    checked = load_check_question(PROOF, GOLDEN).check(replace(LOADED, golden=others))
    assert checked.golden is GOLDEN


@pytest.mark.parametrize("lie", LIES)
def test_e13_an_answer_that_cannot_be_right_is_refused(lie: str) -> None:
    """What is decided later is decided from these figures."""
    name, answer = LIES[lie]
    with pytest.raises(ValueError, match=r"."):
        SOUND[name][0]().check(answer)
