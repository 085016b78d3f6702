"""The rules of ports.Registry; a second registry, or a fake, is one more entry in MAKERS."""

import hashlib
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from clm.artefacts.registry import DirectoryRegistry
from clm.errors import ArtefactError
from clm.ports import Registry
from tests.builders import NOW
from tests.promotion.server import NEW, manifest

CONTENT = b"weights of a model"
GOLDEN = b"64 windows and their answers"

MAKERS: dict[str, Callable[[Path], Registry]] = {
    "directory": lambda directory: DirectoryRegistry(directory / "artefacts"),
}


@pytest.fixture(params=list(MAKERS))
def registry(request: pytest.FixtureRequest, tmp_path: Path) -> Registry:
    return MAKERS[request.param](tmp_path)


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    path = tmp_path / "weights.pth"
    path.write_bytes(CONTENT)
    return path


def test_what_is_registered_comes_back_and_outlives_the_file_it_was_made_from(
    registry: Registry, weights: Path
) -> None:
    """The run directory of a training is removed long before its model."""
    known = replace(manifest(CONTENT), golden_sha256=hashlib.sha256(GOLDEN).hexdigest())
    artefact = registry.register(weights, known, GOLDEN)
    weights.unlink()
    assert registry.get(NEW) == artefact
    assert artefact.manifest == known
    assert artefact.model_path.read_bytes() == CONTENT
    assert artefact.golden_path is not None
    assert artefact.golden_path.read_bytes() == GOLDEN


def test_a_model_without_golden_rows_has_no_path_to_them(registry: Registry, weights: Path) -> None:
    """An older model, or a family without a check by golden rows."""
    assert registry.register(weights, manifest(CONTENT)).golden_path is None


def test_a_version_is_registered_once(registry: Registry, weights: Path) -> None:
    """A name means one model for ever; the first one stays."""
    registry.register(weights, manifest(CONTENT))
    other = b"other weights"
    weights.write_bytes(other)
    with pytest.raises(ArtefactError, match="ARTEFACT_EXISTS"):
        registry.register(weights, manifest(other))
    assert registry.get(NEW).model_path.read_bytes() == CONTENT


@pytest.mark.parametrize("claimed", [b"weights of b model", b"shorter"], ids=["hash", "size"])
def test_a_file_that_is_not_what_its_manifest_says_is_not_registered(
    registry: Registry, weights: Path, claimed: bytes
) -> None:
    """The parent checks the file that a child reports."""
    with pytest.raises(ArtefactError, match="ARTEFACT_TORN"):
        registry.register(weights, manifest(claimed))
    with pytest.raises(ArtefactError, match="ARTEFACT_MISSING"):
        registry.get(NEW)


@pytest.mark.parametrize("change", [b"weights of a modeL", b"weights"], ids=["hash", "size"])
def test_a_file_that_changed_since_is_refused(registry: Registry, weights: Path, change: bytes) -> None:
    """What is promoted is what was judged."""
    registry.register(weights, manifest(CONTENT)).model_path.write_bytes(change)
    with pytest.raises(ArtefactError, match="ARTEFACT_TORN"):
        registry.get(NEW)


@pytest.mark.parametrize("version", ["patchtst_v20260101_000000", "../../etc", "patchtst_v1", ""])
def test_what_is_not_registered_is_missing(registry: Registry, version: str) -> None:
    """No name leads out of the registry."""
    with pytest.raises(ArtefactError, match="ARTEFACT_MISSING"):
        registry.get(version)


def test_a_new_version_is_the_next_second_that_is_free(registry: Registry, weights: Path) -> None:
    """Two runs may ask within one second; asking alone takes nothing."""
    first = registry.new_version(NOW)
    assert registry.new_version(NOW) == first
    registry.register(weights, manifest(CONTENT, first))
    second = registry.new_version(NOW)
    assert second != first
    assert second == registry.new_version(NOW + timedelta(seconds=1))
