"""`clm doctor`: everything a run will need, asked before it is needed."""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from clm.artefacts.registry import DirectoryRegistry
from clm.domain.architecture import KNOWN
from clm.domain.freeze import FreezeState
from clm.engine.env_file import EnvFile, parse
from clm.engine.switch_request import SOCKET
from clm.errors import ArtefactError, ClmError
from clm.ports import EngineStatus
from clm.settings import Settings
from clm.store.contract import check_contract
from clm.store.migrate import has_schema
from clm.switch.trust import weakness
from clm.upkeep.lock import holder
from clm.verbs.discovery.server import redis_facts
from clm.wiring import redis_brake_of
from clm.wiring_engine import engine_of, switch_of


class CheckStatus(StrEnum):
    """FAIL stops a run or a promotion; WARN does not."""

    OK = "OK"
    WARN = "WARN"
    FAIL = "FAIL"


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One thing that was looked at."""

    name: str
    status: CheckStatus
    message: str


def examine(settings: Settings) -> tuple[Check, ...]:
    """Look at everything; a failure hides no other."""
    return tuple(check for name, question in CHECKS for check in _ask(name, question, settings))


Answer = tuple[CheckStatus, str]


def _ask(name: str, question: Callable[[Settings], Iterator[Answer]], settings: Settings) -> Iterator[Check]:
    try:
        for status, message in question(settings):
            yield Check(name=name, status=status, message=message)
    except ClmError as error:
        yield Check(name=name, status=CheckStatus.FAIL, message=str(error))


def _store(settings: Settings) -> Iterator[Answer]:
    facts = check_contract(settings.store)
    yield CheckStatus.OK, f"{settings.store} keeps the contract, journal mode {facts.journal_mode}"
    for note in facts.notes:
        yield CheckStatus.WARN, note
    if not has_schema(settings.store):
        yield CheckStatus.WARN, "our clm_* tables are not there yet; the first run makes them"
    if not os.access(settings.store.parent, os.W_OK):
        yield CheckStatus.FAIL, f"{settings.store.parent} is not writable: SQLite needs its journal there"


def _directories(settings: Settings) -> Iterator[Answer]:
    for path in (settings.state_dir, settings.models_dir):
        there = path if path.exists() else path.parent
        ours = path == settings.state_dir or settings.engine_control == "process"
        if not there.exists():
            yield CheckStatus.FAIL, f"{there} does not exist"
            continue
        if ours and not os.access(there, os.W_OK):
            yield CheckStatus.FAIL, f"{there} is not writable for uid {os.getuid()}"
            continue
        free = shutil.disk_usage(there)
        share = free.free / free.total
        low = free.free < settings.promotion_min_free_mb * 1_000_000 or share < 0.05
        yield (
            CheckStatus.WARN if low else CheckStatus.OK,
            f"{path}: {free.free / 1e9:.1f} GB free ({share:.0%})",
        )


def _env_file(settings: Settings) -> Iterator[Answer]:
    values = parse(EnvFile(settings.engine_env_file).read().data)
    model = values.get(settings.line.model_key)
    if model is None:
        yield (
            CheckStatus.WARN,
            f"{settings.engine_env_file} names no model; the first promotion adds the line",
        )
    elif not Path(model).exists():
        yield CheckStatus.WARN, f"{settings.engine_env_file} names {model}, which does not exist"
    else:
        yield CheckStatus.OK, f"{settings.engine_env_file} names {model}"
    if not settings.line.is_shadow_only(values):
        shadow_key = settings.line.shadow_key
        yield CheckStatus.WARN, f"{shadow_key} is not true: a promoted model would vote at once"


def _engine(settings: Settings) -> Iterator[Answer]:
    seen = engine_of(settings).observe()
    name = settings.engine_unit if settings.engine_control == "systemd" else "the engine"
    if seen.status is EngineStatus.ACTIVE:
        yield CheckStatus.OK, f"{name} is active, pid {seen.main_pid}, on {seen.model_path or 'no model'}"
    elif settings.engine_control == "process":
        yield CheckStatus.WARN, f"{name} is {seen.status.value}; a promotion starts it"
    else:
        yield CheckStatus.FAIL, f"{name} is {seen.status.value}: {seen.detail or 'no promotion can begin'}"


def _architecture(settings: Settings) -> Iterator[Answer]:
    """Ask whether the engine has the code for what it is pointed to; clm.env may have changed since."""
    how = f"CLM_ENGINE__LOADS={settings.engine_loads}"
    named = parse(EnvFile(settings.engine_env_file).read().data).get(settings.line.model_key)
    manifest = None
    with suppress(ArtefactError):  # a file that was never registered is the existing engine's own
        manifest = (
            DirectoryRegistry(settings.artefacts_dir, line=settings.line).manifest(Path(named).stem)
            if named
            else None
        )
    served = KNOWN.get(manifest.architecture) if manifest else None
    if manifest and not (served and served.loads_in(settings.engine_loads)):
        yield (
            CheckStatus.FAIL,
            f"{manifest.version} is of architecture {manifest.architecture}, which an engine of {how} does "
            "not load; `clm promote` another model, or set CLM_ENGINE__LOADS=serving",
        )
        return
    yield CheckStatus.OK, f"CLM_ARCHITECTURE={settings.architecture}, which an engine of {how} loads"


def _switch(settings: Settings) -> Iterator[Answer]:
    """Ask what would make a switch whether it could, as the preflight of a promotion does."""
    if settings.engine_control == "process":
        yield CheckStatus.OK, "the engine is a process of ours; no right is needed"
        return
    switch_of(settings).refuse_unusable()
    yield CheckStatus.OK, f"root's helper answers on {SOCKET} and can switch the model"
    if why := weakness(settings.models_dir, {0}):
        yield (
            CheckStatus.OK,
            f"{why}: a model that is replaced after its verification is noticed at the restart; "
            "`make install MODELS=root` prevents it",
        )
    else:
        yield (
            CheckStatus.OK,
            f"{settings.models_dir} is root's: what was verified is what is served",
        )


def _redis(settings: Settings) -> Iterator[Answer]:
    facts = redis_facts(settings)
    url = facts["url"]
    if not facts["answers"]:
        yield CheckStatus.WARN, f"{url} does not answer ({facts['because']}); events will wait in the outbox"
        return
    yield CheckStatus.OK, f"{url} answers"
    if not facts["streams_are_safe"]:
        yield (
            CheckStatus.WARN,
            f"{url} has maxmemory-policy {facts['eviction']} and may evict streams with unread triggers; "
            "use noeviction or volatile-lru",
        )


def _freeze(settings: Settings) -> Iterator[Answer]:
    freeze = redis_brake_of(settings).look()
    if freeze.state is FreezeState.THAWED:
        yield CheckStatus.OK, "the freeze keys do not freeze learning"
    elif freeze.state is FreezeState.UNHEARD:
        yield (
            CheckStatus.WARN,
            f"{freeze.reason}; the freeze keys cannot stop anything, and promotion goes on: set "
            "CLM_REDIS_URL where the trading system has a Redis",
        )
    elif freeze.state is FreezeState.FROZEN:
        yield CheckStatus.WARN, f"nothing is trained or promoted: {freeze.reason}"
    else:
        yield CheckStatus.WARN, f"nothing is promoted automatically: {freeze.reason}"


def _daemon(settings: Settings) -> Iterator[Answer]:
    found = holder(settings.lock_file)
    yield CheckStatus.OK, f"running: {found}" if found else "not running; `systemctl start quantum-clm`"


CHECKS: tuple[tuple[str, Callable[[Settings], Iterator[Answer]]], ...] = (
    ("store", _store),
    ("disk", _directories),
    ("env file", _env_file),
    ("engine", _engine),
    ("architecture", _architecture),
    ("switch", _switch),
    ("redis", _redis),
    ("freeze", _freeze),
    ("daemon", _daemon),
)
