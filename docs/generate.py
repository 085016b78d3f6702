"""Write the reference pages that come from the code: settings and the command line.

`python docs/generate.py` writes both pages; tests/test_docs.py fails when a page is older than the code.
"""

from collections.abc import Iterator
from pathlib import Path
from types import MappingProxyType

import click

from clm.cli.verbs import cli
from clm.settings import as_text
from clm.settings.fields import EVERYDAY, GROUPS
from clm.settings.names import FOLLOWING, RENAMED, RETIRED
from clm.settings.section import Section

DOCS = Path(__file__).parent
SETTINGS_HEAD = """# Settings

<!-- Written by docs/generate.py from the fields in clm/settings. Do not edit. -->

The daemon and every command read `/etc/quantum/clm.env`, or the same file below `CLM_ROOT`. A variable of
the environment takes precedence over the file. `clm check-config` reads the settings as the daemon does and
reports every problem at once, with the nearest known name. A wrong setting ends with
[exit code 78](exit-codes.md).

So does a line of the file that systemd would drop or read differently: `export NAME=`, a byte order mark,
text without an equals sign, a quote that is not closed, a comment after a value. The message names the line.

The shipped file has the settings of the first five sections. The others are in groups, such as
`CLM_TRAINING__EPOCHS`; `clm example-config --all` prints all of them.
"""
OLD_NAMES_HEAD = """
## Names of version 0.1

These names still work. The daemon logs them once at the start, and `clm check-config` reports them. A file
that gives an old and a new name different values is refused.

| old name | today |
|---|---|
"""
COMMANDS_HEAD = """# Command line

<!-- Written by docs/generate.py from the commands in clm/cli. Do not edit. -->

Every command explains itself with `--help`. Most commands take `--store PATH` to use another store. With
`--json` they print one JSON object on standard output and write logs to standard error.
[Exit codes](exit-codes.md) are the same for all commands.
"""


def settings_page() -> str:
    """Return docs/reference/settings.md."""
    return SETTINGS_HEAD + "".join(_section(section) for section in (*EVERYDAY, *GROUPS)) + _old_names()


def _section(section: type[Section]) -> str:
    rows = [
        f"| `{name}` | {_code(as_text(section.model_fields[field].default))} "
        f"| {_cell(section.model_fields[field].description or '')} |"
        for name, field in section.names()
    ]
    return "\n".join(
        [f"\n## {section.heading}\n", "| setting | default | meaning |", "|---|---|---|", *rows, ""]
    )


def _old_names() -> str:
    rows = [f"| `{old}` | {_cell(new)} |" for old, new in {**RENAMED, **FOLLOWING, **RETIRED}.items()]
    return OLD_NAMES_HEAD + "\n".join(rows) + "\n"


def command_line_page() -> str:
    """Return docs/reference/command-line.md."""
    return COMMANDS_HEAD + "".join(_command(name, command) for name, command in _commands(cli))


def _commands(group: click.Group, before: str = "clm") -> Iterator[tuple[str, click.Command]]:
    for name, command in sorted(group.commands.items()):
        if isinstance(command, click.Group):
            yield from _commands(command, f"{before} {name}")
        else:
            yield f"{before} {name}", command


def _command(name: str, command: click.Command) -> str:
    context = click.Context(command, info_name=name)
    usage = " ".join([name, *command.collect_usage_pieces(context)])
    records = [p.get_help_record(context) for p in command.params]
    options = [f"| `{_cell(record[0])}` | {_cell(record[1])} |" for record in records if record]
    table = "\n".join(["| option | meaning |", "|---|---|", *options]) + "\n" if options else ""
    return f"\n## {name}\n\n`{usage}`\n\n{' '.join((command.help or '').split())}\n\n{table}"


def _code(text: str) -> str:
    return f"`{_cell(text)}`" if text else "empty"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


PAGES = MappingProxyType(
    {"reference/settings.md": settings_page, "reference/command-line.md": command_line_page}
)


def main() -> None:
    """Write every page."""
    for name, page in PAGES.items():
        (DOCS / name).write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
