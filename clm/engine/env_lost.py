"""Lines of an environment file that systemd drops, or reads differently from what their author meant."""

import difflib
import re
from collections.abc import Collection, Iterator

from clm.engine.env_grammar import Assignment, Reading, line_at, read

_BOM = b"\xef\xbb\xbf"
_COMMENT_IN_VALUE = re.compile(r"\s#")
_SIMILAR = 0.85
_OURS = "CLM_"


def lost_lines(data: bytes, names: Collection[str]) -> tuple[str, ...]:
    """Return one sentence, with the line number, for each line that would set nothing or something else.

    `names` are the settings that the file may hold.

    Raises:
        PromotionError: ENV_ENCODING; systemd rejects the whole file.
    """
    reading = read(data)
    found = [
        *_marked(data),
        *_unclosed(reading),
        *_swallowed(data, reading),
        *_not_assignments(data, reading),
        *(problem for one in reading.assignments for problem in _of_assignment(data, one, names)),
    ]
    return tuple(f"line {line} {what}" for line, what in sorted(set(found)))


Problem = tuple[int, str]


def _marked(data: bytes) -> Iterator[Problem]:
    if data.startswith(_BOM):
        yield 1, "begins with a byte order mark, so systemd drops it; save the file as UTF-8 without BOM"


def _unclosed(reading: Reading) -> Iterator[Problem]:
    if reading.open_at_the_end:
        line, complaint = reading.open_at_the_end
        yield line, f"{complaint}, which takes in the rest of the file; close it"


def _swallowed(data: bytes, reading: Reading) -> Iterator[Problem]:
    for line in reading.swallowing_comments:
        following = data.split(b"\n")[line : line + 1]
        if following and following[0].strip()[:1] not in (b"", b"#", b";"):
            taken = f"takes in line {line + 1}"
            yield line, f"is a comment that ends in a backslash and {taken}; remove the backslash"


def _not_assignments(data: bytes, reading: Reading) -> Iterator[Problem]:
    """Yield text that is neither an assignment nor a comment: it has no equals sign."""
    swallowed = {line + 1 for line in reading.swallowing_comments}
    taken = {
        line
        for one in reading.assignments
        for line in range(one.line, line_at(data, max(one.end - 1, one.start)) + 1)
    }
    for line, text in enumerate(data.split(b"\n"), 1):
        stripped = text.lstrip()
        if stripped and stripped[:1] not in b"#;" and line not in taken | swallowed:
            yield line, "has no equals sign, so systemd drops it; write NAME=value"


def _of_assignment(data: bytes, one: Assignment, names: Collection[str]) -> Iterator[Problem]:
    key = one.key.removeprefix("\ufeff")
    if not one.is_seen and not data.startswith(_BOM, one.start):
        yield one.line, _refused_name(one.key)
    elif not key.startswith(_OURS) and (meant := _meant(key, names)):
        yield one.line, f"sets {key}, which is not a setting; write {meant}"
    if key.startswith(_OURS) and _COMMENT_IN_VALUE.search(_plain_value(data, one)):
        yield one.line, f"has a comment after the value of {key}, which systemd takes for a part of the value"


def _refused_name(key: str) -> str:
    if key.split()[:1] == ["export"]:
        return f"begins with export, so systemd drops it; write {key.split()[-1]}= without export"
    return f"has the name {key!r}, which systemd does not accept; use letters, digits and underscores"


def _plain_value(data: bytes, one: Assignment) -> str:
    """Return the value as written if it is not quoted."""
    written = data[one.equals + 1 : one.end].decode(errors="replace").strip()
    return "" if written[:1] in {'"', "'"} else written


def _meant(key: str, names: Collection[str]) -> str:
    """Return the setting that a name without our prefix was meant to be, or ""."""
    if key.upper() in names:
        return key.upper()
    # Only close names: the file may hold variables of other programs.
    near = difflib.get_close_matches(key.upper(), names, n=1, cutoff=_SIMILAR)
    return near[0] if near else ""
