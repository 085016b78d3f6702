"""Changes of the environment file: the model path and the shadow mode."""

from collections.abc import Callable

from clm.artefacts.files import sync_directory, translated
from clm.domain.line import Line
from clm.engine.env_file import (
    EnvFile,
    parse,
    previous_of,
    value_of,
    with_flag,
    with_value,
    without_value,
)
from clm.errors import PromotionError


def go_live(env_file: EnvFile, line: Line) -> None:
    """Disable shadow mode; no other byte changes.

    Raises:
        PromotionError: ALREADY_LIVE, and errors of `EnvFile`. ArtefactError: the file is whole, old or new.
    """
    snapshot = env_file.read()
    if not line.is_shadow_only(parse(snapshot.data)):
        raise PromotionError("ALREADY_LIVE", f"{env_file.path}: {line.shadow_key} is already not true")
    env_file.replace(snapshot, with_flag(snapshot.data, line.shadow_key, flag=False))


def back_to_shadow(env_file: EnvFile, line: Line) -> None:
    """Enable shadow mode; restore the file byte for byte if nothing else has changed.

    Raises:
        PromotionError, ArtefactError: as `go_live`.
    """
    snapshot = env_file.read()
    if line.is_shadow_only(parse(snapshot.data)):
        return
    kept = previous_of(snapshot.target)
    before = kept.read_bytes() if kept.is_file() and not kept.is_symlink() else b""
    if not (
        line.is_shadow_only(parse(before)) and with_flag(before, line.shadow_key, flag=False) == snapshot.data
    ):
        before = with_flag(snapshot.data, line.shadow_key, flag=True)
    env_file.replace(snapshot, before)


def rewrite(
    env_file: EnvFile,
    key: str,
    *,
    expected: str | None,
    target: str | None,
    sha256_before: str,
    before_replacing: Callable[[], None] = lambda: None,
) -> None:
    """Make the file name `target` if it names `expected`; None means no value.

    If it already names the target, only the last rename is made durable. A concurrent change of another line
    causes one retry. Without a target, the form with the hash `sha256_before` is restored.

    Raises:
        PromotionError: ENV_CHANGED if the file has another value or changes repeatedly, and errors of
            `EnvFile` and the readers of the file.
        ArtefactError: the file cannot be written; it is whole, old or new.
    """
    try:
        _once(env_file, key, expected, target, sha256_before, before_replacing)
    except PromotionError as exc:
        # One retry is enough for an editor's save; a program that keeps writing needs a person.
        if exc.code != "ENV_CHANGED":
            raise
        _once(env_file, key, expected, target, sha256_before, before_replacing)


def _once(
    env_file: EnvFile,
    key: str,
    expected: str | None,
    target: str | None,
    sha256_before: str,
    before_replacing: Callable[[], None],
) -> None:
    snapshot = env_file.read()
    named = value_of(snapshot.data, key)
    if named == target:
        # A crash may have come between the rename and the sync of the directory. Until that sync, a power
        # loss can bring the old name back (fsync(2)).
        with translated("cannot make the last switch durable"):
            sync_directory(snapshot.target.parent)
        return
    if named != expected:
        raise PromotionError(
            "ENV_CHANGED",
            f"{env_file.path}: {key} names {named or 'no model'} instead of {expected or 'no model'}; "
            "another program changed it, its version stays",
        )
    if target is None:
        changed = without_value(snapshot.data, key, sha256_before)
    else:
        changed = with_value(snapshot.data, key, target)
    before_replacing()
    env_file.replace(snapshot, changed)
