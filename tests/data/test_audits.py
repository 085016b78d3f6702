"""Audits: each is silent on a clean store and speaks on the store that has its fault."""

import json
import random
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from clm.data.audits import AUDITS, Severity, audit
from clm.data.audits.leakage import feature_of_the_future
from clm.data.audits.windows import still_windows
from clm.data.windows import gather
from tests.data.planted import PLANTED, each, every
from tests.data.rows import CUTOFF, POLICY, dataset_of, simulated_rows

ROWS = simulated_rows()


def planted(name):
    fault = PLANTED[name]
    return dataset_of(fault.plant(), **fault.policy)


def not_finite():
    dataset = dataset_of(ROWS)
    features_RC = dataset.table.features_RC.copy()
    features_RC[5, 0] = np.nan
    return replace(dataset, table=replace(dataset.table, features_RC=features_RC))


def ask(name, dataset):
    (found,) = [finding for finding in audit(dataset, POLICY, CUTOFF) if finding.name == name]
    return found


def test_a_clean_store_raises_nothing():
    """An audit that always reports is useless."""
    assert audit(dataset_of(ROWS), POLICY, CUTOFF) == ()


@pytest.mark.parametrize("name", PLANTED)
def test_the_audit_for_the_fault_speaks_first(name):
    """The first line must name the cause, not a consequence."""
    findings = audit(planted(name), POLICY, CUTOFF)

    assert findings
    assert findings[0].name == PLANTED[name].audit
    assert (findings[0].severity is Severity.BLOCK) == PLANTED[name].blocks


@pytest.mark.parametrize("name", PLANTED)
def test_every_finding_is_one_line_with_a_figure_and_a_next_step(name):
    """An operator on call must know what to do."""
    for finding in audit(planted(name), POLICY, CUTOFF):
        assert "\n" not in finding.message
        assert finding.message
        assert finding.next_step
        assert np.isfinite([finding.statistic, finding.threshold]).all()


def test_every_audit_has_a_store_with_its_fault():
    """A new audit is tested as soon as it is listed: it has to bring the store that it is for."""
    # The reader refuses rows that are not finite; the audit guards the reader. Candles are not in the store.
    never_in_a_store = {
        "features_not_finite",
        *(ask_.__name__ for ask_ in AUDITS if "candles" in ask_.__module__),
    }
    # No fault of a store, but of a store and an architecture together.
    never_in_a_store |= {"levels_erased"}

    assert {ask_.__name__ for ask_ in AUDITS} - never_in_a_store == {
        fault.audit for fault in PLANTED.values()
    }
    assert len(PLANTED) >= 20


def test_b3_features_that_are_not_finite_block_should_the_reader_ever_let_one_pass():
    """One NaN poisons every weight it touches."""
    (finding,) = audit(not_finite(), POLICY, CUTOFF)

    assert finding.name == "features_not_finite"
    assert finding.severity is Severity.BLOCK


def test_b1_too_few_samples_says_how_many_are_needed():
    """The wording that the operators know."""
    finding = ask(
        "too_few_samples", dataset_of([{**row, "outcome_known": int(row["id"] <= 3)} for row in ROWS])
    )

    assert finding.message == "3 samples with a known outcome, need 100"


def test_b1_an_empty_store_is_blocked():
    """Nothing is not enough."""
    findings = audit(dataset_of([]), POLICY, CUTOFF)

    assert [finding.name for finding in findings] == ["too_few_samples", "single_class"]
    assert findings[0].message == "0 samples with a known outcome, need 100"


def test_b1_samples_without_enough_history_are_told_apart_from_missing_outcomes():
    """Waiting for trades to close would not help there."""
    finding = ask("too_few_samples", dataset_of(ROWS, context_length=310))

    assert "310 samples of their symbol" in finding.message
    assert finding.rows > 1400


def test_b2_many_bad_rows_block():
    """With more than 5 % bad rows, the writer is broken, and other rows may be wrong too."""
    finding = ask("bad_rows", dataset_of(every(10, lambda row: {"features": "null"})))

    assert finding.severity is Severity.BLOCK
    assert finding.statistic == pytest.approx(0.1)
    assert "features_missing 150" in finding.message


def test_a_refusal_shows_a_value_and_the_cure():
    """Counts alone send people to the wrong column, and waiting never repairs a column."""
    dataset = dataset_of(each(lambda row: {"timestamp": "30.12.2025 21:14"}))
    shown = {finding.name: finding for finding in audit(dataset, POLICY, CUTOFF)}

    assert "bad_timestamp 1,500 (such as '30.12.2025 21:14')" in shown["bad_rows"].message
    assert "write times as 2025-12-30 21:14:40" in shown["bad_rows"].next_step
    assert "waiting does not help" in shown["too_few_samples"].next_step


def test_b2_a_handful_of_bad_rows_is_no_finding():
    """One percent or less is counted and shown, no more."""
    dataset = dataset_of(every(150, lambda row: {"features": "null"}))

    assert dataset.table.rejected == {"features_missing": 10}
    assert audit(dataset, POLICY, CUTOFF) == ()


def test_too_many_features_says_which_setting_to_use():
    """The wording that the operators know."""
    finding = ask("too_many_features", planted("eleven features"))

    assert finding.message == "the store has 11 features, the architecture takes 8"
    assert finding.next_step == "name 8 in CLM_FEATURES"


NORMALISING = replace(POLICY, erases_levels=True)


def standing_still(share):
    """A store in which the first feature of so many windows is a level of its own, the same at each step."""
    dataset = dataset_of(ROWS)
    windows, random = dataset.windows, np.random.default_rng(1)
    steps_MC = windows.steps_MC.copy()
    # A level for each run of rows: a window within one run stands still.
    runs = len(steps_MC) // round(windows.context_length / (1 - share))
    level_of_run = np.sort(random.integers(0, len(steps_MC), runs))
    steps_MC[:, 0] = np.searchsorted(level_of_run, np.arange(len(steps_MC)))
    return replace(dataset, windows=replace(windows, steps_MC=steps_MC))


def test_static_inputs_are_refused_where_the_architecture_normalises_windows():
    """It would train on nothing of them, and the gates would reject it without knowing why."""
    assert audit(dataset_of(ROWS), NORMALISING, CUTOFF) == ()
    dataset = standing_still(0.9)
    assert not any(finding.name == "levels_erased" for finding in audit(dataset, POLICY, CUTOFF))
    (finding,) = [found for found in audit(dataset, NORMALISING, CUTOFF) if found.name == "levels_erased"]
    assert finding.severity is Severity.BLOCK
    assert finding.message.startswith(f"{dataset.feature_names[0]} stand still")
    assert 0.5 < finding.statistic < 1.0


def test_what_is_held_over_a_window_is_refused_there_too():
    """With candle windows, a feature of the sample has one value for the whole window."""
    dataset = dataset_of(ROWS)
    held = replace(
        dataset.windows,
        held_K=np.array([2]),
        held_NK=np.random.default_rng(2).normal(size=(len(dataset.windows.end_N), 1)),
    )
    dataset = replace(dataset, windows=held)
    assert not any(finding.name == "levels_erased" for finding in audit(dataset, POLICY, CUTOFF))
    (finding,) = [found for found in audit(dataset, NORMALISING, CUTOFF) if found.name == "levels_erased"]
    assert finding.message.startswith(f"{dataset.feature_names[2]} stand still")
    assert finding.statistic == 1.0


def test_unknown_features_are_named():
    """A mistyped name is found by reading the finding alone."""
    finding = ask("unknown_features", planted("a feature that nobody writes"))

    assert "rsi_14" in finding.message
    assert "bb_position" in finding.message


def test_b9_features_that_are_all_constant_block():
    """There is nothing to learn from at all."""
    dataset = planted("all features stand still")
    names = [finding.name for finding in audit(dataset, POLICY, CUTOFF)]

    assert "constant_features" in names
    assert ask("constant_features", dataset).severity is Severity.BLOCK


def test_windows_that_repeat_one_row_are_measured():
    """The share of (window, feature) pairs without variance over time is the evidence."""
    finding = ask("constant_windows", planted("windows of one repeated row"))

    assert finding.statistic == 1.0
    assert finding.severity is Severity.BLOCK


def test_windows_are_measured_as_they_are():
    """The figure comes from run lengths; gathering every window must give the same."""
    steps = random.Random(3)
    held = {}

    def hold(row, features):
        kept = held.setdefault(row["symbol"], dict(features))
        for name, value in features.items():
            if steps.random() < 0.1:
                kept[name] = value
        return dict(kept)

    ordered = sorted(ROWS, key=lambda row: (row["timestamp"], row["id"]))
    names = json.loads(ROWS[0]["feature_names"])
    dataset = dataset_of(
        {**row, "features": json.dumps(hold(row, dict(zip(names, json.loads(row["features"]), strict=True))))}
        for row in ordered
    )
    x_NLC = gather(dataset.table.features_RC, dataset.row_N, dataset.context_length)
    still_NC = (x_NLC == x_NLC[:, :1]).all(axis=1)

    assert 0 < still_NC.mean() < 1
    np.testing.assert_array_equal(still_windows(dataset), still_NC)


def test_b8_outcomes_that_contradict_the_profit_are_counted_with_the_money_at_stake():
    """A label that says WIN where money was lost teaches the loss."""
    finding = ask("outcome_contradicts_pnl", planted("a few outcomes against the profit"))
    wrong = [row["id"] for row in ROWS if row["id"] % 100 == 0 and row["target_class"] in ("WIN", "LOSS")]

    assert finding.rows == len(wrong)
    assert f"{1.3 * len(wrong):.2f} at stake" in finding.message
    assert f"samples {wrong[0]}, {wrong[1]}" in finding.message


def test_a_stale_store_is_told_with_its_date():
    """A model of last year's market looks healthy in every other figure."""
    finding = ask("stale_store", planted("no samples any more"))

    assert "2025-12-2" in finding.message
    assert "8 days ago" in finding.message


def test_blocks_come_first():
    """What ended the cycle is read first, also where a warning stands nearer to the cause."""
    broken = [
        {**row, **({"features": "[NaN]"} if row["id"] % 50 == 0 else {})}
        for row in PLANTED["windows of one repeated row"].plant()
    ]
    found = [(finding.name, finding.severity) for finding in audit(dataset_of(broken), POLICY, CUTOFF)]

    assert found == [("constant_windows", Severity.BLOCK), ("bad_rows", Severity.WARN)]


def with_first_feature(dataset, first_N):
    steps_MC = dataset.windows.steps_MC.copy()
    steps_MC[dataset.windows.end_N, 0] = first_N
    return replace(dataset, windows=replace(dataset.windows, steps_MC=steps_MC))


@pytest.mark.parametrize(("foresight", "guilty"), [(0.33, False), (0.75, True)])
def test_a_forecast_is_no_leak_until_it_is_half_as_good_as_hindsight(foresight, guilty):
    """A valid feature predicts the next move far less than it describes the last one."""
    dataset, rng = dataset_of(ROWS), np.random.default_rng(2)
    table, row_N = dataset.table, dataset.row_N
    symbol_N, decided_N, resolved_N = (
        column[row_N] for column in (table.symbol_R, table.decided_at_R, table.resolved_at_R)
    )
    move_N = table.market_return_R[row_N] / table.market_return_R[row_N].std()
    last_N = rng.normal(size=len(row_N))
    for window in range(len(row_N)):
        after = np.flatnonzero((symbol_N == symbol_N[window]) & (decided_N >= resolved_N[window]))
        if len(after):
            last_N[after[0]] = move_N[window]
    noise_N = rng.normal(size=len(row_N))
    first_N = foresight * move_N + np.sqrt(1 - foresight**2) * (0.97 * last_N + 0.24 * noise_N)
    found = feature_of_the_future(with_first_feature(dataset, first_N), POLICY, CUTOFF)

    assert (found is not None) is guilty


def test_every_audit_is_documented_in_the_order_of_its_rank():
    """A reader of a finding can look up its threshold and reason."""
    document = (Path(__file__).parents[2] / "docs/reference/findings.md").read_text(encoding="utf-8")
    documented = re.findall(r"^\| `([a-z_]+)` \|", document, re.MULTILINE)

    assert documented == [*(ask_.__name__ for ask_ in AUDITS), "negative_holds", "no_skill"]
