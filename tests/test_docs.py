"""What the documents say must be so."""

import re
from dataclasses import fields
from pathlib import Path

import click
import pytest

from clm.cli.verbs import cli
from clm.events import EVENTS
from clm.settings import Settings
from clm.settings.load import RETIRED

ROOT = Path(__file__).parents[1]
DOCS = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: event.event_type)
def test_every_event_is_documented_with_its_fields(event):
    """Readers of the streams have nothing else."""
    (line,) = [
        line
        for line in (ROOT / "docs/reference/events.md").read_text().splitlines()
        if line.startswith(f"| `{event.event_type}` ")
    ]
    missing = [field.name for field in fields(event) if field.name not in line]
    assert missing == []


@pytest.mark.parametrize("document", DOCS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_setting_a_document_names_exists(document):
    """A setting that was renamed must be renamed where it is explained."""
    named = set(re.findall(r"\bCLM_([A-Z_]+[A-Z])\b", document.read_text()))
    known = {*(field.upper() for field in Settings.model_fields), *(n.removeprefix("CLM_") for n in RETIRED)}
    assert named - known == set()


@pytest.mark.parametrize("document", DOCS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_verb_a_document_names_exists(document):
    """A command that fails is worse than no command."""
    named = set(re.findall(r"(?:`|^|bin/)clm ([a-z][a-z-]+)", document.read_text(), re.M))
    assert named <= set(cli.commands)


@pytest.mark.parametrize("document", DOCS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_of_a_document_leads_somewhere(document):
    """A dead link tells that nobody looked."""
    links = re.findall(r"\]\((?!http)([^)#]+)", document.read_text())
    assert [link for link in links if not (document.parent / link).exists()] == []


def test_every_verb_explains_itself():
    """`clm --help` is read more often than any document."""

    def mute(group: click.Group) -> list[str]:
        return [name for name, command in group.commands.items() if not command.help]

    assert mute(cli) == []
