"""The model line: one record holds every name that belongs to a family, and each part is given it."""

import re
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from clm.artefacts.registry import DirectoryRegistry
from clm.bus.requests import NotOurs, read_trigger
from clm.bus.streams import MODEL_RETRAIN
from clm.bus.telemetry import telemetry_of
from clm.domain.line import DEFAULT_LINE
from clm.domain.task import Trigger
from clm.engine.env_file import EnvFile
from clm.engine.rewrite import back_to_shadow, go_live
from clm.engine.switch_request import Action, Request, decode_request, name_of
from clm.errors import ArtefactError, PromotionError
from clm.settings import Settings
from tests.builders import NOW

ROOT = Path(__file__).parents[1]
OTHER = replace(
    DEFAULT_LINE,
    family="tide",
    model_key="TIDE_MODEL_PATH",
    shadow_key="TIDE_SHADOW_ONLY",
    engine_unit="t.service",
)
"""A second line, which shares no name with the default one."""

ALLOWED = {
    "clm/domain/line.py": "holds the literals",
    "clm/domain/architecture.py": "names architectures, which are networks and not families",
    "clm/settings/everyday.py": "names architectures; its docstrings become clm.env",
    "clm/data/audits/windows.py": "advises another architecture",
}
"""Modules that may hold a literal of the line, and why. `clm/models` names architectures throughout."""


def test_the_names_of_a_line_occur_in_one_module_only() -> None:
    """A second line must not need a search through the program."""
    names = (DEFAULT_LINE.family, DEFAULT_LINE.model_key, DEFAULT_LINE.shadow_key, DEFAULT_LINE.engine_unit)
    literal = re.compile("|".join(re.escape(name) for name in names))
    programs = [*(ROOT / "clm").rglob("*.py"), *(ROOT / "deploy").glob("*.py")]
    found = {str(path.relative_to(ROOT)) for path in programs if literal.search(path.read_text())}
    assert {path for path in found if not path.startswith("clm/models/")} == set(ALLOWED)


def test_the_default_line_keeps_the_names_that_the_engine_knows() -> None:
    """The trading system and the engine's environment file use them."""
    settings = Settings()
    assert settings.line is DEFAULT_LINE
    assert (settings.line.family, settings.line.model_key, settings.line.shadow_key) == (
        "patchtst",
        "PATCHTST_MODEL_PATH",
        "PATCHTST_SHADOW_ONLY",
    )
    assert (settings.engine_unit, settings.line.context_length) == ("quantum-ai-engine.service", 128)
    assert DEFAULT_LINE.version(datetime(2026, 1, 9, 23, 34, 44, tzinfo=UTC)) == "patchtst_v20260109_233444"


@pytest.mark.parametrize(
    "name",
    [
        "patchtst_v20260109_233444.pth",
        "patchtst_v2026010_233444",
        "patchtst_v2026030١_120000",
        "tide_v20260109_233444",
        "xpatchtst_v20260109_233444",
        "",
    ],
)
def test_only_the_exact_form_is_a_version(name: str) -> None:
    """A version becomes a path, so nothing else may pass for one."""
    assert not DEFAULT_LINE.is_version(name)
    assert DEFAULT_LINE.is_version(DEFAULT_LINE.version(NOW))


def test_a_version_holds_its_moment() -> None:
    """A torn artefact is as old as its name; a name without a moment has no age."""
    assert DEFAULT_LINE.made_at(DEFAULT_LINE.version(NOW)) == NOW
    assert DEFAULT_LINE.made_at("patchtst_v20269999_233444") is None
    assert DEFAULT_LINE.made_at(OTHER.version(NOW)) is None


def test_the_registry_names_and_knows_versions_of_its_line(tmp_path: Path) -> None:
    """A name of another line is not registered here."""
    registry = DirectoryRegistry(tmp_path, line=OTHER)
    assert registry.new_version(NOW) == OTHER.version(NOW)
    (tmp_path / OTHER.version(NOW)).mkdir()
    (tmp_path / DEFAULT_LINE.version(NOW)).mkdir()
    assert registry.versions() == (OTHER.version(NOW),)
    with pytest.raises(ArtefactError, match=r"look like tide_v"):
        registry.manifest(DEFAULT_LINE.version(NOW))


def test_a_request_is_read_for_the_family_of_the_line() -> None:
    """The trigger streams are shared by all models."""
    ours = read_trigger(MODEL_RETRAIN, {b"model": b"tide"}, OTHER.family)
    assert isinstance(ours, Trigger)
    assert ours.model == "tide"
    assert isinstance(read_trigger(MODEL_RETRAIN, {b"model": b"patchtst"}, OTHER.family), NotOurs)


def test_telemetry_is_read_for_the_family_of_the_line() -> None:
    """The ensemble's events hold the answer of each of its models."""
    version = OTHER.version(NOW)
    answer = f'{{"tide": {{"action": "SELL", "confidence": 0.7, "version": "{version}"}}}}'
    event = {b"symbol": b"BTCUSDT", b"side": b"SELL", b"model_breakdown": answer.encode()}
    entry = [(1_767_000_000_000_000, event)]
    assert len(telemetry_of(entry, [], version, line=OTHER, serving_since=None).intents) == 1
    other = telemetry_of(entry, [], version, line=DEFAULT_LINE, serving_since=None)
    assert other.left_out == {"trade.intent: no answer of patchtst": 1}


def test_the_helper_refuses_a_version_of_another_line() -> None:
    """Root installs files of its own line only."""
    data = Request(action=Action.REMOVE, name=DEFAULT_LINE.version(NOW)).encode()
    assert decode_request(data, DEFAULT_LINE).action is Action.REMOVE
    with pytest.raises(PromotionError, match="SWITCH_REQUEST"):
        decode_request(data, OTHER)
    path = f"/models/{DEFAULT_LINE.version(NOW)}.pth"
    assert name_of(path, Path("/models"), DEFAULT_LINE) == DEFAULT_LINE.version(NOW)
    assert name_of(path, Path("/models"), OTHER).startswith("other-")


def test_the_shadow_mode_is_switched_for_the_key_of_the_line(tmp_path: Path) -> None:
    """The flag of another line stays as it is, byte for byte."""
    path = tmp_path / "engine.env"
    path.write_text("PATCHTST_SHADOW_ONLY=true\nTIDE_SHADOW_ONLY=true\n")
    before = path.read_bytes()
    go_live(EnvFile(path), OTHER)
    assert path.read_text() == "PATCHTST_SHADOW_ONLY=true\nTIDE_SHADOW_ONLY=false\n"
    back_to_shadow(EnvFile(path), OTHER)
    assert path.read_bytes() == before
