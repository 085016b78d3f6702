"""The rules of ports.Asker, for the asker with real child processes and for the scripted one."""

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from clm.children.ask import SubprocessAsker
from clm.data.floor import Floor, FloorPolicy, measure_floor
from clm.errors import Interrupted, TrainingError
from clm.ports import Asker
from clm.questions.floor import NAME, floor_question
from clm.questions.question import Question
from clm.training.floor import MODELS
from tests.data.test_signal import rows
from tests.fakes import ScriptedAsker

POLICY = FloorPolicy(block_h=24.0, embargo_h=1.0)
MAKERS: dict[str, Callable[[], Asker]] = {
    "scripted": lambda: ScriptedAsker(floor=lambda inputs: measure_floor(inputs.rows, MODELS, inputs.policy)),
    "subprocess": lambda: SubprocessAsker(grace_s=1.0),
}


@pytest.fixture(params=list(MAKERS))
def asker(request: pytest.FixtureRequest) -> Asker:
    return MAKERS[request.param]()


@pytest.fixture
def question() -> Question[Floor]:
    return floor_question(rows(n=400, signal=1.0), POLICY, budget_s=60.0)


def test_the_answer_is_the_one_that_passed_the_check(asker, question, tmp_path: Path) -> None:
    """The parent uses what its own check returns, not what the child wrote."""
    checked = replace(question, check=lambda floor: replace(floor, absent_because="checked"))
    floor = asker.ask(checked, tmp_path / "new", threading.Event())

    assert floor.absent_because == "checked"
    assert floor.skills["logistic regression"].auroc > 0.6


def test_an_answer_that_fails_the_check_is_an_error(asker, question, tmp_path: Path) -> None:
    """Nothing else stands between a broken child and a promotion."""

    def refuse(floor: Floor) -> Floor:
        raise ValueError("no such floor")

    with pytest.raises(TrainingError, match=r"RESULT_INVALID: .*no such floor"):
        asker.ask(replace(question, check=refuse), tmp_path, threading.Event())


def test_a_stop_that_is_set_interrupts(asker, question, tmp_path: Path) -> None:
    """The daemon ends at once, whatever is asked."""
    stop = threading.Event()
    stop.set()
    with pytest.raises(Interrupted):
        asker.ask(question, tmp_path, stop)


def test_a_prepared_child_answers_like_any_other(asker, question, tmp_path: Path) -> None:
    """It only began earlier."""
    (tmp_path / "prepared").mkdir()
    with asker.prepared(NAME, tmp_path / "prepared") as child:
        floor = child.ask(question, threading.Event())

    assert floor == asker.ask(question, tmp_path / "asked", threading.Event())


def test_a_question_that_nobody_answers_is_a_training_error(asker, question, tmp_path: Path) -> None:
    """Callers catch one kind of error for whatever goes wrong on the other side."""
    with pytest.raises(TrainingError):
        asker.ask(replace(question, name="unknown"), tmp_path, threading.Event())
