"""Registered models to serve, without a training: weights drawn from a seed, inputs of a real data set."""

import hashlib
import io
from pathlib import Path

import torch

from clm.artefacts.golden import choose_golden, encode_golden
from clm.artefacts.inputs import inputs_of
from clm.artefacts.manifest import Artefact, Lineage, Manifest
from clm.artefacts.registry import DirectoryRegistry
from clm.data.dataset import Dataset
from clm.models.catalogue import architecture
from clm.serving.model import ServedModel

VERSION = "patchtst_v20260301_120000"


def weights(seed: int = 3) -> bytes:
    """A served file."""
    torch.manual_seed(seed)
    buffer = io.BytesIO()
    torch.save({"model_state_dict": architecture("engine").build(0.0).state_dict()}, buffer)
    return buffer.getvalue()


def registered(
    directory: Path, dataset: Dataset, *, seed: int = 3, version: str = VERSION, data: bytes | None = None
) -> Artefact:
    """Register a model of this data set below `directory/artefacts`."""
    data = weights(seed) if data is None else data
    directory.mkdir(parents=True, exist_ok=True)
    file = directory / f"{version}.pth"
    file.write_bytes(data)
    try:
        p_N = ServedModel(data, "engine").p_win(dataset.windows.gather(dataset.split.test).astype("float32"))
        golden = encode_golden(choose_golden(dataset, p_N))
    except Exception:  # noqa: BLE001  # a file that cannot be loaded has no answers
        golden = b""
    manifest = Manifest(
        version=version,
        sha256=hashlib.sha256(data).hexdigest(),
        size_bytes=len(data),
        created_at="2026-03-01T12:00:00.000000Z",
        architecture="engine",
        context_length=dataset.context_length,
        feature_names=dataset.feature_names,
        decision="PROMOTE",
        metrics={},
        lineage=Lineage(
            run_id="p07_x",
            data_fingerprint=dataset.fingerprint,
            weights_hash="w" * 64,
            code_version="1",
            settings={},
            seed=seed,
        ),
        golden_sha256=hashlib.sha256(golden).hexdigest() if golden else "",
        inputs=inputs_of(dataset),
    )
    return DirectoryRegistry(directory / "artefacts").register(file, manifest, golden)
