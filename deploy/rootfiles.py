"""What the installer does with files that another user may have prepared: `python3 -I rootfiles.py VERB ...`.

take-back FILE DIRECTORY GROUP   FILE is a link into a service user's DIRECTORY: make it a file of root's
own-models DIRECTORY             give the models directory and the models in it to root

No link of another user is followed, only regular files of bounded size are read, contents are validated, and
owner and mode come from here and not from what was found.
"""

import contextlib
import grp
import os
import stat
import sys
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from clm.artefacts.files import Owner, replace_durably
from clm.domain.line import DEFAULT_LINE
from clm.engine.env_file import parse, value_of
from clm.errors import ClmError, PromotionError
from clm.switch.paths import copied_sha256, opened_directory, opened_file
from clm.switch.trust import weakness

_MAX_ENV_BYTES = 1 << 20
_MAX_MODEL_BYTES = 10 << 30
_ENV_MODE = 0o640
_MODEL_MODE = 0o444


def take_back(file: Path, directory: Path, group: str) -> str:
    """Replace the link by a file of root's with the same content; return a sentence.

    Raises:
        ClmError: the content is not an environment file, or was not reached safely; nothing is changed.
    """
    if why := weakness(file.parent):
        raise PromotionError("UNTRUSTED", f"{why}; make {file.parent} root's first")
    name = Path(os.readlink(file)).name  # noqa: PTH115  only the last part counts
    with (
        opened_directory(directory) as opened,
        opened_file(opened, name, max_bytes=_MAX_ENV_BYTES, where=directory) as handle,
    ):
        data = _whole(handle)
    if not parse(data):
        raise PromotionError("ENV_EMPTY", f"{directory / name} sets no variable; restore it first")
    value_of(data, DEFAULT_LINE.model_key)
    # The link itself is replaced: a rename does not follow it.
    temporary = file.with_name(f"{file.name}.clm-new")
    temporary.unlink(missing_ok=True)
    replace_durably(temporary, data, mode=_ENV_MODE, owner=Owner(uid=0, gid=grp.getgrnam(group).gr_gid))
    temporary.rename(file)
    return f"{file} is root's own file again"


def own_models(directory: Path) -> str:
    """Give a models directory to root, and copy each model in it to a file of root's; return a sentence.

    Raises:
        ClmError: someone else could replace the directory as a whole; nothing is changed.
    """
    if why := weakness(directory.parent):
        raise PromotionError("UNTRUSTED", f"{why}, and whoever can write there can replace {directory.name}")
    with opened_directory(directory) as opened:
        before = os.fstat(opened)
        _refuse_odd(opened, directory)
        os.fchown(opened, 0, -1)
        os.fchmod(opened, 0o755)
        try:
            names = _refuse_odd(opened, directory)  # again: now nothing can be added any more
        except PromotionError:
            os.fchown(opened, before.st_uid, -1)
            os.fchmod(opened, stat.S_IMODE(before.st_mode))
            raise
        copied = sum(_own(opened, name, directory) for name in names)
    return f"{directory} is root's; {copied} of {len(names)} files in it were copied to files of root's"


def _refuse_odd(directory: int, where: Path) -> list[str]:
    """Return the names in a directory that holds regular files of one name only.

    Raises:
        PromotionError: UNTRUSTED.
    """
    names = sorted(os.listdir(directory))
    for name in names:
        status = os.stat(name, dir_fd=directory, follow_symlinks=False)
        if not stat.S_ISREG(status.st_mode) or status.st_nlink != 1:
            raise PromotionError(
                "UNTRUSTED", f"{where / name} is not a regular file of one name; move it away first"
            )
    return names


def _own(directory: int, name: str, where: Path) -> bool:
    """Copy a file to one of root's; return whether that was necessary.

    Changing the owner would not do: a descriptor that is open for writing stays with the old file.
    """
    with opened_file(directory, name, max_bytes=_MAX_MODEL_BYTES, where=where) as handle:
        status = os.fstat(handle)
        if status.st_uid == 0 and stat.S_IMODE(status.st_mode) == _MODEL_MODE:
            return False
        temporary = f".{name}.clm-0-0.tmp"
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary, dir_fd=directory)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        target = os.open(temporary, flags, 0o600, dir_fd=directory)
        try:
            copied_sha256(handle, target)
            os.utime(target, ns=(status.st_atime_ns, status.st_mtime_ns))
            os.fchown(target, 0, 0)
            os.fchmod(target, _MODEL_MODE)
            os.fsync(target)
        finally:
            os.close(target)
        os.rename(temporary, name, src_dir_fd=directory, dst_dir_fd=directory)
        os.fsync(directory)
    return True


def _whole(handle: int) -> bytes:
    data = b""
    while chunk := os.read(handle, 1 << 16):
        data += chunk
        if len(data) > _MAX_ENV_BYTES:
            raise PromotionError("ENV_TOO_BIG", f"the file has more than {_MAX_ENV_BYTES} bytes")
    return data


def main(verb: str, *arguments: str) -> int:
    """Run one verb and return the exit code; one line says how it went."""
    verbs: dict[str, Callable[..., str]] = {
        "take-back": lambda file, directory, group: take_back(Path(file), Path(directory), group),
        "own-models": lambda directory: own_models(Path(directory)),
    }
    try:
        sys.stdout.write(f"{verbs[verb](*arguments)}\n")
    except ClmError as error:
        sys.stderr.write(f"{error}\n")
        return 78
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
