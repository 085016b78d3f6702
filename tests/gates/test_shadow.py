"""Gates 3 and 4: the record in shadow mode decides on activation."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clm.clock import HOUR, SECOND
from clm.evaluation.shadow import BUCKETS, Bucket, Intent, Outcome, ShadowRecord, measure, record_of, trend
from clm.gates.catalogue import judge
from clm.gates.shadow import judge_shadow
from clm.gates.verdict import GateStatus
from tests.builders import gate_policy
from tests.evaluation.builders import comparison, market

VERSION = "patchtst_v20260109_233444"
AT = 1_760_000_000_000_000


def record(
    action: object, ensemble: object, confidence: object = 0.7, hit: object = math.nan
) -> ShadowRecord:
    """Return a record of events one second apart; a scalar applies to every event."""
    action_N = np.asarray(action, dtype=np.int8)
    n = len(action_N)
    return ShadowRecord(
        version=VERSION,
        at_N=AT + SECOND * np.arange(n),
        action_N=action_N,
        ensemble_N=np.broadcast_to(np.asarray(ensemble, dtype=np.int8), n),
        confidence_N=np.broadcast_to(np.asarray(confidence, dtype=np.float64), n),
        hit_N=np.broadcast_to(np.asarray(hit, dtype=np.float64), n),
    )


def agreeing(alike: int, against: int, hold: int) -> ShadowRecord:
    """Return events in which the ensemble says BUY; the counts are the model's BUY, SELL and HOLD."""
    return record([1] * alike + [-1] * against + [0] * hold, 1)


def hits(*buckets: tuple[float, int, int]) -> ShadowRecord:
    """Return events with these confidences: (confidence, events, hits)."""
    confidence = np.concatenate([np.full(n, c) for c, n, _ in buckets])
    hit = np.concatenate([np.arange(n) < right for _, n, right in buckets])
    return record(np.ones(len(hit)), 1, confidence, hit.astype(float))


@pytest.mark.parametrize(
    ("events", "status"),
    [
        ((130, 20, 50), GateStatus.PASS),
        ((110, 49, 41), GateStatus.PASS),
        ((150, 20, 30), GateStatus.PASS),
        ((109, 20, 71), GateStatus.FAIL),
        ((120, 50, 30), GateStatus.FAIL),
        ((151, 20, 29), GateStatus.DEFER),
        ((170, 20, 10), GateStatus.DEFER),
        ((171, 20, 9), GateStatus.FAIL),
        ((200, 0, 0), GateStatus.FAIL),
        ((150, 50, 0), GateStatus.FAIL),
        ((130, 20, 49), GateStatus.DEFER),
        ((0, 0, 0), GateStatus.DEFER),
    ],
)
def test_agreement_has_to_be_between_sanity_and_copying(
    events: tuple[int, int, int], status: GateStatus
) -> None:
    """From 200 events on: 55 to 75 % pass, up to 85 % defer, 25 % of BUY against SELL fail."""
    verdict, _ = judge_shadow(agreeing(*events))
    assert verdict.status is status
    assert bool(verdict.would_pass) is (status is not GateStatus.PASS)


@pytest.mark.parametrize(
    ("buckets", "status"),
    [
        (((0.55, 100, 45), (0.62, 100, 55), (0.67, 100, 65), (0.75, 100, 75)), GateStatus.PASS),
        (((0.55, 100, 75), (0.62, 100, 65), (0.67, 100, 55)), GateStatus.FAIL),
        (((0.55, 100, 45), (0.62, 100, 70), (0.67, 100, 60)), GateStatus.FAIL),
        (((0.55, 100, 50), (0.62, 100, 50), (0.67, 100, 50)), GateStatus.FAIL),
        (((0.55, 100, 50), (0.62, 100, 51), (0.67, 100, 52)), GateStatus.DEFER),
        (((0.55, 100, 45), (0.62, 100, 75)), GateStatus.DEFER),
        (((0.55, 19, 4), (0.62, 100, 55), (0.67, 100, 75)), GateStatus.DEFER),
        (((0.62, 100, 45), (0.75, 100, 60), (0.95, 100, 80)), GateStatus.PASS),
        (((0.55, 50, 0), (0.62, 50, 0), (0.67, 50, 0)), GateStatus.FAIL),
    ],
)
def test_the_hit_rate_has_to_rise_with_confidence_beyond_chance(
    buckets: tuple[tuple[float, int, int], ...], status: GateStatus
) -> None:
    """Higher confidence must mean more hits. At least three buckets must be filled."""
    assert judge_shadow(hits(*buckets))[1].status is status


def test_noise_in_shadow_passes_in_at_most_1_of_20_records() -> None:
    """By chance, three rates rise in order in one of six records; the trend test excludes that."""
    random, passed = np.random.default_rng(5), 0
    for _ in range(200):
        coin = record(
            np.ones(300), 1, random.uniform(0.6, 0.8, 300), (random.random(300) < 0.5).astype(float)
        )
        passed += judge_shadow(coin)[1].status is GateStatus.PASS
    assert passed <= 10


def test_a_fresh_candidate_has_no_record_and_both_defer() -> None:
    """It never served, and this must not prevent it from serving in shadow mode."""
    verdicts = judge_shadow(None)
    assert [(v.name, v.status) for v in verdicts] == [
        ("agreement", GateStatus.DEFER),
        ("outcome_calibration", GateStatus.DEFER),
    ]


def test_a_comparison_with_a_shadow_record_is_judged_on_it() -> None:
    """All gates answer together, for every caller."""
    found = replace(comparison(*market()), shadow=agreeing(200, 0, 0))
    by_name = {v.name: v.status for v in judge(found, gate_policy())}
    assert by_name["agreement"] is GateStatus.FAIL


def test_the_trend_is_that_of_scipy() -> None:
    """Cochran-Armitage z is the correlation of hit and bucket number times the square root of n."""
    from scipy.stats import pearsonr

    buckets = [Bucket(low=0.5, n=40, hits=17), Bucket(low=0.6, n=70, hits=38), Bucket(low=0.7, n=25, hits=19)]
    number = np.repeat(np.arange(3), [40, 70, 25])
    hit = np.concatenate([np.arange(b.n) < b.hits for b in buckets]).astype(float)
    assert trend(buckets) == pytest.approx(pearsonr(number, hit).statistic * math.sqrt(135))


def test_an_outcome_belongs_to_the_prediction_of_its_symbol_and_moment() -> None:
    """They are at most a minute apart, and outcomes of other symbols do not count."""
    intent = Intent(at=AT, symbol="BTCUSDT", ensemble=1, action=-1, confidence=0.7)
    outcome = Outcome(symbol="BTCUSDT", opened_at=AT + 60 * SECOND, closed_at=AT + HOUR, market_return=-0.01)
    assert record_of(VERSION, [intent], [outcome]).hit_N.tolist() == [1.0]
    for other in (
        replace(outcome, symbol="ETHUSDT"),
        replace(outcome, opened_at=AT + 61 * SECOND),
        replace(outcome, closed_at=AT + 25 * HOUR),
        replace(outcome, closed_at=AT),
    ):
        assert math.isnan(record_of(VERSION, [intent], [other]).hit_N[0])


def test_a_closed_trade_of_unknown_opening_belongs_to_the_last_prediction_before_it() -> None:
    """`trade.closed` has no opening time; a recorded sample has one and is matched first."""
    intents = [
        Intent(at=AT + HOUR * n, symbol="BTCUSDT", ensemble=1, action=1, confidence=0.7) for n in range(3)
    ]
    closed = Outcome(symbol="BTCUSDT", opened_at=None, closed_at=AT + HOUR + SECOND, market_return=0.01)
    known = np.isfinite(record_of(VERSION, intents, [closed]).hit_N)
    assert known.tolist() == [False, True, False]
    sample = replace(closed, opened_at=AT + HOUR, closed_at=AT + 2 * HOUR, market_return=-0.01)
    assert record_of(VERSION, intents, [closed, sample]).hit_N[1] == 0.0


def test_hold_is_neither_right_nor_wrong() -> None:
    """HOLD has no direction."""
    intent = Intent(at=AT, symbol="BTCUSDT", ensemble=1, action=0, confidence=0.5)
    outcome = Outcome(symbol="BTCUSDT", opened_at=AT, closed_at=AT + HOUR, market_return=0.01)
    assert math.isnan(record_of(VERSION, [intent], [outcome]).hit_N[0])


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.integers(-1, 1),
            st.integers(-1, 1),
            st.one_of(st.floats(0, 1), st.just(math.nan)),
            st.sampled_from([0.0, 1.0, math.nan]),
        ),
        max_size=300,
    )
)
def test_whatever_was_recorded_judging_never_raises_and_nothing_known_never_passes(
    events: list[tuple[int, int, float, float]],
) -> None:
    """The streams come from the engine and may hold NaN, nothing, or a single bucket."""
    columns = [np.array([event[i] for event in events], dtype=np.float64) for i in range(4)]
    found = record(*columns)
    figures = measure(found)
    assert sum(bucket.n for bucket in figures.buckets) <= figures.n_outcomes <= len(found)
    assert len(figures.buckets) == len(BUCKETS)
    for verdict in judge_shadow(found):
        assert verdict.reason.endswith(".")
        assert not (len(events) < 60 and verdict.status is GateStatus.PASS)
