"""A registered model is whole or absent, and what is given out is what was judged."""

import contextlib
import hashlib
import os
import random
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from clm.artefacts.registry import DirectoryRegistry, names_in
from clm.errors import ArtefactError
from tests.promotion.server import NEW, manifest

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
CONTENT = b"weights of a model"


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    path = tmp_path / "weights.pth"
    path.write_bytes(CONTENT)
    return path


@pytest.fixture
def registry(tmp_path: Path) -> DirectoryRegistry:
    return DirectoryRegistry(tmp_path / "artefacts")


def test_what_is_registered_comes_back(registry: DirectoryRegistry, weights: Path, tmp_path: Path) -> None:
    """File and manifest, in a directory of their own."""
    artefact = registry.register(weights, manifest(CONTENT))
    assert registry.get(NEW) == artefact
    assert artefact.manifest == manifest(CONTENT)
    assert artefact.model_path == tmp_path / "artefacts" / NEW / "model.pth"
    assert artefact.model_path.read_bytes() == CONTENT
    assert registry.list() == (artefact,)


def test_a_registration_that_fails_leaves_nothing(
    registry: DirectoryRegistry, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All or nothing, also between the two files."""
    real, calls = os.link, []

    def second_fails(*arguments: str, **more: bool) -> None:
        calls.append(arguments)
        if len(calls) == 2:
            raise OSError(28, "No space left on device")
        real(*arguments, **more)

    monkeypatch.setattr(os, "link", second_fails)
    with pytest.raises(ArtefactError, match="DISK_FULL"):
        registry.register(weights, manifest(CONTENT))
    assert list((tmp_path / "artefacts").iterdir()) == []


def test_a_registration_that_is_killed_is_not_seen_and_swept(
    registry: DirectoryRegistry, tmp_path: Path
) -> None:
    """An unfinished directory has no version's name."""
    half = tmp_path / "artefacts" / f".{NEW}.clm-1-0.tmp"
    half.mkdir(parents=True)
    (half / "model.pth").write_bytes(b"half")
    assert registry.list() == ()
    assert registry.sweep() == (half.name,)
    assert list((tmp_path / "artefacts").iterdir()) == []


@pytest.mark.parametrize("keep", [0, 5, 17])
def test_f2_a_truncated_file_is_refused_with_both_sizes(
    registry: DirectoryRegistry, weights: Path, keep: int
) -> None:
    """The text says how much is missing."""
    path = registry.register(weights, manifest(CONTENT)).model_path
    os.truncate(path, keep)
    with pytest.raises(ArtefactError, match=f"ARTEFACT_TORN: .* has {keep} bytes, its manifest says 18"):
        registry.get(NEW)


def test_f3_every_flipped_bit_is_refused(registry: DirectoryRegistry, weights: Path) -> None:
    """300 of 300: the hash sees what the loader would not."""
    path = registry.register(weights, manifest(CONTENT)).model_path
    chance = random.Random(7)
    for _ in range(300):
        bit = chance.randrange(len(CONTENT) * 8)
        flipped = bytearray(CONTENT)
        flipped[bit // 8] ^= 1 << bit % 8
        path.write_bytes(flipped)
        with pytest.raises(ArtefactError, match="ARTEFACT_TORN"):
            registry.get(NEW)
    path.write_bytes(CONTENT)
    assert registry.get(NEW).model_path == path


@pytest.mark.parametrize("name", ["golden.npz", "manifest.json"])
def test_f3_every_bit_flipped_beside_the_model_is_refused(
    registry: DirectoryRegistry, weights: Path, name: str
) -> None:
    """A feature's name that changed a letter would feed the model something else."""
    golden = b"64 windows and their answers"
    whole = replace(manifest(CONTENT), golden_sha256=hashlib.sha256(golden).hexdigest())
    path = registry.register(weights, whole, golden).directory / name
    content, chance = path.read_bytes(), random.Random(8)
    assert registry.get(NEW).manifest == whole
    for _ in range(300):
        bit = chance.randrange(len(content) * 8)
        flipped = bytearray(content)
        flipped[bit // 8] ^= 1 << bit % 8
        path.write_bytes(flipped)
        with contextlib.suppress(ArtefactError):
            # White space between values may become other white space; nothing that is read may change.
            assert registry.get(NEW).manifest == whole
            assert name == "manifest.json"
    path.write_bytes(content[:-1] + b"!")
    with pytest.raises(ArtefactError, match="ARTEFACT_TORN"):
        registry.get(NEW)


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b"{}", b'{"version": 1}'])
def test_a_manifest_that_is_none_is_torn(registry: DirectoryRegistry, weights: Path, text: bytes) -> None:
    """A stranger's file ends in a line, not in a traceback."""
    artefact = registry.register(weights, manifest(CONTENT))
    (artefact.directory / "manifest.json").write_bytes(text)
    with pytest.raises(ArtefactError, match="ARTEFACT_TORN"):
        registry.get(NEW)


@pytest.mark.parametrize(
    ("old", "new"),
    [(b'"PROMOTE"', b'"REJECT"'), (b'"rsi"', b'"rsj"'), (b'"size_bytes": 1', b'"size_bytes": 2')],
)
def test_l4_a_manifest_that_was_edited_is_torn(
    registry: DirectoryRegistry, weights: Path, old: bytes, new: bytes
) -> None:
    """What was decided, and about which bytes, is not to be changed by a hand that slipped."""
    path = registry.register(weights, manifest(CONTENT)).directory / "manifest.json"
    text = path.read_bytes()
    assert old in text
    path.write_bytes(text.replace(old, new, 1))
    with pytest.raises(ArtefactError, match="it was changed since it was written"):
        registry.get(NEW)


def test_a_moved_artefact_is_torn(registry: DirectoryRegistry, weights: Path) -> None:
    """The directory's name and the manifest's version are one."""
    artefact = registry.register(weights, manifest(CONTENT))
    artefact.directory.rename(artefact.directory.with_name("patchtst_v20270101_000000"))
    with pytest.raises(ArtefactError, match=r"ARTEFACT_TORN: .* was moved"):
        registry.get("patchtst_v20270101_000000")


def test_a_new_version_is_the_next_second_that_nobody_has(tmp_path: Path, weights: Path) -> None:
    """Neither the registry nor the engine's directory, whatever the file's ending there."""
    models = tmp_path / "models"
    models.mkdir()
    registry = DirectoryRegistry(tmp_path / "artefacts", taken=names_in(models))
    assert registry.new_version(NOW) == "patchtst_v20260301_120000"
    registry.register(weights, manifest(CONTENT))
    (models / "patchtst_v20260301_120001.pkl").touch()
    assert registry.new_version(NOW) == "patchtst_v20260301_120002"


def test_metrics_without_a_value_stay_without_one(registry: DirectoryRegistry, weights: Path) -> None:
    """NaN is no JSON number; it is written as null and is not turned into a figure."""
    bare = manifest(CONTENT)
    odd = type(bare)(
        **{**{f: getattr(bare, f) for f in bare.__slots__}, "metrics": {"precision": float("nan")}}
    )
    registry.register(weights, odd)
    assert registry.get(NEW).manifest.metrics["precision"] is None
