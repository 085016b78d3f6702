"""The manifest of a model file, stored next to it."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

GOLDEN_NAME = "golden.npz"


@dataclass(frozen=True, slots=True, kw_only=True)
class Lineage:
    """The lineage of a model: everything needed to reproduce it."""

    run_id: str
    data_fingerprint: str
    weights_hash: str
    code_version: str
    settings: Mapping[str, object]
    """The training spec and the data policies as plain values."""
    seed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class InputContract:
    """The input contract of a model, which a server checks."""

    window_source: str
    """`history` (the symbol's last samples) or `candles`."""
    interval: int
    """Microseconds from one candle to the next; 0 if the windows consist of samples."""
    low_C: tuple[float, ...]
    high_C: tuple[float, ...]
    """Minimum and maximum of each feature at the training decisions."""
    varies_C: tuple[bool, ...]
    """False for a feature that was constant in training: the served file ignores it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """The record of one artefact; manifest.json is written once and never changed."""

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
    golden_sha256: str = ""
    """Of the golden rows; empty if there are none."""
    inputs: InputContract | None = None
    """None for a model that was registered without an input contract."""

    def as_dict(self) -> dict[str, object]:
        """Return plain values for JSON."""
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Artefact:
    """A registered model: its directory, its file, its manifest."""

    directory: Path
    model_path: Path
    manifest: Manifest

    @property
    def golden_path(self) -> Path | None:
        """File of raw windows and their answers (clm.artefacts.golden), or None."""
        return self.directory / GOLDEN_NAME if self.manifest.golden_sha256 else None
