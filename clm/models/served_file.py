"""Read a served file: no code in it is run, all keys and shapes must match, all weights must be finite."""

import contextlib
import io
import pickletools
import zipfile
from collections.abc import Iterator, Mapping

import numpy as np
import torch
from torch import Tensor, nn

from clm.domain.sample import Floats
from clm.errors import ArtefactError


def read_state(data: bytes) -> Mapping[str, Tensor]:
    """Return the tensors of a served file by name; the file may wrap them as `model_state_dict` or not.

    Raises:
        ArtefactError: MODEL_UNREADABLE.
    """
    require_plain_archive(data)
    try:
        # A pickle can run code. weights_only restricts it to tensors and plain containers (torch.load's
        # documentation), so an unknown file cannot take over the process.
        # map_location: a file that was trained on a GPU must load on a host without one.
        document = torch.load(io.BytesIO(data), weights_only=True, map_location="cpu")
        state = document.get("model_state_dict", document)
        # Our files have the wrapper; a file of the existing engine may be a bare state dict.
        strangers = [name for name, tensor in state.items() if not isinstance(tensor, Tensor)]
        named: Mapping[str, Tensor] = {str(name): tensor for name, tensor in state.items()}
    # What a file makes torch raise is decided by the file: an exception of any type means: unreadable.
    except Exception as exc:
        raise _unreadable(f"the file does not load: {what_it_asks_for(data) or _first_line(exc)}") from exc
    if strangers:
        raise _unreadable(f"the file contains {strangers[0]!r:.80}, which is not a tensor")
    return named


def require_plain_archive(data: bytes) -> None:
    """Return if torch will read no more than the file holds.

    An archive may declare entries that unpack to more than memory holds; torch never compresses.

    Raises:
        ArtefactError: MODEL_UNREADABLE.
    """
    if not data.startswith(b"PK"):
        raise _unreadable(f"the file is not an archive of torch.save; it begins {data[:8]!r}")
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            entries = archive.infolist()
    except Exception as exc:  # decided by the file, as above
        raise _unreadable(f"the file is a damaged archive: {_first_line(exc)}") from exc
    packed = [entry.filename for entry in entries if entry.compress_type != zipfile.ZIP_STORED]
    if packed or sum(entry.file_size for entry in entries) > len(data):
        name = f"; {packed[0]!r:.60} is compressed" if packed else ""
        raise _unreadable(f"the file declares more than its {len(data):,} bytes{name}")


def what_it_asks_for(data: bytes) -> str:
    """Return what in the file is not plain tensors: the first name its pickle looks up that torch refuses.

    Nothing of the file is run. The answer is "" if there is no such name, or the pickle cannot be followed.
    """
    with contextlib.suppress(Exception), zipfile.ZipFile(io.BytesIO(data)) as archive:
        (entry,) = (name for name in archive.namelist() if name.endswith("/data.pkl"))
        for name in _globals(archive.read(entry)):
            if not name.startswith(_HARMLESS):
                return f"it asks for {name!r:.80}, which is code, not a tensor; nothing of it was run"
    return ""


_HARMLESS = ("torch._utils._rebuild", "torch.", "collections.OrderedDict")
_TEXTS = {"SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8", "UNICODE"}


def _globals(document: bytes) -> Iterator[str]:
    """Yield the names that a pickle looks up, `module.name`."""
    texts: list[str] = []
    for opcode, argument, _ in pickletools.genops(document):
        if opcode.name in _TEXTS:
            texts.append(str(argument))
        elif opcode.name == "GLOBAL":
            yield str(argument).replace(" ", ".")
        elif opcode.name == "STACK_GLOBAL":
            yield ".".join(texts[-2:])


def _first_line(error: Exception) -> str:
    """Return the first line of what torch says; the others advise to trust the file."""
    return f"{type(error).__name__}: {str(error).partition(chr(10))[0]:.120}"


def load_served(model: nn.Module, data: bytes) -> None:
    """Load a served file's bytes into a network, strictly.

    Raises:
        ArtefactError: MODEL_UNREADABLE.
    """
    state = read_state(data)
    try:
        # Not strict, a misnamed key would leave that layer at its random weights, and the file would still
        # "load".
        model.load_state_dict(state, strict=True)
    except (RuntimeError, TypeError, AttributeError) as exc:
        raise _unreadable(f"the file does not load into this architecture: {exc}") from exc
    # A NaN weight would make every answer NaN, and NaN passes no threshold: the engine would always hold.
    if not is_finite(model.state_dict()):
        raise _unreadable("the file contains weights that are not finite")


def is_finite(state: Mapping[str, Tensor]) -> bool:
    """Return whether every weight is a finite number."""
    return all(bool(torch.isfinite(tensor).all()) for tensor in state.values())


def p_win(logit_N: Floats) -> Floats:
    """Return P(WIN), the sigmoid of each logit, shape (N,)."""
    # exp(-|x|) cannot overflow; the sign selects the matching form of the sigmoid.
    small_N = np.exp(-np.abs(logit_N))
    return np.where(logit_N >= 0, 1.0, small_N) / (1.0 + small_N)


def _unreadable(why: str) -> ArtefactError:
    return ArtefactError("MODEL_UNREADABLE", why)
