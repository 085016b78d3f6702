"""systemd's EnvironmentFile grammar, character by character as systemd 252 reads it.

The states are systemd's: whitespace may precede a key, `#` and `;` start a comment, a backslash at the end of
a line continues a value *and a comment*, one quoted piece may follow another, `$` has no meaning, the last
assignment of a name wins, and a name that is not an identifier is dropped. systemd and this parser reject a
file with a NUL or invalid UTF-8.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto

from clm.errors import PromotionError

_BLANK = " \t\n\r"
_NEWLINE = "\n\r"
_COMMENT = "#;"
_UNESCAPED_IN_DOUBLE_QUOTES = '"\\`$'
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class _State(Enum):
    PRE_KEY = auto()
    KEY = auto()
    PRE_VALUE = auto()
    VALUE = auto()
    VALUE_ESCAPE = auto()
    SINGLE_QUOTE = auto()
    DOUBLE_QUOTE = auto()
    DOUBLE_QUOTE_ESCAPE = auto()
    COMMENT = auto()
    COMMENT_ESCAPE = auto()


_OPEN_AT_THE_END = {
    _State.VALUE_ESCAPE: "ends in a backslash",
    _State.COMMENT_ESCAPE: "is a comment that ends in a backslash",
    _State.SINGLE_QUOTE: "opens a quote that is never closed",
    _State.DOUBLE_QUOTE: "opens a quote that is never closed",
    _State.DOUBLE_QUOTE_ESCAPE: "opens a quote that is never closed",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """One `KEY=value` as systemd reads it; offsets are bytes of the file."""

    key: str
    value: str
    line: int
    start: int
    """Offset of the key's first character."""
    equals: int
    """Offset of the `=`."""
    value_start: int
    value_end: int
    """The bytes of the value: inside the quotes if it is one quoted piece."""
    end: int
    """Offset after the value, its closing quote and trailing whitespace."""

    @property
    def is_seen(self) -> bool:
        """True if systemd accepts the name."""
        return _NAME.fullmatch(self.key) is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """Result of one pass over the file."""

    assignments: tuple[Assignment, ...]
    swallowing_comments: tuple[int, ...]
    """Lines of comments whose backslash continues into the next line."""
    continuations: tuple[int, ...]
    """Offsets of line ends escaped by a backslash in a value."""
    open_at_the_end: tuple[int, str] | None
    """Line and complaint if the file ends inside an escape or a quote."""


def read(data: bytes) -> Reading:
    """Read the file in one pass.

    Raises:
        PromotionError: ENV_ENCODING for a NUL or invalid UTF-8.
    """
    _refuse_undecodable(data)
    return _Scanner(data).run()


def _refuse_undecodable(data: bytes) -> None:
    # systemd does not start a unit with such a file, so there is nothing to preserve.
    at = data.find(b"\0")
    if at < 0:
        try:
            data.decode()
        except UnicodeDecodeError as exc:
            at = exc.start
    if at >= 0:
        what = "a NUL byte" if data[at] == 0 else "bytes that are not UTF-8"
        raise PromotionError(
            "ENV_ENCODING",
            f"line {line_at(data, at)} has {what}; systemd rejects such an environment file: repair it",
        )


def line_at(data: bytes, offset: int) -> int:
    """Return the line number, from 1, of a byte."""
    return data.count(b"\n", 0, offset) + 1


class _Scanner:
    """The state machine and its data for the current assignment."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._text = data.decode("latin-1")  # one character per byte, so offsets stay valid
        self._assignments: list[Assignment] = []
        self._comments: list[int] = []
        self._continuations: list[int] = []
        self._state = _State.PRE_KEY
        self._start_key(0)

    def run(self) -> Reading:
        steps: dict[_State, Callable[[int, str], None]] = {
            _State.PRE_KEY: self._pre_key,
            _State.KEY: self._in_key,
            _State.PRE_VALUE: self._pre_value,
            _State.VALUE: self._in_value,
            _State.VALUE_ESCAPE: self._value_escape,
            _State.SINGLE_QUOTE: self._single_quote,
            _State.DOUBLE_QUOTE: self._double_quote,
            _State.DOUBLE_QUOTE_ESCAPE: self._double_quote_escape,
            _State.COMMENT: self._comment,
            _State.COMMENT_ESCAPE: self._comment_escape,
        }
        for offset, character in enumerate(self._text):
            steps[self._state](offset, character)
        complaint = _OPEN_AT_THE_END.get(self._state)
        where = (
            self._opened
            if self._state not in {_State.VALUE_ESCAPE, _State.COMMENT_ESCAPE}
            else len(self._data)
        )
        if self._state not in {_State.PRE_KEY, _State.KEY, _State.COMMENT, _State.COMMENT_ESCAPE}:
            self._push(len(self._text))
        return Reading(
            assignments=tuple(self._assignments),
            swallowing_comments=tuple(self._comments),
            continuations=tuple(self._continuations),
            open_at_the_end=(line_at(self._data, where), complaint) if complaint else None,
        )

    def _start_key(self, offset: int) -> None:
        self._key_start = offset
        self._equals = offset
        self._value: list[str] = []
        self._trailing: int | None = None  # pieces of the value before its trailing whitespace
        self._first: int | None = None  # offsets of the first relevant byte and after the last
        self._last = offset
        self._quoted_pieces = 0
        self._has_plain = False
        self._opened = offset

    def _take(self, offset: int, text: str) -> None:
        self._value.append(text)
        self._matters(offset)

    def _matters(self, offset: int) -> None:
        if self._first is None:
            self._first = offset
        self._last = offset + 1

    def _push(self, end: int) -> None:
        chopped = self._trailing if self._state is _State.VALUE else None
        value = "".join(self._value[:chopped])
        first = self._first if self._first is not None else self._equals + 1
        last = self._last if self._first is not None else first
        if self._quoted_pieces == 1 and not self._has_plain:
            first, last = first + 1, last - 1
        self._assignments.append(
            Assignment(
                key=_text(self._text[self._key_start : self._equals].rstrip(_BLANK)),
                value=_text(value),
                line=line_at(self._data, self._key_start),
                start=self._key_start,
                equals=self._equals,
                value_start=first,
                value_end=last,
                end=end,
            )
        )
        self._state = _State.PRE_KEY

    def _pre_key(self, offset: int, c: str) -> None:
        if c in _COMMENT:
            self._state = _State.COMMENT
        elif c not in _BLANK:
            self._state = _State.KEY
            self._start_key(offset)

    def _in_key(self, offset: int, c: str) -> None:
        if c in _NEWLINE:
            self._state = _State.PRE_KEY
        elif c == "=":
            self._state = _State.PRE_VALUE
            self._equals = offset

    def _pre_value(self, offset: int, c: str) -> None:
        if c in _NEWLINE:
            self._push(offset)
        elif c in "'\"":
            self._state = _State.SINGLE_QUOTE if c == "'" else _State.DOUBLE_QUOTE
            self._quoted_pieces += 1
            self._opened = offset
            self._matters(offset)
        elif c == "\\":
            self._state = _State.VALUE_ESCAPE
            self._has_plain = True
            self._matters(offset)
        elif c not in _BLANK:
            self._state = _State.VALUE
            self._has_plain = True
            self._take(offset, c)

    def _in_value(self, offset: int, c: str) -> None:
        if c in _NEWLINE:
            self._push(offset)
        elif c == "\\":
            self._state = _State.VALUE_ESCAPE
            self._trailing = None
            self._matters(offset)
        elif c in _BLANK:
            if self._trailing is None:
                # systemd drops whitespace at the end of a plain value, but keeps it inside.
                self._trailing = len(self._value)
            self._value.append(c)
        else:
            self._trailing = None
            self._take(offset, c)

    def _value_escape(self, offset: int, c: str) -> None:
        self._state = _State.VALUE
        if c in _NEWLINE:
            self._continuations.append(offset)
            self._matters(offset)
        else:
            self._take(offset, c)

    def _single_quote(self, offset: int, c: str) -> None:
        if c == "'":
            self._state = _State.PRE_VALUE
            self._matters(offset)
        else:
            self._take(offset, c)

    def _double_quote(self, offset: int, c: str) -> None:
        if c == '"':
            self._state = _State.PRE_VALUE
            self._matters(offset)
        elif c == "\\":
            self._state = _State.DOUBLE_QUOTE_ESCAPE
        else:
            self._take(offset, c)

    def _double_quote_escape(self, offset: int, c: str) -> None:
        self._state = _State.DOUBLE_QUOTE
        if c in _UNESCAPED_IN_DOUBLE_QUOTES:
            self._take(offset, c)
        # systemd keeps the backslash before any other character in double quotes.
        elif c != "\n":
            self._take(offset, "\\" + c)

    def _comment(self, _offset: int, c: str) -> None:
        if c == "\\":
            self._state = _State.COMMENT_ESCAPE
        elif c in _NEWLINE:
            self._state = _State.PRE_KEY

    def _comment_escape(self, offset: int, c: str) -> None:
        self._state = _State.COMMENT
        # After CR of a CRLF, the comment's backslash has escaped only the CR; the LF still ends the line.
        crlf = c == "\r" and self._text[offset + 1 : offset + 2] == "\n"
        if c in _NEWLINE and not crlf:
            self._comments.append(line_at(self._data, offset))


def _text(latin: str) -> str:
    return latin.encode("latin-1").decode()
