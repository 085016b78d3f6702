"""Verbs that check a configuration before a start: check-config, example-config, doctor."""

from dataclasses import asdict

import click

from clm.bus.client import redacted
from clm.cli.verbs import Answer, Say, cli, verb
from clm.settings import NAMES, Settings, as_text, example_env
from clm.verbs.configuration import old_names_in_use


@verb("check-config")
def check_config(settings: Settings, say: Say) -> object:
    """Read and print the settings as the daemon would; nothing is started."""
    values = {**settings.model_dump(mode="json"), "redis_url": redacted(settings.redis_url)}
    for field, name in NAMES.items():
        # A URL may contain a password, so it is printed redacted.
        value = values[field] if field == "redis_url" else getattr(settings, field)
        say(f"{name}={as_text(value)}")
    old = old_names_in_use()
    for name, replacement in old.items():
        say(f"# {name} is a name of 0.1: {replacement}")
    return {**values, "old_names": old}


@cli.command("example-config")
@click.option("--all", "everything", is_flag=True, help="Every setting, not only the everyday ones.")
def example_config(everything: bool) -> None:
    """Print etc/quantum/clm.env: each setting with its meaning and default."""
    click.echo(example_env(everything=everything), nl=False)


@verb("doctor")
def doctor(settings: Settings, say: Say) -> object:
    """Check everything that a run needs; exit 1 if something is missing."""
    from clm.verbs.doctor import CheckStatus, examine

    checks = examine(settings)
    for check in checks:
        say(f"{check.status.value:4}  {check.name:10}  {check.message}")
    healthy = all(check.status is not CheckStatus.FAIL for check in checks)
    return Answer({"healthy": healthy, "checks": [asdict(c) for c in checks]}, exit_code=0 if healthy else 1)
