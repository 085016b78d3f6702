"""Who may promote: a rule on values, without a server."""

import itertools

import pytest

from clm.domain.line import DEFAULT_LINE
from clm.ports import Control, ControlSet, PromotionState
from clm.promotion.permission import held_after, withheld

SET = ControlSet(value="patchtst_v20260109_233444", reason="because", since="2026-01-02T03:04:05.000000Z")
ROLLED_BACK, FAILED = PromotionState.ROLLED_BACK, PromotionState.ROLLBACK_FAILED


def test_f15_a_model_goes_in_by_itself_only_where_every_condition_allows_it() -> None:
    """All combinations there are: one way in, and each way to wait says why."""
    combinations = itertools.product(
        ("auto", "manual"),
        (True, False),
        (True, False),
        (None, Control.PAUSE, Control.PIN, Control.SUSPENDED),
    )
    for mode, promote_live, shadow_only, control in combinations:
        controls = {control: SET} if control else {}
        why = withheld(
            mode=mode,
            promote_live=promote_live,
            shadow_only=shadow_only,
            shadow_key=DEFAULT_LINE.shadow_key,
            controls=controls,
        )
        free = mode == "auto" and (shadow_only or promote_live) and control is None
        assert (why is None) is free
        if why:
            assert any(word in why for word in ("manual", "live", "because"))


@pytest.mark.parametrize(
    ("value", "expected"),
    [("true", True), ("TRUE", True), ("false", False), ("", False), ("1", False), ("yes", False)],
)
def test_f15_only_a_plain_true_means_that_the_engine_only_watches(value: str, expected: bool) -> None:
    """What the engine might read as live is live."""
    assert DEFAULT_LINE.is_shadow_only({"PATCHTST_SHADOW_ONLY": value}) is expected
    assert DEFAULT_LINE.is_shadow_only({}) is False


@pytest.mark.parametrize(
    ("before", "now", "held"),
    [
        ([], ROLLED_BACK, False),
        ([PromotionState.COMMITTED], ROLLED_BACK, False),
        ([ROLLED_BACK], ROLLED_BACK, True),
        ([FAILED], ROLLED_BACK, True),
        ([], FAILED, True),
        ([ROLLED_BACK], PromotionState.COMMITTED, False),
        ([ROLLED_BACK], PromotionState.ABORTED, False),
        ([ROLLED_BACK], PromotionState.SUPERSEDED, False),
    ],
)
def test_f11_two_rollbacks_in_a_row_hold_and_so_does_one_that_failed(
    before: list[PromotionState], now: PromotionState, held: bool
) -> None:
    """Once is bad luck; twice is a person's matter."""
    assert bool(held_after(before, now, "patchtst_v20260109_233444")) is held
