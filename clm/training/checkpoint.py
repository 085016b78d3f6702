"""Checkpoints: a killed training resumes after the last completed epoch. Each network has one file.

A file contains a sha256, then a torch.save document with the state of the fit and the key of the training.
Corrupt checkpoints and checkpoints of other trainings are ignored and reported.
"""

import hashlib
import io
import pickle
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path

import orjson
import torch

from clm.artefacts.code import code_hash
from clm.artefacts.files import replace_durably, translated
from clm.domain.job import TrainingJob
from clm.errors import ArtefactError
from clm.questions.train import TrainingArrays
from clm.training import precision
from clm.training.device import device_of

SUFFIX = ".checkpoint"
_DIGEST_BYTES = 32


class Checkpoint:
    """The state of one fit on disk."""

    def __init__(self, path: Path, key: str, on_resume: Callable[[int], None]) -> None:
        self._path = path
        self._key = key
        self._on_resume = on_resume
        self.remark = ""
        """What an operator should know about the checkpoint; may be empty."""

    def load(self) -> Mapping[str, object] | None:
        """Return the last document saved under this key, or None if there is no intact one."""
        try:
            data = self._path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as exc:
            self.remark = f"the checkpoint could not be read: {exc.strerror}"
            return None
        digest, rest = data[:_DIGEST_BYTES], data[_DIGEST_BYTES:]
        if hashlib.sha256(rest).digest() != digest:
            self.remark = "a corrupt checkpoint was ignored"
            return None
        try:
            document = torch.load(io.BytesIO(rest), weights_only=True, map_location="cpu")
            if document["key"] == self._key:
                found: Mapping[str, object] = document["fit"]
                return found
            self.remark = "a checkpoint of another training was ignored"
        # weights_only raises UnpicklingError, a truncated zip RuntimeError, and other content the rest.
        except (pickle.UnpicklingError, RuntimeError, ValueError, TypeError, KeyError, EOFError):
            self.remark = "a file that is not a checkpoint was ignored"
        return None

    def resumed(self, epoch: int) -> None:
        """Report that the fit resumes after this epoch."""
        self.remark = f"resumed after epoch {epoch}"
        self._on_resume(epoch)

    def save(self, document: Mapping[str, object]) -> None:
        """Write the document durably. If that fails, set `remark` and continue without a checkpoint.

        A kill then costs all epochs, but a full disk does not end the training.
        """
        buffer = io.BytesIO()
        torch.save({"key": self._key, "fit": document}, buffer)
        data = buffer.getvalue()
        try:
            with translated(f"cannot make {self._path.parent}"):
                self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            replace_durably(self._path, hashlib.sha256(data).digest() + data, mode=0o600)
        except ArtefactError as error:
            self.remark = f"an epoch was not saved: {error}"


class Checkpoints:
    """The checkpoints of one job, one for each network that it fits."""

    def __init__(self, directory: Path, key: str, on_resume: Callable[[int], None]) -> None:
        self._directory = directory
        self._key = key
        self._on_resume = on_resume
        self._given: dict[str, Checkpoint] = {}

    def of(self, name: str) -> Checkpoint:
        """Return the checkpoint of the network with this name."""
        path = self._directory / f"{self._key[:16]}-{name}{SUFFIX}"
        return self._given.setdefault(name, Checkpoint(path, f"{self._key}-{name}", self._on_resume))

    @property
    def remarks(self) -> Mapping[str, str]:
        """Return the remarks by network; networks without a remark are left out."""
        return {name: given.remark for name, given in self._given.items() if given.remark}

    def clear(self) -> None:
        """Remove the files of this finished job. The daemon's cleanup removes those that remain."""
        for path in self._directory.glob(f"{self._key[:16]}-*{SUFFIX}"):
            try:
                path.unlink()
            except OSError:
                return


def checkpoints_of(
    job: TrainingJob, arrays: TrainingArrays, on_resume: Callable[[int], None]
) -> Checkpoints | None:
    """Return the checkpoints of this job, or None if it keeps none.

    The key is a hash of everything that affects the weights, so a job never resumes from another one.
    """
    if job.checkpoints is None:
        return None
    spec = asdict(job.spec)
    del spec["processes"]  # the number of processes does not affect the weights
    device = device_of(job.spec.device)
    identity = {
        "spec": spec,
        "data": arrays.fingerprint,
        "features": job.feature_names,
        "context_length": job.context_length,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else str(device),
        "torch": torch.__version__,
        "cpu": [torch.backends.cpu.get_cpu_capability(), precision.described(job.spec.precision, device)],
        "code": code_hash(),
    }
    key = hashlib.sha256(orjson.dumps(identity, option=orjson.OPT_SORT_KEYS)).hexdigest()
    return Checkpoints(job.checkpoints, key, on_resume)
