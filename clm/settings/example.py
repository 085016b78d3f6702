"""The shipped clm.env, made of the fields."""

from clm.settings.derived import Settings
from clm.settings.fields import PREFIX


def example_env() -> str:
    """Return the text of etc/quantum/clm.env: every setting with its meaning and default."""
    lines = [
        "# Settings of quantum-clm. Every line shows a default; remove the # to change it.",
        "# `clm check-config` reads this file and starts nothing.",
    ]
    for name, field in Settings.model_fields.items():
        lines += ["", f"# {field.description}", f"#{PREFIX}{name.upper()}={as_text(field.default)}"]
    return "\n".join(lines) + "\n"


def as_text(default: object) -> str:
    """Return a value as clm.env writes it."""
    if isinstance(default, bool):
        return str(default).lower()
    if isinstance(default, tuple):
        return ",".join(default)
    return "" if default is None else str(default)
