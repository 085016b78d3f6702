"""A training that was killed goes on where it stood: one file a network, written after each epoch.

A file holds the sha256 of the rest, then a document of torch.save: where the fit stands, and the key of the
training it belongs to. One that is torn, or of another training, is as good as none, and said.
"""

import hashlib
import io
import pickle
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path

import orjson
import torch

import clm
from clm.artefacts.files import replace_durably, translated
from clm.domain.job import TrainingJob
from clm.errors import ArtefactError
from clm.questions.train import TrainingArrays
from clm.training import precision
from clm.training.device import device_of

SUFFIX = ".checkpoint"
_DIGEST_BYTES = 32
_CODE = ("training", "models", "questions", "data", "evaluation")
"""Packages of which every line may decide the weights."""


class Checkpoint:
    """Where one fit stands, on disk."""

    def __init__(self, path: Path, key: str, on_resume: Callable[[int], None]) -> None:
        self._path = path
        self._key = key
        self._on_resume = on_resume
        self.remark = ""
        """What an operator should know of it; empty for nothing."""

    def load(self) -> Mapping[str, object] | None:
        """Return the document that was saved last under this key, None where there is none that is whole."""
        try:
            data = self._path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as exc:
            self.remark = f"the checkpoint could not be read: {exc.strerror}"
            return None
        digest, rest = data[:_DIGEST_BYTES], data[_DIGEST_BYTES:]
        if hashlib.sha256(rest).digest() != digest:
            self.remark = "a torn checkpoint was ignored"
            return None
        try:
            document = torch.load(io.BytesIO(rest), weights_only=True, map_location="cpu")
            if document["key"] == self._key:
                found: Mapping[str, object] = document["fit"]
                return found
            self.remark = "a checkpoint of another training was ignored"
        # weights_only raises UnpicklingError, a torn zip RuntimeError, other content the rest.
        except (pickle.UnpicklingError, RuntimeError, ValueError, TypeError, KeyError, EOFError):
            self.remark = "a file that is no checkpoint was ignored"
        return None

    def resumed(self, epoch: int) -> None:
        """Say that the fit goes on behind this epoch."""
        self.remark = f"resumed after epoch {epoch}"
        self._on_resume(epoch)

    def save(self, document: Mapping[str, object]) -> None:
        """Write the document durably; where that fails the training goes on without, and says so.

        A kill then costs all its epochs, which is less than a training that ends for want of 10 MB.
        """
        buffer = io.BytesIO()
        torch.save({"key": self._key, "fit": document}, buffer)
        data = buffer.getvalue()
        try:
            with translated(f"cannot make {self._path.parent}"):
                self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            replace_durably(self._path, hashlib.sha256(data).digest() + data, mode=0o600)
        except ArtefactError as error:
            self.remark = f"an epoch was not kept: {error}"


class Checkpoints:
    """The checkpoints of one job: one for each network that it fits."""

    def __init__(self, directory: Path, key: str, on_resume: Callable[[int], None]) -> None:
        self._directory = directory
        self._key = key
        self._on_resume = on_resume
        self._given: dict[str, Checkpoint] = {}

    def of(self, name: str) -> Checkpoint:
        """Return the checkpoint of the network of this name."""
        path = self._directory / f"{self._key[:16]}-{name}{SUFFIX}"
        return self._given.setdefault(name, Checkpoint(path, f"{self._key}-{name}", self._on_resume))

    @property
    def remarks(self) -> Mapping[str, str]:
        """Return by network what an operator should know."""
        return {name: given.remark for name, given in self._given.items() if given.remark}

    def clear(self) -> None:
        """Remove all of this job: it is done. What cannot be removed is left to the daemon's tidying."""
        for path in self._directory.glob(f"{self._key[:16]}-*{SUFFIX}"):
            try:
                path.unlink()
            except OSError:
                return


def checkpoints_of(
    job: TrainingJob, arrays: TrainingArrays, on_resume: Callable[[int], None]
) -> Checkpoints | None:
    """Return where this job may go on, None where nothing is to be kept.

    The key is a hash of all that decides the weights: with any other key another network would come out.
    """
    if job.checkpoints is None:
        return None
    spec = asdict(job.spec)
    del spec["processes"]  # processes change no weight
    device = device_of(job.spec.device)
    described = {
        "spec": spec,
        "data": arrays.fingerprint,
        "features": job.feature_names,
        "context_length": job.context_length,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else str(device),
        "torch": torch.__version__,
        "cpu": [torch.backends.cpu.get_cpu_capability(), precision.described(job.spec.precision, device)],
        "code": code_hash(),
    }
    key = hashlib.sha256(orjson.dumps(described, option=orjson.OPT_SORT_KEYS)).hexdigest()
    return Checkpoints(job.checkpoints, key, on_resume)


def code_hash() -> str:
    """Return the sha256 of the sources that decide the weights; a version stands for many states of them."""
    root = Path(clm.__file__).parent
    digest = hashlib.sha256(clm.__version__.encode())
    for path in sorted(path for package in _CODE for path in (root / package).rglob("*.py")):
        digest.update(path.relative_to(root).as_posix().encode() + path.read_bytes())
    return digest.hexdigest()
