"""Evidence and policy of a run's verdicts, kept with the proof pack so that it can be judged again."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from clm.artefacts.files import replace_durably
from clm.artefacts.records import RecordError, decode_record, encode_record
from clm.errors import ArtefactError
from clm.evaluation.evaluation import Comparison
from clm.evaluation.evidence import Evidence, comparison_of
from clm.gates.catalogue import judge
from clm.gates.policy import GatePolicy
from clm.gates.verdict import GateVerdict

PREDICTIONS = "predictions.npz"


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """Evidence and the gate policy it was judged by."""

    evidence: Evidence
    gates: GatePolicy

    def comparison(self) -> Comparison:
        """Compute the metrics, using numpy only."""
        return comparison_of(self.evidence)

    def verdicts(self, comparison: Comparison) -> tuple[GateVerdict, ...]:
        """Return the verdict of every gate."""
        return judge(comparison, self.gates)


def write_judgement(directory: Path, judgement: Judgement) -> str:
    """Write predictions.npz durably and return its sha256.

    Raises:
        ArtefactError: DISK_FULL, READ_ONLY_FS, PERMISSION, IO_ERROR.
    """
    data = encode_record(judgement)
    replace_durably(directory / PREDICTIONS, data, mode=0o640)
    return hashlib.sha256(data).hexdigest()


def read_judgement(directory: Path) -> Judgement:
    """Return the evidence and gate policy of a run.

    Raises:
        ArtefactError: EVIDENCE_UNREADABLE.
    """
    path = directory / PREDICTIONS
    try:
        return decode_record(Judgement, path.read_bytes())
    except (OSError, RecordError) as exc:
        raise ArtefactError(
            "EVIDENCE_UNREADABLE",
            f"{path} does not hold what a run was judged on: {str(exc) or type(exc).__name__}; "
            "it was damaged, or is of another version of the program",
        ) from exc
