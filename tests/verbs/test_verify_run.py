"""A run can be judged again by anybody, and whatever was touched since is found."""

import shutil
import sqlite3
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import orjson
import pytest

from clm.artefacts.judgement import PREDICTIONS, read_judgement, write_judgement
from clm.clock import SystemClock
from clm.errors import TrainingError, UsageError
from clm.gates.decision import DecisionKind
from clm.settings import Settings, load_settings
from clm.store.create import create_store
from clm.store.migrate import migrate
from clm.store.runs import SqliteJournal
from clm.verbs.verify_run import RECOMPUTED, verify_run
from tests.fakes import oracle
from tests.test_cycle import Case, FakeLoader


class Made:
    """A run in a real store, with its proof pack, its evidence and its model."""

    def __init__(self, root: Path, strength: float = 1.2) -> None:
        self.settings = settings_in(root)
        create_store(self.settings.store)
        migrate(self.settings.store)
        case = Case(self.settings.state_dir)
        case.journal = SqliteJournal(self.settings.store, SystemClock())
        case.trainer.predict = oracle(strength)
        case.trainer.predict_champion = oracle(0.4, seed=5)
        case.loader = FakeLoader(0.0)
        self.report = case.run()
        self.run_id = self.report.run_id

    def copy(self, root: Path) -> "Made":
        """Return the same run somewhere else, to be spoilt."""
        shutil.copytree(self.settings.store.parent, root)
        other = Made.__new__(Made)
        other.settings, other.report, other.run_id = settings_in(root), self.report, self.run_id
        return other

    @property
    def directory(self) -> Path:
        return self.settings.runs_dir / self.run_id

    def faults(self) -> dict[str, str]:
        """Return what does not agree, by name."""
        checks = verify_run(self.settings, self.run_id)
        return {check.name: check.message for check in checks if not check.agrees}


def settings_in(root: Path) -> Settings:
    """Return settings of a store and a state directory below one root."""
    root.mkdir(parents=True, exist_ok=True)
    return load_settings(None, {"store": root / "store.db", "state_dir": root})


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """A promoted run."""
    return Made(tmp_path_factory.mktemp("made"))


def rewrite(path: Path, change: Callable[[dict[str, object]], object]) -> None:
    """Change a JSON file as somebody would who knows how it is written."""
    document = orjson.loads(path.read_bytes())
    change(document)
    path.write_bytes(orjson.dumps(document, option=orjson.OPT_SORT_KEYS | orjson.OPT_INDENT_2) + b"\n")


@pytest.mark.parametrize(("strength", "decision"), [(1.2, DecisionKind.PROMOTE), (0.0, DecisionKind.REJECT)])
def test_figures_verdicts_and_decision_are_computed_again_to_the_last_digit(tmp_path, strength, decision):
    """From the predictions next to the proof pack, with numpy alone."""
    run = Made(tmp_path, strength)
    assert run.report.decision.kind is decision
    checks = verify_run(run.settings, run.run_id)
    assert [check.name for check in checks if not check.agrees] == []
    files = {"ledger", "proof.json", "proof.md", PREDICTIONS, "artefact"}
    assert {check.name for check in checks} == files | set(RECOMPUTED)


SPOILS: dict[str, tuple[Callable[[Made], object], set[str]]] = {
    "a figure in proof.json": (
        lambda run: rewrite(
            run.directory / "proof.json",
            lambda d: d["metrics"]["candidate"].update(auroc=d["metrics"]["candidate"]["auroc"] + 1e-15),
        ),
        {"proof.json", "metrics"},
    ),
    "a verdict in proof.json": (
        lambda run: rewrite(run.directory / "proof.json", lambda d: d["gates"][4].update(status="FAIL")),
        {"proof.json", "gates"},
    ),
    "the decision in proof.json": (
        lambda run: rewrite(run.directory / "proof.json", lambda d: d.update(decision="REJECT")),
        {"proof.json", "ledger", "decision"},
    ),
    "proof.md": (
        lambda run: (run.directory / "proof.md").write_text("# All is well\n"),
        {"proof.md"},
    ),
    "proof.md is gone": (lambda run: (run.directory / "proof.md").unlink(), {"proof.md"}),
    "the evidence is gone": (lambda run: (run.directory / PREDICTIONS).unlink(), {PREDICTIONS, "recomputed"}),
    "the evidence is torn": (
        lambda run: (run.directory / PREDICTIONS).write_bytes(
            (run.directory / PREDICTIONS).read_bytes()[:999]
        ),
        {PREDICTIONS, "recomputed"},
    ),
    "the model": (
        lambda run: next(run.settings.artefacts_dir.glob("*/model.pth")).write_bytes(b"weightz"),
        {"artefact"},
    ),
}


@pytest.mark.parametrize("what", SPOILS)
def test_e13_whatever_is_touched_is_found(made, tmp_path, what):
    """Each file is held against a hash that lies elsewhere, each figure against the predictions."""
    spoil, faults = SPOILS[what]
    run = made.copy(tmp_path / "run")
    assert run.faults() == {}
    spoil(run)
    assert set(run.faults()) == faults


def test_e13_one_prediction_that_was_changed_changes_the_figures(made, tmp_path):
    """Even if its hash was also written into the proof pack, the figures differ."""
    run = made.copy(tmp_path / "run")
    judgement = read_judgement(run.directory)
    p = judgement.evidence.p_candidate_N.copy()
    p[0] += 1e-9
    spoilt = replace(judgement, evidence=replace(judgement.evidence, p_candidate_N=p))
    sha256 = write_judgement(run.directory, spoilt)
    rewrite(run.directory / "proof.json", lambda d: d.update(evidence_sha256=sha256))
    faults = run.faults()
    assert {"proof.json", "metrics"} <= set(faults)
    assert "computed again it is" in faults["metrics"]


def test_a_row_of_the_ledger_that_was_changed_is_found(made, tmp_path):
    """The hash of the proof pack is worth what the row is worth that holds it."""
    run = made.copy(tmp_path / "run")
    with sqlite3.connect(run.settings.store) as connection:
        triggers = connection.execute("SELECT name FROM sqlite_master WHERE type='trigger'").fetchall()
        for (name,) in triggers:
            connection.execute(f'DROP TRIGGER "{name}"')
        connection.execute("UPDATE clm_ledger SET reason = 'because' WHERE subject = ?", [run.run_id])
    connection.close()
    assert set(run.faults()) == {"ledger"}


def test_a_model_that_is_no_longer_kept_is_no_fault(made, tmp_path):
    """Rejected models are removed in time; what was judged can still be judged again."""
    run = made.copy(tmp_path / "run")
    shutil.rmtree(run.settings.artefacts_dir)
    assert run.faults() == {}


def test_a_run_that_ended_before_anything_was_judged_has_its_files_checked(tmp_path):
    """Refused in a second: there is a proof pack, a row of the ledger, and nothing to compute."""
    settings = settings_in(tmp_path)
    create_store(settings.store)
    migrate(settings.store)
    case = Case(settings.state_dir)
    case.journal = SqliteJournal(settings.store, SystemClock())
    case.brake.answers = ["quantum:learning:frozen is 1"]
    report = case.run()
    checks = verify_run(settings, report.run_id)
    assert [check.name for check in checks] == ["ledger", "proof.json", "proof.md"]
    assert all(check.agrees for check in checks)


@pytest.mark.parametrize("run_id", ["p07_20260101_000000_00000000", "../../etc", ""])
def test_an_unknown_run_is_a_usage_error(made, run_id):
    """And never a path out of the runs' directory."""
    with pytest.raises(UsageError, match="RUN_UNKNOWN"):
        verify_run(made.settings, run_id)


def test_e13_figures_of_the_child_that_are_not_ours_end_the_run(tmp_path):
    """One of the two read other rows or another formula; neither can be believed."""
    case = Case(tmp_path)
    train = case.trainer.train

    def lying(*arguments: object) -> object:
        return replace(train(*arguments), figures={"candidate": {"auroc": 0.9}})

    case.trainer.train = lying
    with pytest.raises(TrainingError, match=r"auroc of the candidate is 0\.9 in the child") as caught:
        case.run()
    assert caught.value.code == "FIGURES_DIFFER"
    assert "FIGURES_DIFFER" in case.proof["error"]
