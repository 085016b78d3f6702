"""Verify a run: judge it again from its files, and compare every file with its hash."""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from clm.artefacts.files import sha256_of
from clm.artefacts.judgement import PREDICTIONS, read_judgement
from clm.artefacts.registry import DirectoryRegistry
from clm.clock import SystemClock
from clm.domain.chain import hash_of
from clm.domain.ledger import LedgerKind
from clm.errors import ArtefactError, UsageError
from clm.gates.decision import DecisionKind, decide
from clm.report.proof_pack import ProofPack, as_document
from clm.settings import Settings
from clm.store.contract import check_contract
from clm.store.runs import SqliteJournal

RECOMPUTED = ("metrics", "attempt", "gates", "decision")
"""Sections of proof.json that can be computed from predictions.npz alone."""
SENTENCES = frozenset({"reason", "would_pass"})
"""Another version may word a verdict differently; the hash of proof.json protects what was written."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunCheck:
    """One comparison."""

    name: str
    agrees: bool
    message: str


def verify_run(settings: Settings, run_id: str) -> tuple[RunCheck, ...]:
    """Return every check of a run; nothing is written.

    Raises:
        UsageError: RUN_UNKNOWN.
        DataError: the store cannot be read.
    """
    check_contract(settings.store)
    directory = settings.runs_dir / Path(run_id).name
    try:
        data = (directory / "proof.json").read_bytes()
        proof = orjson.loads(data)
    except (OSError, orjson.JSONDecodeError) as exc:
        raise UsageError(
            "RUN_UNKNOWN", f"{directory} has no proof pack that can be read; `clm runs` lists the runs"
        ) from exc
    return tuple(_checks(settings, directory, data, proof))


def _checks(settings: Settings, directory: Path, data: bytes, proof: Mapping[str, Any]) -> Iterator[RunCheck]:
    yield from _recorded(settings, directory, hashlib.sha256(data).hexdigest(), proof)
    if proof.get("gates"):
        sha256 = _sha256_of(directory / PREDICTIONS)
        yield _hashed(PREDICTIONS, sha256, proof.get("evidence_sha256"), "proof.json")
        yield from _recomputed(directory, proof)
    if proof.get("artefact"):
        yield _artefact(settings, proof["artefact"])


def _recorded(
    settings: Settings, directory: Path, sha256: str, proof: Mapping[str, Any]
) -> Iterator[RunCheck]:
    """Compare proof.json and proof.md with the ledger; `clm verify-ledger` verifies the ledger itself."""
    row = SqliteJournal(settings.store, SystemClock()).ledger_row(LedgerKind.RUN, directory.name)
    if row is None:
        yield _check("ledger", False, f"the ledger has no row for {directory.name}")
        return
    says, decision = orjson.loads(row.facts), proof["decision"] or str(proof["status"]).upper()
    entry = f"row {row.seq} of the ledger"
    if hash_of(row) != row.sha256:
        yield _check("ledger", False, f"{entry} was changed; see `clm verify-ledger`")
    elif row.outcome != decision:
        yield _check("ledger", False, f"{entry} says {row.outcome}, proof.json {decision}")
    else:
        yield _check("ledger", True, f"{entry} says {row.outcome}, and so does proof.json")
    yield _hashed("proof.json", sha256, says.get("proof_sha256"), "the ledger")
    yield _hashed("proof.md", _sha256_of(directory / "proof.md"), says.get("proof_md_sha256"), "the ledger")


def _recomputed(directory: Path, proof: Mapping[str, Any]) -> Iterator[RunCheck]:
    """Measure, judge and decide again; floats are compared exactly."""
    try:
        judgement = read_judgement(directory)
    except ArtefactError as error:
        yield _check("recomputed", False, error.message)
        return
    comparison = judgement.comparison()
    verdicts = judgement.verdicts(comparison)
    pack = ProofPack(
        run_id=directory.name,
        started_at="",
        trigger="",
        comparison=comparison,
        verdicts=verdicts,
        decision=decide(verdicts),
    )
    # Convert through JSON like the proof: NaN is null on both sides.
    again = orjson.loads(orjson.dumps(as_document(pack)))
    if proof.get("decision") == "HOLD":  # packs of 0.1
        proof = {**proof, "decision": DecisionKind("HOLD").value}
    for section in RECOMPUTED:
        differences = list(_differences(proof.get(section), again[section], section))
        shown = "; ".join(differences[:3]) + (f" and {len(differences) - 3} more" if differences[3:] else "")
        yield _check(section, not differences, shown or f"{section} agree to the last digit")


def _differences(stored: object, again: object, path: str) -> Iterator[str]:
    """Yield a sentence for each difference; a figure that an earlier version did not report is none."""
    if isinstance(stored, dict) and isinstance(again, dict) and stored.keys() <= again.keys():
        for name in stored.keys() - SENTENCES:
            yield from _differences(stored[name], again[name], f"{path}.{name}")
    elif isinstance(stored, list) and isinstance(again, list) and len(stored) == len(again):
        for n, (one, other) in enumerate(zip(stored, again, strict=True)):
            yield from _differences(one, other, f"{path}[{n}]")
    elif stored != again or type(stored) is not type(again):
        yield f"{path} is {stored!r}, computed again it is {again!r}"


def _artefact(settings: Settings, proof: Mapping[str, Any]) -> RunCheck:
    """Compare the model with its manifest and the proof; a removed model passes."""
    try:
        sha256 = (
            DirectoryRegistry(settings.artefacts_dir, line=settings.line)
            .get(proof["version"])
            .manifest.sha256
        )
    except ArtefactError as error:
        gone = error.code == "ARTEFACT_MISSING"
        return _check("artefact", gone, f"{proof['version']} is no longer kept" if gone else error.message)
    if sha256 != proof["sha256"]:
        return _check("artefact", False, f"the model is another, of sha256 {sha256}")
    return _check("artefact", True, "the model is the one that was judged")


def _sha256_of(path: Path) -> str:
    """Return a file's hash, or why it cannot be read."""
    try:
        return sha256_of(path)
    except ArtefactError as error:
        return error.message


def _hashed(name: str, found: str, recorded: object, by: str) -> RunCheck:
    if found == recorded:
        return _check(name, True, f"sha256 is the one that {by} holds")
    return _check(name, False, f"sha256 is {found}, {by} holds {recorded or 'none'}")


def _check(name: str, agrees: bool, message: str) -> RunCheck:
    return RunCheck(name=name, agrees=agrees, message=message)
