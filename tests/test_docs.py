"""The documents agree with the code, and their links lead somewhere."""

import re
import runpy
import subprocess
from dataclasses import fields
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from clm import errors
from clm.cli.verbs import cli
from clm.events import EVENTS
from clm.settings.names import FIELDS, FOLLOWING, RENAMED, RETIRED

ROOT = Path(__file__).parents[1]
REFERENCE = ROOT / "docs/reference"
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]
GENERATOR = runpy.run_path(str(ROOT / "docs/generate.py"))

LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
OWN_PATH = re.compile(r"`((?:clm|tests|docs|deploy|benchmarks|examples|etc/quantum)/[\w./-]+)`")
CODE = re.compile(r"^```.*?^```|`[^`\n]*`", re.MULTILINE | re.DOTALL)
UNCOMMON = re.compile(r"\b(?:nobody|tells?|told|beside|whoever|of which|anew|is none)\b", re.IGNORECASE)
MOST_UNCOMMON_WORDS = 30

each_page = pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))


def anchors(page: Path) -> set[str]:
    """Return the anchors that GitHub gives to the headings of a page."""
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    titles = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def leads_somewhere(page: Path, link: str) -> bool:
    """Return whether the file of a relative link exists and has the anchor that the link names."""
    path, _, anchor = link.partition("#")
    target = (page.parent / path).resolve() if path else page
    return target.exists() and (not anchor or anchor in anchors(target))


@each_page
def test_every_link_leads_somewhere(page):
    """Readers lose trust in a page with a dead link; anchors break when a heading changes."""
    links = [link for link in LINK.findall(CODE.sub("", page.read_text())) if "://" not in link]
    assert [link for link in links if not leads_somewhere(page, link)] == []


def test_the_check_of_links_sees_a_missing_file_and_a_missing_anchor():
    """A check that accepts everything would go unnoticed."""
    page = ROOT / "README.md"
    assert leads_somewhere(page, "docs/tutorial.md")
    assert not leads_somewhere(page, "docs/no-such-page.md")
    assert not leads_somewhere(page, "docs/tutorial.md#no-such-heading")


def test_every_page_can_be_reached_from_the_readme():
    """A page without a link to it is not read."""
    reached, open_pages = set(), [ROOT / "README.md"]
    while open_pages:
        page = open_pages.pop()
        if page not in reached:
            reached.add(page)
            links = (link.partition("#")[0] for link in LINK.findall(page.read_text()) if "://" not in link)
            targets = ((page.parent / link).resolve() for link in links if link)
            open_pages += [path for path in targets if path.suffix == ".md" and path.exists()]
    assert set(PAGES) - reached == set()


@pytest.mark.parametrize("name", GENERATOR["PAGES"])
def test_a_generated_page_is_as_new_as_the_code(name):
    """`python docs/generate.py` writes it; a page that is older than the code misleads operators."""
    assert (ROOT / "docs" / name).read_text() == GENERATOR["PAGES"][name]()


def test_the_page_of_settings_has_those_of_the_example_file():
    """The shipped file and the reference list the same names with the same defaults."""
    command = cli.commands["example-config"]
    options = {option for parameter in command.params for option in parameter.opts}
    shown = CliRunner().invoke(cli, ["example-config", *({"--all"} & options)])
    page = (REFERENCE / "settings.md").read_text()
    listed = re.findall(r"^\| `(CLM_\w+)` \| (?:`(.*?)`|empty) \|", page, re.MULTILINE)
    assert listed == re.findall(r"^#(CLM_\w+)=(.*)$", shown.output, re.MULTILINE)


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: event.event_type)
def test_every_event_is_documented_with_its_fields(event):
    """Readers of the streams have no other source."""
    (line,) = [
        line
        for line in (REFERENCE / "events.md").read_text().splitlines()
        if line.startswith(f"| `{event.event_type}` ")
    ]
    missing = [field.name for field in fields(event) if field.name not in line]
    assert missing == []


def every_error(base: type[errors.ClmError] = errors.ClmError) -> list[type[errors.ClmError]]:
    """Return the exceptions of the project, the base first."""
    return [base, *(found for child in base.__subclasses__() for found in every_error(child))]


@pytest.mark.parametrize("error", every_error(), ids=lambda error: error.__name__)
def test_every_exception_is_listed_with_its_exit_code(error):
    """Scripts and systemd decide by the exit code."""
    page = (REFERENCE / "exit-codes.md").read_text()
    listed = dict(re.findall(r"^\| `(\w+)` \| (\d+)", page, re.MULTILINE))
    code = error.exit_code if isinstance(error.exit_code, int) else error("CHILD_FAILED", "").exit_code
    assert listed[error.__name__] == str(code)


@each_page
def test_every_setting_a_page_names_exists(page):
    """A renamed setting must be renamed where it is explained."""
    named = set(re.findall(r"\bCLM_[A-Z_]+[A-Z]\b", page.read_text()))
    old = {*RENAMED, *FOLLOWING} if page.name == "settings.md" else set()
    assert named - set(FIELDS) - set(RETIRED) - old == set()


@each_page
def test_every_command_a_page_names_exists(page):
    """A command that fails is worse than no command."""
    named = set(re.findall(r"(?:`|^|bin/)clm ([a-z][a-z-]+)", page.read_text(), re.MULTILINE))
    assert named - set(cli.commands) == set()


@each_page
def test_every_make_target_a_page_names_exists(page):
    """A contributor copies these lines."""
    named = set(re.findall(r"(?:`|^|sudo )make ([a-z][a-z-]+)", page.read_text(), re.MULTILINE))
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert named - targets == set()


@each_page
def test_every_path_a_page_names_exists(page):
    """A page that explains the code names files that are there."""
    named = OWN_PATH.findall(page.read_text())
    assert [
        path for path in named if not (ROOT / path).exists() and not (ROOT / "tests" / path).exists()
    ] == []


def test_make_help_has_a_line_for_each_target():
    """`make help` is the list of what a contributor can do."""
    shown = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    phony = re.search(r"^\.PHONY: (.+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert phony
    assert set(re.findall(r"^make ([a-z-]+) ", shown, re.MULTILINE)) == set(phony[1].split())


def test_readme_and_docs_use_the_common_words():
    """Uncommon words make a page hard to read for people who learnt English later."""
    found = [
        f"{page.relative_to(ROOT)}: {word}"
        for page in PAGES
        if page.name == "README.md" or (ROOT / "docs") in page.parents
        for word in UNCOMMON.findall(page.read_text())
    ]
    assert len(found) <= MOST_UNCOMMON_WORDS, found


def test_every_command_explains_itself():
    """`clm --help` is read more often than any page."""

    def without_help(group: click.Group) -> list[str]:
        return [name for name, command in group.commands.items() if not command.help]

    assert without_help(cli) == []
