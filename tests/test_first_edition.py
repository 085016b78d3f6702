"""What the first edition left on disk stays readable: see tests/fixtures/first_edition/README.md."""

import hashlib
import io
import json
import sqlite3
import tarfile
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest
import torch

from clm.artefacts.registry import DirectoryRegistry
from clm.children.ask import SubprocessAsker
from clm.children.trainer import SubprocessTrainer
from clm.clock import SystemClock
from clm.data.dataset import Dataset
from clm.domain.job import TrainingJob, TrainingResult, TrainingSpec
from clm.engine.env_file import parse
from clm.events import EVENTS
from clm.questions.train import TrainingArrays
from clm.settings import Settings, load_settings
from clm.steps.read import read_dataset
from clm.training.checkpoint import checkpoints_of
from clm.wiring import wire
from clm.wiring_engine import engine_of
from tests.cli.test_verbs import clm
from tests.fixtures.first_edition import make
from tests.training import jobs

FIXTURES = Path(make.__file__).parent
FACTS: dict[str, Any] = json.loads((FIXTURES / "facts.json").read_text())
PATH_COLUMNS = {
    "clm_runs": ("proof_path",),
    "clm_models": ("file_path",),
    "clm_promotions": ("candidate_path", "previous_path"),
}


@pytest.fixture
def place(tmp_path: Path) -> Iterator[make.Place]:
    """The state of the first edition, relocated; an engine that a recovery starts is ended."""
    with tarfile.open(FIXTURES / "root.tar.xz") as archive:
        archive.extractall(tmp_path)  # noqa: S202  our own archive
    place = make.Place(tmp_path / "root")
    relocate(place)
    yield place
    if (place.state / "engine.pid").exists():
        make.stop_engine(place)


def relocate(place: make.Place) -> None:
    """Replace the root of the machine that made the fixture, as README.md describes."""
    previous = place.engine_env.with_name("ai-engine.env.clm-previous")
    before = hashlib.sha256(previous.read_bytes()).hexdigest()
    for path in (place.engine_env, previous):
        path.write_text(path.read_text().replace(FACTS["root"], str(place.root)))
    config = place.engine_env.with_name("clm.env")
    config.write_text(make.SETTINGS.format(**make.own_settings(place)))
    with sqlite3.connect(place.store) as connection:
        for table, columns in PATH_COLUMNS.items():
            for column in columns:
                connection.execute(
                    f"UPDATE {table} SET {column} = replace({column}, ?, ?)", [FACTS["root"], str(place.root)]
                )
        connection.execute(
            "UPDATE clm_promotions SET env_sha256_before = ? WHERE is_open = 1 AND env_sha256_before = ?",
            [hashlib.sha256(previous.read_bytes()).hexdigest(), before],
        )
    connection.close()


def settings_of(place: make.Place, **changes: object) -> Settings:
    """Return the settings of the relocated fixture."""
    config = place.engine_env.with_name("clm.env")
    return load_settings(parse(config.read_bytes()), {"root": place.root, **changes})


@pytest.mark.parametrize("name", ["promoted", "rejected", "waiting"])
def test_a_run_of_the_first_edition_is_verified(place: make.Place, name: str) -> None:
    """Figures, verdicts and decision follow from the stored evidence to the last digit."""
    done = clm(place.root, "verify-run", FACTS[name], "--json")
    assert done.returncode == 0, done.stdout
    assert json.loads(done.stdout)["agrees"] is True


def test_the_ledger_of_the_first_edition_is_whole(place: make.Place) -> None:
    """Promoted, rejected, tried, held and refused: the hashes of all rows hold."""
    done = clm(place.root, "verify-ledger", "--json")
    found = json.loads(done.stdout)
    assert (done.returncode, found["rows"], found["whole"], found["heads"]) == (0, 7, True, 4)


def test_an_artefact_of_the_first_edition_is_served(place: make.Place) -> None:
    """A manifest, golden rows and weights that were registered then are read now."""
    registry = DirectoryRegistry(settings_of(place).artefacts_dir)
    for version in (FACTS["champion"], FACTS["candidate"]):
        artefact = registry.get(version)
        assert artefact.manifest.architecture == "patchtst-mix"
        assert artefact.golden_path is not None
    done = clm(place.root, "compare", FACTS["champion"], FACTS["candidate"], "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["rows"] > 0


def test_the_published_events_of_the_first_edition_have_the_fields_of_today() -> None:
    """The trading system reads these streams; names on the wire do not change."""
    streams = json.loads((FIXTURES / "events.json").read_text())
    assert len(streams) == 4
    known = {kind.event_type: kind for kind in EVENTS}
    for entries in streams.values():
        for _, envelope in entries:
            kind = known[envelope["event_type"]]
            payload = json.loads(envelope["payload"])
            assert set(payload) == {"event_type", *kind.__dataclass_fields__}


@pytest.mark.slow
def test_an_open_promotion_of_the_first_edition_is_brought_to_its_end(place: make.Place) -> None:
    """It was killed while its engine was being verified, and the environment file names the candidate."""
    wired = wire(settings_of(place))
    outcome = wired.promoter.recover()
    assert outcome is not None
    assert (outcome.version, outcome.state.value) == (FACTS["candidate"], "COMMITTED"), outcome.reason
    assert wired.log.open_promotion() is None
    served = engine_of(wired.settings).observe().model_path
    assert served == str(place.models / f"{FACTS['candidate']}.pth")
    assert json.loads(clm(place.root, "verify-ledger", "--json").stdout)["whole"] is True


@pytest.mark.slow
def test_a_study_of_the_first_edition_is_read_and_not_repeated(place: make.Place) -> None:
    """The same rejected cycle again: its two trials come from tuning.db."""
    proof = json.loads((place.state / "runs" / FACTS["rejected"] / "proof.json").read_bytes())
    done = clm(place.root, "run", "--json", "--no-promote", **{**CYCLE, **make.REJECTED})
    answer = json.loads(done.stdout)
    again = json.loads((place.state / "runs" / answer["run_id"] / "proof.json").read_bytes())
    assert len(again["tuning"]["trials"]) == 2
    assert again["tuning"]["trials"] == proof["tuning"]["trials"]


CYCLE = {"CLM_TRAINING__EPOCHS": "4"}
"""Settings that `tests.cli.test_verbs.clm` would otherwise change."""


def training(place: make.Place, directory: Path) -> tuple[TrainingJob, Dataset]:
    """Return the job that was interrupted, in another directory, and its data, read from the store again."""
    document = orjson.loads((place.state / "runs" / FACTS["interrupted"] / "job" / "job.json").read_bytes())
    wired = wire(settings_of(place))
    dataset = read_dataset(wired.world.source, None, wired.policies, SystemClock().now())
    assert dataset.fingerprint == document["data_fingerprint"]
    job = TrainingJob(
        run_id=FACTS["interrupted"],
        directory=directory,
        spec=TrainingSpec(**document["spec"]),
        context_length=document["context_length"],
        feature_names=tuple(document["feature_names"]),
        champion=None,
        timeout_s=120.0,
    )
    return job, dataset


def under_key(data: bytes, key: str) -> bytes:
    """Return the bytes of a checkpoint with another key; its code hash names one version only."""
    digest, rest = data[:32], data[32:]
    assert hashlib.sha256(rest).digest() == digest
    document = torch.load(io.BytesIO(rest), weights_only=True)
    assert set(document) == {"key", "fit"}
    buffer = io.BytesIO()
    torch.save({**document, "key": key}, buffer)
    return hashlib.sha256(buffer.getvalue()).digest() + buffer.getvalue()


def arrays_of(job: TrainingJob, dataset: Dataset) -> TrainingArrays:
    return jobs.arrays(dataset, job.directory.with_name(f"{job.directory.name}-arrays"))


def key_of(job: TrainingJob, dataset: Dataset) -> str:
    """Return the present key of a job's checkpoints."""
    kept = checkpoints_of(replace(job, checkpoints=Path()), arrays_of(job, dataset), lambda epoch: None)
    assert kept is not None
    return kept._key


def trained(job: TrainingJob, dataset: Dataset, kept: Path) -> TrainingResult:
    """Train in a child process; checkpoints lie in `kept`."""
    trainer = SubprocessTrainer(SubprocessAsker(), checkpoints=kept)
    return trainer.train(job, dataset, lambda report: None, threading.Event())


@pytest.mark.slow
def test_a_checkpoint_of_the_first_edition_is_resumed(place: make.Place, tmp_path: Path) -> None:
    """The rest of the epochs gives the weights of a training that was never interrupted."""
    job, dataset = training(place, tmp_path / "resumed")
    (old,) = (place.state / "checkpoints").iterdir()
    kept = tmp_path / "kept"
    kept.mkdir()
    key = key_of(job, dataset)
    (kept / f"{key[:16]}-network.checkpoint").write_bytes(under_key(old.read_bytes(), f"{key}-network"))

    resumed = trained(job, dataset, kept)
    assert resumed.notes["checkpoints"]["network"].startswith("resumed after epoch ")
    whole = trained(replace(job, directory=tmp_path / "whole"), dataset, tmp_path / "others")
    assert [epoch.epoch for epoch in resumed.epochs] == [epoch.epoch for epoch in whole.epochs]
    if make.arithmetic() == FACTS["arithmetic"]:
        assert resumed.weights_hash == whole.weights_hash
