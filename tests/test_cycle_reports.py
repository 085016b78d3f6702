"""The report of a cycle does not depend on how its steps are written."""

from collections.abc import Callable
from pathlib import Path

import orjson
import pytest

from tests.fixtures.cycles import make
from tests.test_cycle import Case


@pytest.mark.parametrize("prepare", make.CYCLES, ids=lambda prepare: prepare.__name__)
def test_a_recorded_cycle_has_the_report_it_had(prepare: Callable[[Case], None], tmp_path: Path) -> None:
    """Scripts and `clm verify-run` read every section, whatever the end of the run."""
    recorded = orjson.loads((make.HERE / f"{prepare.__name__}.json").read_bytes())
    assert list(differences(recorded, make.proof_of(prepare, tmp_path))) == []


def differences(recorded: object, found: object, path: str = "proof") -> list[str]:
    """Return where two documents differ; a float may differ in its last digits on another machine."""
    if isinstance(recorded, dict) and isinstance(found, dict):
        keys = sorted(recorded.keys() | found.keys())
        pairs = [(f"{path}.{key}", recorded.get(key, "absent"), found.get(key, "absent")) for key in keys]
    elif isinstance(recorded, list) and isinstance(found, list) and len(recorded) == len(found):
        pairs = [(f"{path}[{n}]", *pair) for n, pair in enumerate(zip(recorded, found, strict=True))]
    elif isinstance(recorded, float) and isinstance(found, float):
        return (
            [] if found == pytest.approx(recorded, rel=1e-6, abs=1e-9) else [f"{path}: {recorded}, {found}"]
        )
    else:
        return [] if recorded == found else [f"{path}: {recorded!r}, {found!r}"]
    return [line for where, one, other in pairs for line in differences(one, other, where)]
