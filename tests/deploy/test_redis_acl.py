"""The account that the documentation makes in Redis is the one that the tests of the bus work with."""

import shlex
from pathlib import Path

from tests.bus.test_service import ACL

DOCS = Path(__file__).parents[2] / "docs/how-to/install.md"


def test_i10_the_documented_acl_is_the_tested_one() -> None:
    """An operator copies it; a command that is missing there is missing on the server."""
    command = DOCS.read_text().partition("redis-cli ACL SETUSER clm on ")[2].partition("```")[0]
    assert shlex.split(command.replace("\\\n", " ")) == [">PASSWORD", "resetkeys", *ACL.split()]
