"""Promotes a model of these words with what the installed settings say, and prints how it ended as JSON.

promote_as_qt.py VERSION WORDS [NAME=VALUE of the promotion's policy]...
promote_as_qt.py recover
"""

# ruff: noqa: T201  a program of its own

import hashlib
import json
import sys
import tempfile
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np

from clm import logs, wiring
from clm.artefacts.golden import encode_golden
from clm.artefacts.manifest import Lineage, Manifest
from clm.domain.load_check import GoldenRows
from clm.verbs.configuration import settings_for

QUICK = {
    "active_timeout_s": 5.0,
    "stable_s": 1.0,
    "poll_s": 0.1,
    "identity_grace_s": 0.5,
    "stopped_timeout_s": 1.0,
}


P_G = np.linspace(0.2, 0.8, 8)
LOGIT_G = np.log2(P_G / (1 - P_G))
"""The moody engine answers 1 / (1 + 2^-x) for a window whose first number is x."""
GOLDEN = encode_golden(
    GoldenRows(window_GLC=np.repeat(LOGIT_G[:, None, None], 128, axis=1).astype(np.float32), p_G=P_G)
)


def main(command: str, words: str = "", *changes: str) -> None:
    logs.configure("warning")
    settings = settings_for(None)
    given = dict(change.split("=", 1) for change in changes)
    values = {name: float(value) if name.endswith("_s") else value for name, value in given.items()}
    shipped = wiring.promotion_policy
    wiring.promotion_policy = lambda settings: replace(shipped(settings), **{**QUICK, **values})
    wired = wiring.wire(settings)
    if command == "recover":
        outcome = wired.promoter.recover()
    else:
        with tempfile.TemporaryDirectory() as directory:
            weights = Path(directory) / "weights.pth"
            weights.write_text(words)
            artefact = wired.registry.register(weights, manifest(command, words.encode()), GOLDEN)
        outcome = wired.promoter.promote(artefact, "p07_x")
    print(json.dumps(asdict(outcome) if outcome else None))


def manifest(version: str, content: bytes) -> Manifest:
    lineage = Lineage(
        run_id="p07_x", data_fingerprint=version, weights_hash="w", code_version="1", settings={}, seed=7
    )
    return Manifest(
        version=version,
        sha256=hashlib.sha256(content).hexdigest(),
        size_bytes=len(content),
        created_at="2026-03-01T12:00:00.000000Z",
        architecture="engine",
        context_length=128,
        feature_names=("rsi", "ma_cross"),
        decision="PROMOTE",
        metrics={},
        lineage=lineage,
        golden_sha256=hashlib.sha256(GOLDEN).hexdigest(),
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
