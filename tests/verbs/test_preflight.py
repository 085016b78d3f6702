"""Preflight: what is wrong with a store is said for the price of seconds, and the store is not touched."""

import hashlib
import threading
from pathlib import Path

import numpy as np
import orjson
import pytest

from clm.clock import from_micros
from clm.data.audits import Severity
from clm.data.simulator import simulate
from clm.errors import DataError
from clm.report.plain import plain
from clm.settings import Settings
from clm.store.create import create_store, insert_samples
from clm.verbs.preflight import Preflight, preflight, preflight_document
from tests.conftest import SHARED_DATA
from tests.data.planted import PLANTED, clean, every
from tests.data.rows import CUTOFF, SEED, SIMULATED_DAYS, simulated_rows
from tests.fakes import FakeClock


def store_of(directory: Path, rows) -> Path:
    path = directory / "store.db"
    create_store(path)
    insert_samples(path, rows)
    return path


def settings_for(store: Path, **changes: object) -> Settings:
    values: dict[str, object] = {"store": store, "min_samples": 300, "max_staleness_days": 7.0}
    return Settings(**{**values, **changes})


def ask(settings: Settings) -> Preflight:
    return preflight(settings, stop=threading.Event(), clock=FakeClock(CUTOFF))


def names(found: Preflight) -> list[str]:
    return [finding.name for finding in found.findings]


def test_a_clean_store_has_no_finding(tmp_path):
    """The whole way, the signal floor's child included."""
    rows = [
        sample.as_row()
        for sample in simulate(seed=SEED, n_samples=4000, until=CUTOFF, days=SIMULATED_DAYS * 2)
    ]
    found = ask(settings_for(store_of(tmp_path, rows)))

    assert names(found) == []
    assert not found.blocked
    assert found.signal is not None
    assert found.signal.p_value <= 0.05


def test_a_store_of_noise_shows_no_skill(tmp_path):
    """Everything about it is in order, but there is nothing to learn."""
    rows = simulated_rows(signal=0.0)
    found = ask(settings_for(store_of(tmp_path, rows)))

    assert names(found) == ["no_skill"]
    assert not found.blocked
    assert ask(settings_for(tmp_path / "store.db", signal_floor="block")).blocked
    assert names(ask(settings_for(tmp_path / "store.db", signal_floor="off"))) == []


NOT_WITH_LONG_WINDOWS = {"hardly an outcome", "outcomes that take weeks"}
"""Too few windows are left to distinguish the fault from having too few."""


@pytest.mark.parametrize("name", sorted(set(PLANTED) - NOT_WITH_LONG_WINDOWS))
def test_the_fault_is_named_first_in_a_store_on_disk(tmp_path, name):
    """Windows are longer than in the audits' own tests, and the rows have been through SQLite."""
    fault = PLANTED[name]
    features = fault.policy.get("features", ())
    settings = settings_for(
        store_of(tmp_path, fault.plant()), signal_floor="off", min_samples=50, features=features
    )
    found = ask(settings)

    assert names(found)[:1] == [fault.audit]
    assert found.blocked == fault.blocks


def test_an_architecture_that_erases_what_the_store_holds_is_refused(tmp_path):
    """It is said before a second is trained, and by the setting that chose the architecture."""
    store = store_of(tmp_path, [{**row, **still(row)} for row in clean()])
    asked = {"signal_floor": "off", "engine_loads": "serving"}
    assert not ask(settings_for(store, architecture="patchtst", **asked)).blocked
    found = ask(settings_for(store, architecture="patchtst-revin", **asked))

    assert names(found)[0] == "levels_erased"
    assert found.blocked


def still(row):
    """The first feature is a number of the symbol alone."""
    own = float(sum(row["symbol"].encode()))
    return {"features": orjson.dumps([own, *orjson.loads(row["features"])[1:]]).decode()}


def test_nine_features_fit_an_architecture_of_any_number(tmp_path):
    """Eight are the channels of the engine's network, not of every network."""
    nine = [{**row, **one_more(row)} for row in clean()]
    store = store_of(tmp_path, nine)
    assert names(ask(settings_for(store, signal_floor="off")))[0] == "too_many_features"
    found = ask(settings_for(store, signal_floor="off", engine_loads="serving", architecture="patchtst-mix"))
    assert names(found) == []


def one_more(row):
    values, own = orjson.loads(row["features"]), orjson.loads(row["feature_names"])
    values.append(float(np.sin(row["id"])))
    return {"features": orjson.dumps(values).decode(), "feature_names": orjson.dumps([*own, "sine"]).decode()}


def test_negative_holds_are_found_in_the_store_itself(tmp_path):
    """No training reads that column, but a writer that is wrong there is wrong elsewhere too."""
    negative = every(40, lambda row: {"hold_duration_seconds": -3600})
    # Closed within the second, unknown, or no number at all: none of these is negative.
    fine = {1: 0, 2: None, 3: "x"}
    rows = [
        {**row, **({"hold_duration_seconds": fine[row["id"]]} if row["id"] in fine else {})}
        for row in negative
    ]
    (finding,) = ask(settings_for(store_of(tmp_path, rows), signal_floor="off")).findings

    assert finding.name == "negative_holds"
    assert finding.rows == len(rows) // 40
    assert finding.sample_ids[:2] == (40, 80)


def test_preflight_writes_nothing(tmp_path):
    """It may be run on any store, at any time, by anybody who may read it."""
    store = store_of(tmp_path, clean())
    before = hashlib.sha256(store.read_bytes()).hexdigest(), store.stat().st_mtime_ns
    store.chmod(0o444)
    tmp_path.chmod(0o555)
    try:
        ask(settings_for(store, signal_floor="off"))
    finally:
        tmp_path.chmod(0o755)

    assert (hashlib.sha256(store.read_bytes()).hexdigest(), store.stat().st_mtime_ns) == before
    assert [path.name for path in tmp_path.iterdir()] == ["store.db"]


def test_the_document_is_json_with_the_fields_of_a_finding(tmp_path):
    """Programs read it."""
    settings = settings_for(store_of(tmp_path, PLANTED["windows of one repeated row"].plant()))
    document = orjson.loads(orjson.dumps(plain(preflight_document(ask(settings), settings))))

    finding = document["findings"][0]
    assert finding.items() >= {"name": "constant_windows", "severity": "BLOCK", "statistic": 1.0}.items()
    assert set(finding) >= {"threshold", "rows", "message", "next_step"}
    assert document["blocked"] is True
    assert document["signal"] is None
    assert document["samples"] == len(clean())
    assert document["splits"]["train"]["first"] < document["splits"]["test"]["first"]
    assert document["distributions"]["labels"]["train"]["label_1"] > 0
    assert set(document["seconds"]) == {"read", "audit", "signal", "total"}


def test_a1_a_store_that_is_none_is_an_error_of_its_own(tmp_path):
    """Findings are about data; here there is none."""
    (tmp_path / "empty.db").touch()
    with pytest.raises(DataError) as caught:
        ask(settings_for(tmp_path / "empty.db"))

    assert caught.value.code == "STORE_EMPTY"


@pytest.fixture(scope="module")
def month() -> Preflight:
    settings = Settings(store=SHARED_DATA / "quantum_trader.db", history_days=30)
    return preflight(settings, stop=threading.Event())


@pytest.mark.needs_shared_data
def test_the_month_is_told_as_it_is(month):
    """Outcomes against the profit, one moment with two outcomes, stale, and nothing to learn."""
    assert names(month) == [
        "outcome_contradicts_pnl",
        "conflicting_duplicates",
        "stale_store",
        "no_skill",
    ]
    by_name = {finding.name: finding for finding in month.findings}
    assert by_name["outcome_contradicts_pnl"].rows == 99
    assert len(by_name["outcome_contradicts_pnl"].sample_ids) == 99
    assert by_name["conflicting_duplicates"].rows > 1000
    assert "2025-12-30" in by_name["stale_store"].message
    assert "no linear or tree baseline shows skill" in by_name["no_skill"].message
    assert not month.blocked
    assert month.seconds["total"] < 10


@pytest.mark.needs_shared_data
def test_the_day_on_which_the_month_starves_is_told(month):
    """Counted back from the clock, thirty days hold fewer than a thousand of its windows from then on."""
    assert month.starves_at is not None
    assert f"{from_micros(month.starves_at):%Y-%m-%d}" == "2026-01-24"
    stale = next(finding for finding in month.findings if finding.name == "stale_store")
    assert "from 2026-01-24 on" in stale.message


@pytest.mark.needs_shared_data
def test_twenty_months_have_skill_and_nothing_to_block(long_store):
    """A store that can be learnt from must not be kept from it."""
    found = preflight(Settings(store=long_store), stop=threading.Event())

    assert all(finding.severity is Severity.WARN for finding in found.findings)
    assert "no_skill" not in names(found)
    assert found.signal is not None
    assert found.signal.p_value < 0.01
    assert found.seconds["total"] < 10
