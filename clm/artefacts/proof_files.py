"""What the parent asks of a proving child, and what it answers, as files of one directory.

Both sides import this; it needs no torch.
"""

from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import orjson

from clm.artefacts.files import replace_durably
from clm.artefacts.golden import GOLDEN_NAME, encode_golden
from clm.domain.proof import GoldenRows, Route, ServingProof
from clm.errors import TrainingError

ASK = "ask.json"
PROOF = "proof.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class ProofJob:
    """Which file is to be proven, as what, and where the files of the asking lie."""

    directory: Path
    weights_path: Path
    sha256: str
    architecture: str
    context_length: int
    n_features: int
    timeout_s: float


def write_ask(job: ProofJob, golden: GoldenRows) -> None:
    """Write ask.json and golden.npz into the job's directory, and remove an earlier answer.

    Raises:
        ArtefactError: DISK_FULL, READ_ONLY_FS, PERMISSION, IO_ERROR.
    """
    job.directory.mkdir(parents=True, exist_ok=True)
    (job.directory / PROOF).unlink(missing_ok=True)
    replace_durably(job.directory / GOLDEN_NAME, encode_golden(golden))
    replace_durably(job.directory / ASK, orjson.dumps(asdict(job), default=str))


def read_ask(directory: Path) -> ProofJob:
    """Return what `write_ask` wrote; the directory is where the files lie now.

    Raises:
        TrainingError: JOB_UNREADABLE.
    """
    try:
        plain = orjson.loads((directory / ASK).read_bytes())
        plain["directory"], plain["weights_path"] = directory, Path(plain["weights_path"])
        return ProofJob(**plain)
    except (OSError, ValueError, KeyError, TypeError) as exc:
        raise TrainingError("JOB_UNREADABLE", f"{directory} asks for no proof: {exc}") from exc


def write_proof(directory: Path, proof: ServingProof) -> None:
    """Write proof.json; the golden rows are the parent's own and are not repeated.

    Raises:
        ArtefactError: DISK_FULL, READ_ONLY_FS, PERMISSION, IO_ERROR.
    """
    document = {
        "sha256": proof.sha256,
        "size_bytes": proof.size_bytes,
        "weights_finite": proof.weights_finite,
        "routes": [asdict(route) for route in proof.routes],
        "predictions": proof.predictions,
        "p50_ms": proof.p50_ms,
        "p99_ms": proof.p99_ms,
        "p99_wall_ms": proof.p99_wall_ms,
    }
    replace_durably(directory / PROOF, orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY))


def read_proof(job: ProofJob, golden: GoldenRows) -> ServingProof:
    """Return the child's answer; it has to be about the bytes that were asked about.

    Raises:
        TrainingError: RESULT_INVALID.
    """
    try:
        document = orjson.loads((job.directory / PROOF).read_bytes())
        proof = ServingProof(
            sha256=str(document["sha256"]),
            size_bytes=int(document["size_bytes"]),
            weights_finite=document["weights_finite"] is True,
            golden=golden,
            routes=tuple(_route(route) for route in document["routes"]),
            predictions=int(document["predictions"]),
            p50_ms=_number(document["p50_ms"]),
            p99_ms=_number(document["p99_ms"]),
            p99_wall_ms=_number(document["p99_wall_ms"]),
        )
    except (OSError, ValueError, KeyError, TypeError) as exc:
        raise _invalid(job, str(exc) or type(exc).__name__) from exc
    if proof.sha256 != job.sha256:
        raise _invalid(job, f"it is about sha256 {proof.sha256[:12]}…, asked was {job.sha256[:12]}…")
    return proof


def _route(plain: dict[str, object]) -> Route:
    answers = plain["p_G"]
    return Route(
        name=str(plain["name"]),
        p_G=None if answers is None else np.array(answers, dtype=np.float64),  # null in it becomes NaN
        failed_because=str(plain["failed_because"]),
    )


def _number(plain: object) -> float:
    """Return a number; JSON has no NaN and says null."""
    return float("nan") if plain is None else float(plain)  # type: ignore[arg-type]  # what is none raises


def _invalid(job: ProofJob, why: str) -> TrainingError:
    return TrainingError(
        "RESULT_INVALID",
        f"the proving child ended well, its answer in {job.directory} cannot be used: {why}",
    )
