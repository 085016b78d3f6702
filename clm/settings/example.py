"""Generate the shipped clm.env from the fields."""

from collections.abc import Iterator
from textwrap import wrap

from clm.settings.fields import EVERYDAY, GROUPS
from clm.settings.section import Section

_WIDTH = 108


def example_env(*, everything: bool = False) -> str:
    """Return etc/quantum/clm.env with the everyday settings, or with all settings."""
    lines = [
        "# Settings of quantum-clm. Every line shows a default; remove the # to change it.",
        "# `clm check-config` reads this file and starts nothing.",
        "# `clm example-config --all` prints every setting.",
    ]
    for section in (*EVERYDAY, *GROUPS) if everything else EVERYDAY:
        lines += ["", f"## {section.heading}", *_settings(section)]
    return "\n".join(lines) + "\n"


def _settings(section: type[Section]) -> Iterator[str]:
    for name, field in section.names():
        info = section.model_fields[field]
        yield ""
        yield from wrap(
            " ".join((info.description or "").split()), _WIDTH, initial_indent="# ", subsequent_indent="# "
        )
        # Commented out: a default that changes in a later version then applies to this file.
        yield f"#{name}={as_text(info.default)}"


def as_text(default: object) -> str:
    """Return a value as clm.env writes it."""
    if isinstance(default, bool):
        return str(default).lower()
    if isinstance(default, tuple):
        return ",".join(default)
    return "" if default is None else str(default)
