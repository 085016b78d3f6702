"""Every run leaves a proof pack, for machines and for people."""

import re
from dataclasses import replace

import numpy as np
import orjson
import pytest

from clm.data.audits import Finding, Severity
from clm.gates.catalogue import GATES
from clm.gates.decision import Decision, DecisionKind, refuse
from clm.ports import PromotionOutcome, PromotionState
from clm.report.markdown import cell
from clm.report.plain import plain
from clm.report.proof_pack import (
    ProofPack,
    as_document,
    as_json,
    as_markdown,
    gate_rows,
    metrics_side_by_side,
    summary_sentence,
)
from tests.report.conftest import VERSION

BARE = ProofPack(run_id="p07_x", started_at="2026-01-02T03:04:05.000000Z", trigger="schedule")
HOSTILE = "'; DROP | <script>alert(1)</script>\n# heading\x1b[31m `x`"
BLOCK = Finding(
    name="too_few_samples",
    severity=Severity.BLOCK,
    statistic=3,
    threshold=500,
    rows=3,
    message=f"3 samples of {HOSTILE}",
    next_step="wait",
)


def refused() -> ProofPack:
    """Return the pack of a run that was refused before training."""
    return replace(
        BARE, status="completed", findings=(BLOCK,), decision=refuse([BLOCK]), seconds={"total": 0.5}
    )


def broken() -> ProofPack:
    """Return the pack of a run that failed."""
    return replace(BARE, status="failed", error="TrainingError CHILD_KILLED: the child was killed")


def promoted(pack: ProofPack, state: PromotionState, reason: str = "") -> ProofPack:
    """Return the pack of a run whose decision was PROMOTE."""
    return replace(
        pack,
        decision=Decision(kind=DecisionKind.PROMOTE, reasons=("passed: skill",)),
        promotion=PromotionOutcome(
            state=state, version=VERSION, reason=reason, changes=("The line was rewritten.",)
        ),
    )


def table(markdown: str, heading: str) -> list[list[str]]:
    """Return the cells of the first table below a heading."""
    below = markdown.split(f"# {heading}\n", 1)[1].split("\n#", 1)[0]
    lines = [line for line in below.splitlines() if line.startswith("|")]
    return [[c.strip() for c in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]


class TestJson:
    """Programs read proof.json."""

    def test_has_the_same_keys_for_every_end_of_a_run(self, full_pack):
        """A program may read any section of any run."""
        keys = set(as_document(full_pack))
        assert keys >= {"summary", "data", "splits", "training", "metrics", "gates", "decision", "artefact"}
        for pack in (BARE, refused(), broken()):
            assert set(orjson.loads(as_json(pack))) == keys

    def test_is_the_same_bytes_for_the_same_pack(self, full_pack):
        """Proof packs can be compared and hashed."""
        assert as_json(full_pack) == as_json(full_pack)
        assert as_json(replace(full_pack, seconds=dict(reversed(full_pack.seconds.items())))) == as_json(
            full_pack
        )

    def test_says_null_where_a_figure_is_unknown(self, full_pack):
        """JSON has no NaN, and 0 would mislead readers."""
        unknown = replace(full_pack.comparison.candidate, auroc=float("nan"))
        pack = replace(full_pack, comparison=replace(full_pack.comparison, candidate=unknown))
        assert orjson.loads(as_json(pack))["metrics"]["candidate"]["auroc"] is None
        assert as_document(pack)["metrics"]["candidate"]["auroc"] is None

    def test_holds_every_figure_of_the_catalogue_for_all_four(self, full_pack):
        """Candidate, champion, base rate and both plain models are side by side."""
        metrics = orjson.loads(as_json(full_pack))["metrics"]
        for figures in (metrics["candidate"], metrics["champion"], *metrics["baselines"].values()):
            assert figures.keys() >= {
                "accuracy", "precision", "recall", "f1", "auroc", "log_loss", "brier", "ece",
                "confusion", "action_shares", "confidence", "trading", "auroc_by_symbol",
            }  # fmt: skip
        assert list(metrics["baselines"]) == ["base_rate", "logistic", "trees"]
        assert metrics["better_plain"] == "logistic"
        assert metrics["candidate"]["auroc_interval"].keys() >= {"low", "high", "n_blocks", "confidence"}
        assert metrics["log_loss_minus_champion"]["value"] is not None

    def test_reports_profit_by_symbol_and_with_other_thresholds(self, full_pack):
        """Profit is after costs, with the bounds that the gate judges."""
        metrics, found = orjson.loads(as_json(full_pack))["metrics"], full_pack.comparison
        candidate = metrics["candidate"]
        assert set(candidate["slices"]) == set(candidate["trading_by_symbol"]) == {"ADAUSDT", "BNBUSDT"}
        assert candidate["trading"]["turnover_per_day"] == found.candidate.trading.turnover_per_day
        assert candidate["net_return_per_trade"]["low"] == found.net_return_per_trade.low
        assert candidate["ece_by_chance"] == found.ece_by_chance
        best = metrics["thresholds"]["best"]
        assert 0.0 <= best["sell_below"] <= best["buy_above"] <= 1.0
        lines = table(as_markdown(full_pack), "Thresholds")[2:]
        assert [line[0] for line in lines] == ["validation", "validation", "test", "test"]
        assert lines[3][2] == f"{found.thresholds.test_best.n_trades:,}"

    def test_counts_data_and_splits(self, full_pack):
        """The counts of rows read, used and left out add up."""
        document = orjson.loads(as_json(full_pack))
        data, splits, dataset = document["data"], document["splits"], full_pack.dataset
        assert sum(data["symbols"].values()) == data["samples"] == len(dataset.table)
        used = sum(splits[part]["windows"] for part in ("train", "validation", "test"))
        assert used + splits["purged"] + splits["embargoed"] == data["windows"]
        assert splits["train"]["last"] < splits["validation"]["first"] < splits["test"]["first"]
        assert data["fingerprint"] == dataset.fingerprint

    def test_labels_are_reported_plain_and_weighted(self, full_pack):
        """Class weights change the weight of a row, not the number of rows; only training is weighted."""
        document = orjson.loads(as_json(full_pack))
        labels, splits = document["distributions"]["labels"], document["splits"]
        for name, part in labels.items():
            assert part["label_0"] + part["label_1"] == splits[name]["windows"]
            assert part["share_of_label_1"] == splits[name]["share_of_label_1"] != 0.5
            assert part["weighted_share_of_label_1"] == (0.5 if name == "train" else part["share_of_label_1"])
        unweighted = orjson.loads(as_json(replace(full_pack, class_weights=False)))
        train = unweighted["distributions"]["labels"]["train"]
        assert train["weighted_share_of_label_1"] == train["share_of_label_1"]

    def test_distributions_show_where_the_labels_come_from(self, full_pack):
        """Outcomes before any policy, symbols, and whether WIN follows the trade or the market."""
        distributions, dataset = as_document(full_pack)["distributions"], full_pack.dataset
        outcomes = distributions["outcomes"]
        labelled = int(dataset.table.labelled_R.sum())
        assert outcomes["WIN"] + outcomes["LOSS"] + outcomes["NEUTRAL"] == labelled
        windows = sum(part["windows"] for part in distributions["by_symbol"].values())
        assert windows == len(dataset.label_N)
        assert distributions["win_against_market"]["BUY"]["auroc"] > 0.95
        assert distributions["win_against_market"]["SELL"]["auroc"] < 0.05
        assert set(distributions["features"]) == set(dataset.feature_names)
        for figures in distributions["features"].values():
            assert figures["min"] <= figures["p10"] <= figures["p50"] <= figures["p90"] <= figures["max"]

    def test_the_floor_has_the_corrected_p_value(self, full_pack):
        """The better of two models is selected after both were seen."""
        floor = orjson.loads(as_json(full_pack))["signal"]
        assert floor["p_value"] == pytest.approx(0.6)
        assert floor["skills"]["logistic regression"] == {"auroc": 0.52, "p_value": 0.3}

    def test_gates_are_rows_with_reasons(self, full_pack):
        """The command line shows the same rows."""
        rows = orjson.loads(as_json(full_pack))["gates"]
        assert rows == gate_rows(full_pack.verdicts)
        assert [set(row) for row in rows] == [
            {"name", "status", "observed", "threshold", "reason", "would_pass"}
        ] * len(GATES)

    def test_without_a_comparison_there_are_no_metrics(self):
        """Without measurements the section is an empty object."""
        assert metrics_side_by_side(None) == {}


class TestMarkdown:
    """People read proof.md."""

    def test_a_full_pack_has_every_section(self, full_pack):
        """Sections follow the order of a run."""
        headings = re.findall(r"^##? (.+)$", as_markdown(full_pack), re.MULTILINE)
        assert headings == [
            "Run p07_20260102_030405_00000000",
            "Reasons",
            "Data",
            "Splits",
            "Distributions",
            "Floor",
            "Findings",
            "Training",
            "Metrics",
            "Gates",
            "Artefact",
            "Changes on the server",
        ]

    def test_every_table_has_as_many_cells_in_each_line_as_in_its_head(self, full_pack):
        """A line that is too short or too long breaks the table."""
        blocks = re.findall(r"(?:^\|.*\n)+", as_markdown(full_pack), re.MULTILINE)
        assert len(blocks) == 18
        for block in blocks:
            head, rule, *lines = block.splitlines()
            assert re.fullmatch(r"\|(-+:?\|)+", rule), rule
            assert {len(re.findall(r"(?<!\\)\|", line)) for line in (head, *lines)} == {rule.count("|")}

    def test_figures_are_in_their_columns(self, full_pack):
        """Each predictor has its own figures under its name."""
        head, _, *lines = table(as_markdown(full_pack), "Metrics")
        assert head == ["", "candidate", "champion", "base rate", "logistic", "trees"]
        auroc = next(line for line in lines if line[0] == "AUROC")
        c = full_pack.comparison
        expected = [c.candidate.auroc, c.champion.auroc, 0.5, 0.5, 0.5]
        assert auroc[1:] == [f"{figure:.4f}" for figure in expected]

    def test_the_confusion_matrix_adds_up_to_the_test_rows(self, full_pack):
        """Rows are actual outcomes, columns are predictions."""
        _, _, win, loss = table(as_markdown(full_pack), "Confusion matrix of the candidate")
        assert sum(int(n) for n in (*win[1:], *loss[1:])) == len(full_pack.comparison.rows)
        assert int(win[1]) == full_pack.comparison.candidate.confusion["true_positive"]
        assert int(loss[1]) == full_pack.comparison.candidate.confusion["false_positive"]

    def test_without_a_champion_its_column_is_missing_and_the_reason_shown(self, full_pack):
        """An empty column would look like a failed measurement."""
        alone = replace(full_pack.comparison, champion=None, champion_absent_because="none is named")
        alone = replace(alone, log_loss_minus_champion=None, net_return_minus_champion=None)
        text = as_markdown(replace(full_pack, comparison=alone))
        assert table(text, "Metrics")[0] == ["", "candidate", "base rate", "logistic", "trees"]
        assert "No champion for comparison: none is named." in text

    def test_unknown_figures_are_dashes(self, full_pack):
        """This holds even if all figures of a predictor are unknown."""
        from tests.evaluation.builders import comparison

        p = np.full(len(full_pack.comparison.rows), np.nan)
        text = as_markdown(replace(full_pack, comparison=comparison(full_pack.comparison.rows, p)))
        assert next(line for line in table(text, "Metrics") if line[0] == "log loss")[1] == "–"
        assert "nan" not in text.split("## Metrics")[1].split("## Gates")[0]

    def test_a_refused_run_names_its_finding_and_has_no_empty_sections(self):
        """A figure that was not measured is not shown as zero."""
        text = as_markdown(refused())
        assert "REFUSED before training: too_few_samples: 3 samples of" in text
        assert "too_few_samples" in table(text, "Findings")[2]
        assert "## Metrics" not in text
        assert "None: nothing was promoted." in text

    def test_a_failed_run_shows_its_error(self):
        """The error is one line with its code."""
        text = as_markdown(broken())
        assert "## Error\n\nTrainingError CHILD_KILLED: the child was killed" in text
        assert "**FAILED: TrainingError CHILD_KILLED" in text

    def test_changes_on_the_server_are_listed(self, full_pack):
        """Each change is one sentence, next to the end of the promotion."""
        text = as_markdown(promoted(full_pack, PromotionState.ROLLED_BACK, "the engine did not start"))
        assert "Promotion ROLLED_BACK: the engine did not start.\n\n- The line was rewritten." in text

    def test_b14_hostile_text_stays_in_its_cell(self):
        """Symbols and messages are untrusted text; they create no markup, no new line and no colour."""
        text = as_markdown(replace(refused(), trigger=HOSTILE, error=HOSTILE))
        assert "<script" not in text
        assert "\x1b" not in text
        assert "\n# heading" not in text
        assert {len(row) for row in table(text, "Findings")} == {7}


class TestSummary:
    """One sentence gives the decision, the reason and the effect on the engine."""

    def test_of_a_rejection_without_skill(self, full_pack):
        """AUROC and its interval are the evidence."""
        sentence = summary_sentence(full_pack)
        pattern = (
            rf"REJECT {VERSION}: AUROC 0\.\d{{3}} \(95 % 0\.\d\d–0\.\d\d\), "
            r"no skill \(spread bought without skill\).*; the champion stays\."
        )
        assert re.fullmatch(pattern, sentence), sentence

    def test_of_another_rejection_names_the_gates(self, full_pack):
        """Readers need to know which gates failed."""
        others = [v for v in full_pack.verdicts if v.name != "skill"]
        sentence = summary_sentence(replace(full_pack, verdicts=others))
        assert "fails beats_champion, calibration;" in sentence
        assert "no skill" not in sentence

    @pytest.mark.parametrize(
        ("state", "words"),
        [
            (PromotionState.COMMITTED, "the engine serves it."),
            (PromotionState.ABORTED, "the promotion ended ABORTED: no env file."),
        ],
    )
    def test_of_a_promotion_says_how_it_ended(self, full_pack, state, words):
        """The decision alone does not show whether the promotion succeeded."""
        sentence = summary_sentence(promoted(full_pack, state, "no env file"))
        assert sentence.startswith(f"PROMOTE {VERSION}: AUROC")
        assert sentence.endswith(words)

    def test_of_a_kept_champion(self, full_pack):
        """Nothing is gained, so nothing changes."""
        held = replace(full_pack, decision=Decision(kind=DecisionKind.KEEP, reasons=("same",)))
        assert summary_sentence(held).endswith("nothing gained; the champion stays.")

    def test_without_a_scored_champion_none_is_mentioned(self, full_pack):
        """The engine may have a model that could not be scored, or none."""
        alone = replace(full_pack, comparison=replace(full_pack.comparison, champion=None))
        assert summary_sentence(alone).endswith("the engine is unchanged.")

    def test_of_a_run_that_ended_early(self):
        """The sentence has only status and error."""
        assert summary_sentence(BARE) == "RUNNING: no decision yet"
        assert summary_sentence(broken()) == "FAILED: TrainingError CHILD_KILLED: the child was killed"


def test_a_value_without_a_plain_form_raises():
    """str() would hide the mistake in a proof pack."""
    with pytest.raises(TypeError, match="object has no plain form"):
        plain({"x": object()})


def test_arrays_enums_and_infinities_become_plain():
    """The result holds only JSON values."""
    assert plain({"a": np.array([1.5, np.inf]), "b": PromotionState.ABORTED, "c": (np.int8(1), True)}) == {
        "a": [1.5, None],
        "b": "ABORTED",
        "c": [1, True],
    }


def test_a_cell_keeps_ordinary_text():
    """Escaping does not change ordinary text."""
    assert cell("BTCUSDT 60.2 % (a - b) >= 0.5") == "BTCUSDT 60.2 % (a - b) >= 0.5"
