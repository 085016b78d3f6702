"""docs/reference/gates.md agrees with the code."""

import re
from pathlib import Path

import pytest

from clm.gates.catalogue import GATES
from clm.gates.policy import GatePolicy
from clm.settings import Settings, as_text, named
from clm.settings.names import FIELDS

TEXT = (Path(__file__).parents[2] / "docs/reference/gates.md").read_text(encoding="utf-8")
DEFAULTS = dict(re.findall(r"^\| `CLM_(\w+)` \| (\S+) \|", TEXT, re.MULTILINE))


def test_every_gate_has_its_line_in_order() -> None:
    """An operator looks up a gate by the name in the verdict."""
    assert re.findall(r"^\| `([a-z_]+)` \|", TEXT, re.MULTILINE) == [gate.__name__ for gate in GATES]


def test_every_bar_of_the_policy_is_documented() -> None:
    """Operators must be able to find every threshold that they can tune."""
    assert {named(field) for field in GatePolicy.__dataclass_fields__} <= {"CLM_" + name for name in DEFAULTS}


@pytest.mark.parametrize("name", DEFAULTS)
def test_the_default_is_that_of_the_setting(name: str) -> None:
    """A documented default that differs from the code is wrong."""
    default = Settings.model_fields[FIELDS["CLM_" + name]].default
    text = as_text(default) or "none"
    assert DEFAULTS[name] == text or float(DEFAULTS[name]) == default
