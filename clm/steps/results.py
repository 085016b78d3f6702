"""The records that the steps of a cycle return; a run keeps the latest of each type."""

from dataclasses import dataclass, field, replace
from typing import TypeVar

from clm.artefacts.judgement import Judgement
from clm.artefacts.manifest import Artefact
from clm.data.audits import Finding, blocked
from clm.data.dataset import DataPolicy, Dataset
from clm.data.floor import Floor
from clm.diagnosis import Diagnosis
from clm.domain.job import ChampionRef, TrainingJob, TrainingResult, TrainingSpec
from clm.domain.load_check import GoldenRows, LoadCheck
from clm.domain.tuning import Tuning
from clm.evaluation.evaluation import Comparison
from clm.gates.decision import Decision, DecisionKind
from clm.gates.verdict import GateStatus, GateVerdict
from clm.ports import PromotionOutcome, RunRow


@dataclass(frozen=True, slots=True, kw_only=True)
class Data:
    """The data set of a run and what is wrong with it."""

    dataset: Dataset
    findings: tuple[Finding, ...]
    class_weights: bool
    """Whether training gives both classes the same weight."""
    floor: Floor | None = None
    """The skill of plain models; None where it was not measured."""

    @property
    def is_blocked(self) -> bool:
        """Return whether a finding forbids training."""
        return blocked(self.findings)


@dataclass(frozen=True, slots=True, kw_only=True)
class Repetition:
    """What the decision depends on, and the run that decided on the same inputs."""

    champion: ChampionRef | None
    basis: str
    """sha256 of all inputs of the decision."""
    earlier: RunRow | None
    """None where an input changed, or where a person asked for the run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """A trained candidate that has not been judged."""

    job: TrainingJob
    dataset: Dataset
    training: TrainingResult
    golden: GoldenRows


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """A candidate after its one look at the test part."""

    trained: Trained
    judgement: Judgement
    comparison: Comparison
    verdicts: tuple[GateVerdict, ...]
    decision: Decision
    evidence_sha256: str
    """Of predictions.npz, from which the comparison and the verdicts can be computed again."""

    @property
    def repeatable(self) -> bool:
        """Return whether the same inputs give the same decision; a measured speed depends on the machine."""
        return not any(v.name == "budget" and v.status is GateStatus.FAIL for v in self.verdicts)


@dataclass(frozen=True, slots=True, kw_only=True)
class Registered:
    """A judged candidate in the registry, whatever the decision about it."""

    judged: Judged
    artefact: Artefact

    @property
    def is_rejected(self) -> bool:
        """Return whether a gate failed."""
        return self.judged.decision.kind is DecisionKind.REJECT

    @property
    def passed(self) -> bool:
        """Return whether the candidate may be promoted."""
        return self.judged.decision.kind is DecisionKind.PROMOTE

    @property
    def in_short(self) -> dict[str, object]:
        """Return the line of the report about a candidate that another one replaced."""
        candidate = self.judged.comparison.candidate
        return {
            "version": self.artefact.manifest.version,
            "decision": self.judged.decision.kind.value,
            "reasons": self.judged.decision.reasons,
            "auroc": candidate.auroc,
            "log_loss": candidate.log_loss,
            "p_win_std": candidate.confidence.std,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """The settings and data of the best trial; it has never seen a test row."""

    spec: TrainingSpec
    data: DataPolicy
    dataset: Dataset


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuned:
    """The trials after a rejection."""

    tuning: Tuning
    proposal: Proposal | None
    """None where no trial is worth a look at the test part."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Retried:
    """The two candidates of a run: the one that its report describes, and the other one."""

    kept: Registered
    lost: Registered


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """How a cycle ended: the decision, and the model and promotion if it came that far."""

    decision: Decision
    artefact: Artefact | None = None
    promotion: PromotionOutcome | None = None


Record = Data | Repetition | Trained | LoadCheck | Judged | Registered | Diagnosis | Tuned | Retried | Ending
"""What a step may return."""

R = TypeVar("R", bound=Record)


@dataclass(slots=True)
class Results:
    """The latest record of each type, and what they say about the candidate of the report.

    The report describes one candidate: the one that was judged last, or the one that a retry kept.
    predictions.npz is the evidence of the same candidate.
    """

    _by_type: dict[type, Record] = field(default_factory=dict)

    def keep(self, record: Record) -> None:
        """Keep a record in place of an earlier one of its type."""
        self._by_type[type(record)] = record

    def last(self, kind: type[R]) -> R | None:
        """Return the latest record of this type, None if no step returned one."""
        record = self._by_type.get(kind)
        return record if isinstance(record, kind) else None

    @property
    def judged(self) -> Judged | None:
        """Return the candidate of the report, None before one was judged."""
        retried = self.last(Retried)
        return retried.kept.judged if retried else self.last(Judged)

    @property
    def trained(self) -> Trained | None:
        """Return the training of the candidate of the report."""
        return self.judged.trained if self.judged else self.last(Trained)

    @property
    def artefact(self) -> Artefact | None:
        """Return where the candidate of the report is registered."""
        retried = self.last(Retried)
        registered = retried.kept if retried else self.last(Registered)
        return registered.artefact if registered and registered.judged is self.judged else None

    @property
    def dataset(self) -> Dataset | None:
        """Return the data set of the candidate of the report."""
        data = self.last(Data)
        return self.trained.dataset if self.trained else data.dataset if data else None

    @property
    def tuning(self) -> Tuning | None:
        """Return the trials, with the candidate that lost its place in the report."""
        tuned, retried = self.last(Tuned), self.last(Retried)
        if tuned is None or retried is None:
            return tuned.tuning if tuned else None
        return replace(tuned.tuning, lost=retried.lost.in_short)

    @property
    def basis(self) -> str | None:
        """Return the hash of the inputs, None if another run on them could decide differently."""
        repetition = self.last(Repetition)
        if repetition is None or (self.judged and not self.judged.repeatable):
            return None
        return repetition.basis
