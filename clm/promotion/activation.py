"""Going live: switch the engine from shadow mode to trading, on an operator's request."""

from dataclasses import dataclass
from pathlib import Path

from clm.engine.env_file import EnvSnapshot, value_of, with_flag
from clm.engine.health import Grade
from clm.engine.proc import variable_of
from clm.errors import ArtefactError, PromotionError
from clm.promotion.policy import Workplace
from clm.promotion.preflight import baseline
from clm.promotion.verification import Effect, verify


@dataclass(frozen=True, slots=True, kw_only=True)
class Activation:
    """Result of going live."""

    is_live: bool
    path: Path
    env_sha256: str
    reason: str


def go_live(work: Workplace, version: str) -> Activation:
    """Disable shadow mode, restart, and verify that the engine serves live; otherwise restore shadow mode.

    One rename replaces the environment file: after a crash, the engine is in shadow mode or live, on the same
    model. An operator requested it, so recovery does not undo it.

    Raises:
        PromotionError: NOT_CHAMPION, ALREADY_LIVE, or the first failed precondition.
    """
    before = work.env_file.read()
    path = _champion_path(work, before, version)
    live = with_flag(before.data, work.line.shadow_key, flag=False)
    work.switch.refuse_unusable()
    _, health = baseline(work, path)
    work.switch.go_live(path)
    work.checkpoint("live")
    try:
        reason = _restart(work, path, health)
    except (PromotionError, ArtefactError) as error:
        reason = str(error)
    if reason:
        return Activation(
            is_live=False,
            path=path,
            env_sha256=before.sha256,
            reason=_put_back(work, path, live, reason),
        )
    return Activation(
        is_live=True,
        path=path,
        env_sha256=work.env_file.read().sha256,
        reason=f"the engine trades on {path.stem}",
    )


def _champion_path(work: Workplace, snapshot: EnvSnapshot, version: str) -> Path:
    value = value_of(snapshot.data, work.line.model_key)
    if value is None or Path(value).stem != version:
        raise PromotionError(
            "NOT_CHAMPION",
            f"{work.env_file.path} names {value or 'no model'}, not {version}; `clm promote {version}` first",
        )
    return Path(value)


def _restart(work: Workplace, path: Path, health: Grade) -> str:
    """Restart and return why the engine does not serve live, or "" if it does."""
    work.switch.restart(path)
    seen = verify(work, path, health=health)
    if seen.effect is not Effect.CONFIRMED or seen.pid is None:
        return seen.reason
    shadow_key = work.line.shadow_key
    value, why_not = variable_of(seen.pid, shadow_key)
    if value is None or work.line.is_shadow_only({shadow_key: value}):
        return f"pid {seen.pid} runs with {shadow_key}={value or why_not}: something overrides the file"
    return ""


def _put_back(work: Workplace, path: Path, live: bytes, reason: str) -> str:
    """Restore shadow mode, byte for byte, unless the file has been changed since."""
    now = work.env_file.read()
    if now.data != live:
        return f"{reason}; {work.env_file.path} was changed by another program and is left unchanged"
    try:
        work.switch.go_shadow(path)
        work.switch.restart(path)
        seen = verify(work, path, health=Grade.TROUBLED)
    except (PromotionError, ArtefactError) as error:
        return f"{reason}; shadow mode could not be restored: {error}"
    if seen.effect is not Effect.CONFIRMED:
        return f"{reason}; the file sets shadow mode again, but {seen.reason}"
    return f"{reason}; the engine is in shadow mode again"
