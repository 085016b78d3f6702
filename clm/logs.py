"""One line per event: a dotted past-tense name and fields, for the journal and terminals."""

import logging
import sys
from collections.abc import MutableMapping
from typing import Any, TextIO

import structlog
from structlog.typing import Processor

_PRIORITY = {"debug": 7, "info": 6, "warning": 4, "error": 3, "critical": 2}
"""sd-daemon(3): a line that starts with <N> gets that priority in the journal."""


def configure(level: str = "info", *, journal: bool = False, stream: TextIO | None = None) -> None:
    """Write events to `stream` (stderr), one line each; `journal` adds priorities and omits the time."""
    steps: list[Processor] = [structlog.contextvars.merge_contextvars, structlog.processors.add_log_level]
    if not journal:
        steps.append(structlog.processors.TimeStamper(fmt="%H:%M:%S", utc=True, key="time"))
    steps.append(structlog.processors.format_exc_info)
    structlog.configure(
        processors=[*steps, _JournalLine() if journal else _TerminalLine()],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelName(level.upper())),
        logger_factory=structlog.PrintLoggerFactory(stream or sys.stderr),
        cache_logger_on_first_use=False,
    )
    # Libraries that use the standard logger (APScheduler, alembic) log only warnings and errors.
    logging.basicConfig(level=logging.WARNING, stream=stream or sys.stderr, format="%(name)s: %(message)s")


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
