"""One line an event, whatever the values hold."""

import errno
import io
import os
import subprocess
import sys
from pathlib import Path

import pytest
import structlog

from clm import logs

PROJECT = Path(__file__).parents[1]


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


class Broken(io.StringIO):
    """A stream that fails while it is told to."""

    failing = False

    def write(self, text: str) -> int:
        if self.failing:
            raise OSError(errno.ENOSPC, "No space left on device")
        return super().write(text)


def test_lost_lines_are_counted_and_reported_when_the_stream_works_again():
    """A gap in the journal that nobody sees is a lie."""
    stream = Broken()
    sink = logs.LineSink(stream, prefix="<4>")
    sink.write("one\n")
    stream.failing = True
    sink.write("two\n")
    sink.write("three\n")
    stream.failing = False
    sink.write("four\n")

    assert stream.getvalue() == "one\n<4>log.lines_lost lines=2\nfour\n"


def test_a_full_pipe_loses_lines_and_never_blocks_or_joins_two():
    """A reader that stopped reading must not stop the daemon."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    with os.fdopen(writer, "w") as stream:
        sink = logs.LineSink(stream, prefix="<4>")
        for number in range(20_000):
            sink.write(f"line {number}\n")
        first = os.read(reader, 1 << 20)
        sink.write("after\n")
        rest = os.read(reader, 1 << 20)
    os.close(reader)
    lines = (first + rest).decode().splitlines()
    assert lines[-1] == "after"
    assert lines[-2].startswith("<4>log.lines_lost lines=")
    lost = int(lines[-2].rpartition("=")[2])
    whole = [line for line in lines if line.startswith("line ")]
    assert len(whole) + lost in (20_000, 20_001), "a torn line is seen and counted"


@pytest.mark.parametrize("journal", [True, False])
def test_a_closed_journal_ends_no_thread(tmp_path, journal):
    """EPIPE ended the thread of the bus, and triggers waited until somebody looked."""
    program = f"""
import threading, time
from pathlib import Path
import structlog
from clm import logs
logs.configure(journal={journal})
def work():
    for number in range(200):
        structlog.get_logger().info("bus.alive", number=number)
        time.sleep(0.005)
    Path({str(tmp_path / "done")!r}).touch()
thread = threading.Thread(target=work)
thread.start()
thread.join()
"""
    child = subprocess.Popen([sys.executable, "-c", program], stderr=subprocess.PIPE, cwd=PROJECT)
    child.stderr.readline()
    child.stderr.close()

    assert child.wait(30) == 0
    assert (tmp_path / "done").exists()
