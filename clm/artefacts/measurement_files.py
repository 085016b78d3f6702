"""What the child that measures for the probes answers, as a file of the job's directory."""

import math
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import orjson

from clm.artefacts.files import replace_durably
from clm.domain.measurement import Measurement

MEASUREMENTS = "measurements.json"
STDOUT = "measure.out"
STDERR = "measure.err"


def write_measurements(directory: Path, measured: Mapping[str, Measurement]) -> None:
    """Write what was measured so far; what a killed child had is not lost.

    Raises:
        ArtefactError: DISK_FULL, READ_ONLY_FS, PERMISSION, IO_ERROR.
    """
    document = {name: asdict(measurement) for name, measurement in measured.items()}
    replace_durably(directory / MEASUREMENTS, orjson.dumps(document, option=orjson.OPT_INDENT_2))


def read_measurements(directory: Path) -> dict[str, Measurement]:
    """Return the child's answer; NaN was written as null.

    Raises:
        OSError, ValueError, KeyError, TypeError, AttributeError: it is not what write_measurements writes.
    """
    document = orjson.loads((directory / MEASUREMENTS).read_bytes())
    return {
        str(name): Measurement(
            figures={str(key): _figure(value) for key, value in told["figures"].items()},
            cost_s=_figure(told["cost_s"]),
            absent_because=str(told["absent_because"]),
        )
        for name, told in document.items()
    }


def _figure(value: object) -> float:
    return math.nan if value is None else float(value)  # type: ignore[arg-type]  # a number, or TypeError
