"""Render proof.md from the document of a proof pack."""

import functools
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from clm.report.plain import Plain

if TYPE_CHECKING:
    import jinja2

_UNSEEN = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")


def render(document: Mapping[str, Plain]) -> str:
    """Return the document as Markdown tables."""
    return _templates().get_template("proof.md.j2").render(document)


def cell(value: object) -> str:
    """Return text that is safe in a table cell: no markup and no control characters.

    Symbols, messages and errors contain untrusted text from the store.
    """
    text = _UNSEEN.sub(" ", str(value))
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;").replace("`", "'")


def number(value: float | None, digits: int = 4) -> str:
    """Return a figure with `digits` decimals, counts as integers; a dash if it is unknown."""
    if value is None:
        return "–"
    return f"{value:,}" if isinstance(value, int) else f"{value:.{digits}f}"


def percent(value: float | None, digits: int = 1) -> str:
    """Return a share in percent; a dash if it is unknown."""
    return "–" if value is None else f"{100 * value:.{digits}f} %"


def moment(value: str | None) -> str:
    """Return an RFC 3339 time to the second; a dash if it is unknown."""
    return "–" if value is None else f"{value[:19].replace('T', ' ')} UTC"


@functools.cache
def _templates() -> "jinja2.Environment":
    """Return the templates; the first report imports jinja2, so an idle daemon does not load it."""
    import jinja2

    templates = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=False,  # noqa: S701  # Markdown, not HTML; untrusted text passes `cell`
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    templates.filters.update(cell=cell, number=number, percent=percent, moment=moment)
    return templates
