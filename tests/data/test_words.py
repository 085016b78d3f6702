"""Words of the store in the spellings of other programs."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clm.data.words import BOOLEANS, MISSING, OUTCOMES, SIDES, boolean_of, outcome_of, side_of

values = (
    st.none() | st.text(max_size=12) | st.binary(max_size=12) | st.integers() | st.floats() | st.booleans()
)


@pytest.mark.parametrize(
    ("value", "side"),
    [
        ("BUY", 1), ("buy", 1), (b"Buy", 1), (" long ", 1), ("TradeType.BUY", 1), ("OrderSide.SELL", -1),
        ("SHORT", -1), ("ask", -1), (None, 0), ("", 0), ("NaN", 0), ("hold", 0),
        ("up", None), (1, None), (-1, None), ("1", None), (b"\xff", None), ("BUY;SELL", None),
        ("1.BUY", None),
    ],
)  # fmt: skip
def test_a_side_is_read_in_the_spellings_of_ccxt_freqtrade_and_hummingbot(value, side):
    """A side that is not read halves the windows in silence."""
    assert side_of(value) == side


@pytest.mark.parametrize(
    ("value", "known"),
    [
        (1, True), (1.0, True), ("True", True), (b"TRUE", True), ("t", True), ("yes", True), ("1.0", True),
        (0, False), ("False", False), ("0.0", False), (None, False), ("", False), ("null", False),
        (2, None), (0.5, None), ("maybe", None), (float("nan"), None), ("10", None), (b"\xff", None),
    ],
)  # fmt: skip
def test_a_boolean_is_read_as_databases_and_pandas_write_it(value, known):
    """An outcome that is not known is not a label."""
    assert boolean_of(value) is known


@pytest.mark.parametrize(
    ("value", "outcome"),
    [
        ("win", 1),
        ("Class.WIN", 1),
        ("Loss", -1),
        ("NEUTRAL", 0),
        ("1", None),
        (0, None),
        (None, None),
        ("", None),
    ],
)
def test_a_class_is_read_in_any_case_and_a_number_is_none(value, outcome):
    """Nothing says what 0 and 1 stand for."""
    assert outcome_of(value) == outcome


@given(values)
def test_no_value_becomes_a_default(value):
    """What is neither a known word nor missing is unknown, whatever it is."""
    text = value.decode(errors="replace") if isinstance(value, bytes) else value
    word = text.strip().upper() if isinstance(text, str) else text
    last = word.rpartition(".")[2] if isinstance(word, str) else word
    if value is None or (isinstance(word, str) and word in MISSING):
        return
    if last not in SIDES:
        assert side_of(value) is None
    if last not in OUTCOMES:
        assert outcome_of(value) is None
    if word not in BOOLEANS and value not in (0, 1):
        assert boolean_of(value) is None
