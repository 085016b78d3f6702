"""A complete proof pack of a rejected run, built from real domain values."""

from pathlib import Path

import numpy as np
import pytest

from clm.artefacts.manifest import Artefact, Lineage, Manifest
from clm.clock import iso
from clm.data.audits import Finding, Severity
from clm.data.dataset import build_dataset
from clm.data.floor import Floor, Skill
from clm.data.reading import parse_samples
from clm.domain.job import EpochReport, TrainingResult
from clm.evaluation.evaluate import rows_of, rows_of_part
from clm.evaluation.predictions import ScoredRows
from clm.gates.catalogue import judge
from clm.gates.decision import decide
from clm.report.proof_pack import ProofPack
from tests import builders
from tests.evaluation.builders import comparison

VERSION = "patchtst_v20260102_030405"


@pytest.fixture(scope="session")
def full_pack() -> ProofPack:
    """Return a complete pack of a noise model that was judged against a champion."""
    table = parse_samples(builders.raw_samples(), cutoff=builders.NOW, features=())
    dataset = build_dataset(table, builders.data_policy())
    test_rows = rows_of(dataset)
    p = np.random.default_rng(0).uniform(0.3, 0.7, len(test_rows))
    training = TrainingResult(
        weights_path=Path("job/model.pth"),
        file_sha256="f" * 64,
        weights_hash="w" * 64,
        n_parameters=612_481,
        best_epoch=1,
        stopped_because="no better validation log loss in 2 epochs",
        epochs=tuple(
            EpochReport(
                epoch=epoch,
                epochs=9,
                train_loss=0.7,
                validation_log_loss=0.69 + epoch / 100,
                validation_auroc=0.51,
                validation_p_win_std=0.03,
                seconds=4.25,
                best=epoch == 1,
            )
            for epoch in (1, 2, 3)
        ),
        seconds=13.0,
        p_candidate_N=p,
        p_logistic_N=np.full(len(p), 0.5),
        p_champion_N=1 - p,
        champion_absent_because="",
        notes={"device": "cpu", "threads": np.int64(1)},
    )
    validation = rows_of_part(dataset, dataset.split.validation)
    found = comparison(
        test_rows,
        p,
        p_champion_N=1 - p,
        p_trees_N=np.full(len(p), 0.5),
        base_rate=dataset.base_rate,
        validation=ScoredRows(rows=validation, p_N=p[: len(validation)]),
    )
    verdicts = judge(found, builders.gate_policy())
    decision = decide(verdicts)
    manifest = Manifest(
        version=VERSION,
        sha256="f" * 64,
        size_bytes=2_460_000,
        created_at=iso(builders.NOW),
        architecture="engine",
        context_length=128,
        feature_names=dataset.table.feature_names,
        decision=decision.kind.value,
        metrics={"auroc": found.candidate.auroc},
        lineage=Lineage(
            run_id="p07_20260102_030405_00000000",
            data_fingerprint=dataset.fingerprint,
            weights_hash="w" * 64,
            code_version="0.1",
            settings={"training": {"epochs": 9}},
            seed=7,
        ),
    )
    return ProofPack(
        run_id="p07_20260102_030405_00000000",
        started_at=iso(builders.NOW),
        completed_at=iso(builders.NOW),
        trigger="redis:quantum:stream:model.retrain",
        status="completed",
        dataset=dataset,
        findings=(
            Finding(
                name="stale_store",
                severity=Severity.WARN,
                statistic=20.0,
                threshold=14.0,
                rows=0,
                message="the newest sample is 20 days old",
                next_step="look whether the engine still writes",
            ),
        ),
        floor=Floor(
            skills={
                "logistic regression": Skill(auroc=0.52, p_value=0.3),
                "boosted trees": Skill(auroc=0.49, p_value=0.7),
            },
            n_rows=900,
            n_blocks=80,
        ),
        class_weights=True,
        training=training,
        comparison=found,
        verdicts=verdicts,
        decision=decision,
        artefact=Artefact(directory=Path("a"), model_path=Path("a/model.pth"), manifest=manifest),
        seconds={"read": 0.1, "train": 13.0, "total": 13.4},
    )
