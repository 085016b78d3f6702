"""Verbs that inspect the data: preflight, discover."""

from collections.abc import Sequence

from clm.cli.inventory import inventory_lines
from clm.cli.learn import stop_on_signals
from clm.cli.verbs import Answer, Say, verb
from clm.data.audits import Finding
from clm.errors import DataError
from clm.settings import Settings


@verb("preflight")
def preflight(settings: Settings, say: Say) -> object:
    """Report problems of the store without training; exit 65 if a cycle would be refused."""
    from clm.verbs.preflight import preflight as ask
    from clm.verbs.preflight import preflight_document

    found = ask(settings, stop=stop_on_signals())
    dataset = found.dataset
    say(
        f"{settings.store}: {len(dataset.table):,} samples, {len(dataset.row_N):,} windows "
        f"of {dataset.context_length} steps, {len(dataset.feature_names)} features"
    )
    for line in _told(found.findings):
        say(line)
    if found.signal and found.signal.skills:
        skills = ", ".join(f"{name} AUROC {skill.auroc:.3f}" for name, skill in found.signal.skills.items())
        luck = f"p {found.signal.p_value:.3f} over {found.signal.n_blocks} blocks of time"
        say(f"signal floor: {skills}; {luck}")
    say(f"a cycle would {'be refused' if found.blocked else 'train'}; {found.seconds['total']:.1f} s")
    return Answer(preflight_document(found, settings), exit_code=DataError.exit_code if found.blocked else 0)


@verb("discover")
def discover(settings: Settings, say: Say) -> object:
    """List the data on this server and whether it is usable; nothing is changed."""
    from clm.report.plain import plain_record
    from clm.verbs.discovery import discover as look

    document = plain_record(look(settings))
    for line in inventory_lines(document):
        say(line)
    return document


def _told(findings: Sequence[Finding]) -> list[str]:
    lines = [
        line
        for finding in findings
        for line in (
            f"{finding.severity.value:5}  {finding.name}: {finding.message}",
            f"       {finding.next_step}",
        )
    ]
    return lines or ["no finding"]
