"""Words of the store that people and libraries spell differently: sides, classes, booleans.

A word is read where its meaning is unambiguous, in any case and with the name of an enumeration in front
(`TradeType.BUY`). Any other value is unknown: the caller counts it, and never replaces it by a default.
Numbers are no sides and no classes, because nothing says what 0 and 1 stand for.
"""

from collections.abc import Mapping

MISSING = frozenset({"", "NULL", "NONE", "NAN", "NA", "N/A", "<NA>"})
"""Texts that exports write for NULL."""
SIDES: Mapping[str, int] = {
    **dict.fromkeys(("BUY", "LONG", "BID", "B"), 1),
    **dict.fromkeys(("SELL", "SHORT", "ASK", "S"), -1),
    "HOLD": 0,
}
OUTCOMES: Mapping[str, int] = {
    **dict.fromkeys(("WIN", "WON", "WINNER"), 1),
    **dict.fromkeys(("LOSS", "LOST", "LOSE", "LOSER"), -1),
    **dict.fromkeys(("NEUTRAL", "BREAKEVEN", "BREAK_EVEN", "BREAK-EVEN", "DRAW"), 0),
}
BOOLEANS: Mapping[str, bool] = {
    **dict.fromkeys(("TRUE", "T", "YES", "Y", "1", "1.0"), True),
    **dict.fromkeys(("FALSE", "F", "NO", "N", "0", "0.0"), False),
}


def side_of(value: object) -> int | None:
    """Return +1 for a BUY, -1 for a SELL, 0 for a missing side or HOLD, None for anything else."""
    return 0 if is_missing(value) else SIDES.get(word_of(value))


def outcome_of(value: object) -> int | None:
    """Return +1 for a WIN, -1 for a LOSS, 0 for NEUTRAL, None for anything else."""
    return OUTCOMES.get(word_of(value))


def boolean_of(value: object) -> bool | None:
    """Return a boolean, False for a missing one, None for anything else."""
    if is_missing(value):
        return False
    if isinstance(value, (bool, int, float)):
        return bool(value) if value in (0, 1) else None
    return BOOLEANS.get(word_of(value))


def is_missing(value: object) -> bool:
    """Return whether a value is NULL, or what exports write for it."""
    if not isinstance(value, (str, bytes)):
        return value is None
    text = text_of(value)  # "" also for bytes that are no text, and these are not missing
    return (bool(text) or not value) and text.strip().upper() in MISSING


def word_of(value: object) -> str:
    """Return a text as a word of the mappings above; "" for what is not text."""
    text = text_of(value).strip().upper()
    before, _, last = text.rpartition(".")
    return last if before.isidentifier() else text


def text_of(value: object) -> str:
    """Return text that can be written as UTF-8, "" for anything else."""
    try:
        if isinstance(value, bytes):
            return value.decode()
        if isinstance(value, str):
            return value if value.isascii() else value.encode().decode()
    except UnicodeError:
        pass
    return ""
