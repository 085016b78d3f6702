"""Verbs that check before anything is started: check-config, doctor."""

from dataclasses import asdict

import click

from clm.bus.client import redacted
from clm.cli.verbs import Answer, Say, cli, verb
from clm.settings import Settings, as_text, example_env


@verb("check-config")
def check_config(settings: Settings, say: Say) -> object:
    """Read the settings as the daemon would, start nothing."""
    values = {**settings.model_dump(mode="json"), "redis_url": redacted(settings.redis_url)}
    for name in values:
        value = values[name] if name == "redis_url" else getattr(settings, name)
        say(f"CLM_{name.upper()}={as_text(value)}")
    return values


@cli.command("example-config")
def example_config() -> None:
    """Print etc/quantum/clm.env: every setting with its meaning and default."""
    click.echo(example_env(), nl=False)


@verb("doctor")
def doctor(settings: Settings, say: Say) -> object:
    """Check everything a run will need; exit 1 when something is missing."""
    from clm.verbs.doctor import CheckStatus, examine

    checks = examine(settings)
    for check in checks:
        say(f"{check.status.value:4}  {check.name:10}  {check.message}")
    healthy = all(check.status is not CheckStatus.FAIL for check in checks)
    return Answer({"healthy": healthy, "checks": [asdict(c) for c in checks]}, exit_code=0 if healthy else 1)
