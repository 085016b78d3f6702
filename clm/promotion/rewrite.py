"""One value of the environment file goes from what it was to what it shall be, or nothing is touched."""

from collections.abc import Callable

from clm.artefacts.files import sync_directory, translated
from clm.errors import PromotionError
from clm.promotion.env_file import EnvFile, value_of, with_value, without_value


def rewrite(
    env_file: EnvFile,
    key: str,
    *,
    expected: str | None,
    target: str | None,
    sha256_before: str,
    before_replacing: Callable[[], None] = lambda: None,
) -> None:
    """Make the file name `target` where it names `expected`; None stands for no value.

    Where it names the target already only the last rename is made durable. A second try where somebody
    changed another line at that moment. Without a target the form with the hash `sha256_before` is restored.

    Raises:
        PromotionError: ENV_CHANGED where another value stands there or the file changes again and again,
            and what `EnvFile` and the readers of the file raise.
        ArtefactError: the file cannot be written; it is whole, old or new.
    """
    try:
        _once(env_file, key, expected, target, sha256_before, before_replacing)
    except PromotionError as exc:
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
        with translated("cannot make the last switch durable"):
            sync_directory(snapshot.target.parent)
        return
    if named != expected:
        raise PromotionError(
            "ENV_CHANGED",
            f"{env_file.path}: {key} names {named or 'no model'} and not {expected or 'no model'} any more; "
            "somebody changed it, their version stays",
        )
    if target is None:
        changed = without_value(snapshot.data, key, sha256_before)
    else:
        changed = with_value(snapshot.data, key, target)
    before_replacing()
    env_file.replace(snapshot, changed)
