"""One line an event, whatever the values hold."""

import io

import structlog

from clm import logs


def lines_of(journal: bool, **fields: object) -> list[str]:
    """Log one event and return what was written."""
    stream = io.StringIO()
    logs.configure("info", journal=journal, stream=stream)
    structlog.get_logger().info("trigger.accepted", **fields)
    structlog.reset_defaults()
    return stream.getvalue().splitlines()


def test_an_event_is_a_name_and_fields():
    """Operators grep for the name and read the fields."""
    assert lines_of(True, task_id=7, reason="by hand", auroc=0.6130000001) == [
        '<6>trigger.accepted task_id=7 reason="by hand" auroc=0.613'
    ]


def test_l10_a_value_cannot_forge_a_line_or_colour_a_terminal():
    """Trigger fields come from anybody who reaches Redis."""
    lines = lines_of(True, reason="x\n<0>model.promoted \x1b[31m")
    assert len(lines) == 1
    assert "\x1b" not in lines[0]
    assert "\\n<0>model.promoted" in lines[0]
