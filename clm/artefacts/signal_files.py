"""What the parent asks of the child that measures the signal floor, and what it answers, as files."""

import io
import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import orjson

from clm.artefacts.files import replace_durably
from clm.artefacts.records import read_arrays
from clm.data.signal import SignalFloor, SignalPolicy, SignalRows, Skill

ROWS = "signal.npz"
POLICY = "signal.json"
FLOOR = "floor.json"


def write_signal_job(directory: Path, rows: SignalRows, policy: SignalPolicy) -> None:
    """Write what the child needs.

    Raises:
        ArtefactError: DISK_FULL, READ_ONLY_FS, PERMISSION, IO_ERROR.
    """
    arrays = io.BytesIO()
    np.savez(
        arrays,
        features_NC=rows.features_NC,
        label_N=rows.label_N,
        decided_at_N=rows.decided_at_N,
        resolved_at_N=rows.resolved_at_N,
    )
    replace_durably(directory / ROWS, arrays.getvalue())
    replace_durably(
        directory / POLICY, orjson.dumps({"block_h": policy.block_h, "embargo_h": policy.embargo_h})
    )


def read_signal_job(directory: Path) -> tuple[SignalRows, SignalPolicy]:
    """Return what the parent wrote.

    Raises:
        OSError, ValueError, KeyError, TypeError: it is not what write_signal_job writes.
    """
    stored = read_arrays(directory / ROWS)
    rows = SignalRows(
        features_NC=stored["features_NC"],
        label_N=stored["label_N"],
        decided_at_N=stored["decided_at_N"],
        resolved_at_N=stored["resolved_at_N"],
    )
    return rows, SignalPolicy(**orjson.loads((directory / POLICY).read_bytes()))


def write_floor(directory: Path, floor: SignalFloor) -> None:
    """Write the answer; NaN is null."""
    document = {
        "skills": {
            name: {"auroc": skill.auroc, "p_value": skill.p_value} for name, skill in floor.skills.items()
        },
        "n_rows": floor.n_rows,
        "n_blocks": floor.n_blocks,
        "absent_because": floor.absent_because,
    }
    replace_durably(directory / FLOOR, orjson.dumps(document))


def read_floor(directory: Path) -> SignalFloor:
    """Return the child's answer.

    Raises:
        OSError, ValueError, KeyError, TypeError: there is none, or it is not what write_floor writes.
    """
    document = orjson.loads((directory / FLOOR).read_bytes())
    return SignalFloor(
        skills={str(name): _skill(skill) for name, skill in document["skills"].items()},
        n_rows=int(document["n_rows"]),
        n_blocks=int(document["n_blocks"]),
        absent_because=str(document["absent_because"]),
    )


def _skill(document: Mapping[str, object]) -> Skill:
    return Skill(auroc=_figure(document["auroc"]), p_value=_figure(document["p_value"]))


def _figure(value: object) -> float:
    if value is None:
        return math.nan
    if type(value) not in (int, float):
        raise TypeError(f"{value!r} is no number")
    return float(value)  # type: ignore[arg-type]  # int or float by now
