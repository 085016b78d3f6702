"""One line per event: a dotted past-tense name and fields, for the journal and terminals."""

import logging
import os
import sys
import threading
from collections.abc import MutableMapping
from typing import Any, TextIO

import structlog
from structlog.typing import Processor

_PRIORITY = {"debug": 7, "info": 6, "warning": 4, "error": 3, "critical": 2}
"""sd-daemon(3): a line that starts with <N> gets that priority in the journal."""


def configure(level: str = "info", *, journal: bool = False, stream: TextIO | None = None) -> None:
    """Write events to `stream` (stderr), one line each; `journal` adds priorities and omits the time."""
    sink = LineSink(stream or sys.stderr, prefix="<4>" if journal else "")
    steps: list[Processor] = [structlog.contextvars.merge_contextvars, structlog.processors.add_log_level]
    if not journal:
        steps.append(structlog.processors.TimeStamper(fmt="%H:%M:%S", utc=True, key="time"))
    steps.append(structlog.processors.format_exc_info)
    structlog.configure(
        processors=[*steps, _JournalLine() if journal else _TerminalLine()],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelName(level.upper())),
        logger_factory=structlog.PrintLoggerFactory(sink),  # type: ignore[arg-type]  # it only writes and flushes
        cache_logger_on_first_use=False,
    )
    # Libraries that use the standard logger (APScheduler, alembic) log only warnings and errors.
    logging.basicConfig(level=logging.WARNING, stream=sink, format="%(name)s: %(message)s")


class LineSink:
    """Writes lines to a stream, and loses a line rather than end its writer.

    A stopped journal closes the pipe (EPIPE), a full disk takes no more (ENOSPC), a reader that does not keep
    up blocks a non-blocking pipe (EAGAIN). Lost lines are counted, and the count is written as soon as the
    stream takes lines again. Errors of the daemon's own work are not affected.
    """

    def __init__(self, stream: TextIO, *, prefix: str = "") -> None:
        self._stream = stream
        self._prefix = prefix
        """Put before the report of lost lines."""
        self._lock = threading.Lock()
        self._lost = 0
        self._torn = False
        """Whether the last line was written in part."""

    def write(self, text: str) -> int:
        """Write text, or count its lines as lost; return its length."""
        with self._lock:
            notice = f"{self._prefix}log.lines_lost lines={self._lost}\n" if self._lost else ""
            if self._put(("\n" if self._torn else "") + notice + text):
                self._lost = 0
            else:
                self._lost += text.count("\n")
        return len(text)

    def flush(self) -> None:
        """Do nothing: every write is passed on at once."""

    def _put(self, text: str) -> bool:
        """Return whether the stream took all of the text."""
        data = text.encode(errors="backslashreplace")
        try:
            descriptor = self._stream.fileno()
        except (OSError, ValueError, AttributeError):  # a stream in memory, or one that is closed
            return self._put_text(text)
        try:
            # Past Python's buffer: it would keep what a broken stream refused, and refuse the next line too.
            written = os.write(descriptor, data)
        except OSError:
            return False
        self._torn = written < len(data)
        return not self._torn

    def _put_text(self, text: str) -> bool:
        try:
            self._stream.write(text)
            self._stream.flush()
        except (OSError, ValueError):
            return False
        return True


class _JournalLine:
    def __call__(self, _logger: object, _method: str, event: MutableMapping[str, Any]) -> str:
        priority = _PRIORITY.get(str(event.pop("level", "info")), 6)
        return f"<{priority}>{fields_line(event)}"


class _TerminalLine:
    def __call__(self, _logger: object, _method: str, event: MutableMapping[str, Any]) -> str:
        level = str(event.pop("level", "info"))
        time = event.pop("time", "")
        return f"{time} {level:7} {fields_line(event)}"


def fields_line(event: MutableMapping[str, Any]) -> str:
    """Return `event.name key=value ...`, on one line whatever the values contain."""
    name = plain(event.pop("event", ""))
    return " ".join([name, *(f"{key}={_value(value)}" for key, value in event.items())])


def plain(value: object) -> str:
    """Return text with control characters escaped: external input must not forge a line (faults L10, C16)."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(value))


def last_line(error: BaseException, limit: int = 300) -> str:
    """Return the last line of an exception's traceback: `Type: message`, printable, at most `limit` long."""
    name = type(error).__name__
    try:
        said = str(error)[:limit]
    except Exception:  # noqa: BLE001  # a failing __str__ must not hide the exception's type
        said = ""
    return plain(f"{name}: {said}" if said else name)[:limit]


def raised_at(error: BaseException) -> str:
    """Return `file.py:line` of an exception's innermost frame, or "" if it was never raised."""
    frame = error.__traceback__
    while frame is not None and frame.tb_next is not None:
        frame = frame.tb_next
    return f"{frame.tb_frame.f_code.co_filename.rpartition('/')[2]}:{frame.tb_lineno}" if frame else ""


def _value(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    text = plain(value)
    return f'"{text}"' if not text or " " in text or '"' in text else text
