"""What is known of a model file, kept beside it."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Lineage:
    """Where a model comes from: enough to make it again."""

    run_id: str
    data_fingerprint: str
    weights_hash: str
    code_version: str
    settings: Mapping[str, object]
    """The training spec and the data policies as plain values."""
    seed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """The record of one artefact; written once as manifest.json, never changed."""

    version: str
    sha256: str
    """Of the model file."""
    size_bytes: int
    created_at: str
    architecture: str
    context_length: int
    feature_names: tuple[str, ...]
    decision: str
    metrics: Mapping[str, float]
    lineage: Lineage
    notes: Mapping[str, object] = field(default_factory=dict)

    def as_dict(self) -> dict[str, object]:
        """Return plain values for JSON."""
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Artefact:
    """A registered model: its directory, its file, its manifest."""

    directory: Path
    model_path: Path
    manifest: Manifest
