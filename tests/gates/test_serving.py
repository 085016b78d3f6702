"""Gates 9 and 10 judge the load check of the served file."""

import math
from dataclasses import replace

import numpy as np
import pytest

from clm.domain.load_check import GoldenRows, LoadCheck, Route
from clm.evaluation.evaluation import Comparison
from clm.gates.serving import budget, parity
from clm.gates.verdict import GateStatus
from tests.builders import gate_policy
from tests.evaluation.builders import comparison, market

ROWS, GOOD = market()
P = np.linspace(0.2, 0.8, 64)
GOLDEN = GoldenRows(window_GLC=np.zeros((64, 128, 8), dtype=np.float32), p_G=P)
PROOF = LoadCheck(
    sha256="a" * 64,
    size_bytes=2_460_000,
    weights_finite=True,
    golden=GOLDEN,
    routes=(Route(name="the engine", p_G=P + 1e-7), Route(name="clm.serving", p_G=P)),
    predictions=300,
    p50_ms=1.1,
    p99_ms=1.9,
    p99_wall_ms=40.0,
)


def judged(proof: LoadCheck | None) -> Comparison:
    return replace(comparison(ROWS, GOOD), serving=proof)


def test_a_file_that_repeats_its_answers_and_is_small_and_quick_passes_both() -> None:
    """Processor time counts; the wall time of 40 ms depends on other load of the machine."""
    for gate in (parity, budget):
        verdict = gate(judged(PROOF), gate_policy())
        assert verdict.status is GateStatus.PASS
        assert verdict.would_pass == ""


@pytest.mark.parametrize("answers", [P + 1.1e-5, P - 1.1e-5, np.where(P > 0.79, math.nan, P), P[:63], None])
def test_one_way_of_loading_with_other_answers_fails(answers: np.ndarray | None) -> None:
    """The others do not matter. NaN, missing answers and a file that does not load fail too."""
    route = Route(
        name="without the wrapper", p_G=answers, failed_because="" if answers is not None else "torn"
    )
    verdict = parity(judged(replace(PROOF, routes=(*PROOF.routes, route))), gate_policy())
    assert verdict.status is GateStatus.FAIL
    assert "without the wrapper" in verdict.reason
    assert verdict.would_pass


def test_answers_that_do_not_vary_fail_however_well_they_are_repeated() -> None:
    """The existing engine gives every symbol the same answer."""
    golden = GoldenRows(window_GLC=GOLDEN.window_GLC, p_G=np.full(64, 0.615))
    proof = replace(PROOF, golden=golden, routes=(Route(name="the engine", p_G=golden.p_G),))
    verdict = parity(judged(proof), gate_policy())
    assert verdict.status is GateStatus.FAIL
    assert "1 distinct answers to 64 golden rows" in verdict.reason


def test_without_a_way_of_loading_or_without_golden_rows_parity_fails() -> None:
    """A load check that compared nothing must not pass."""
    assert parity(judged(replace(PROOF, routes=())), gate_policy()).status is GateStatus.FAIL
    none = GoldenRows(window_GLC=np.zeros((0, 128, 8), dtype=np.float32), p_G=np.zeros(0))
    empty = replace(PROOF, golden=none, routes=(Route(name="the engine", p_G=np.zeros(0)),))
    assert parity(judged(empty), gate_policy()).status is GateStatus.FAIL


@pytest.mark.parametrize(
    "change",
    [
        {"size_bytes": 50_000_001},
        {"p99_ms": 20.1},
        {"p99_ms": math.nan},
        {"weights_finite": False},
    ],
)
def test_f5_a_file_that_is_too_large_too_slow_or_not_of_numbers_fails(change: dict[str, object]) -> None:
    """The model shares its server with the engine that trades."""
    verdict = budget(judged(replace(PROOF, **change)), gate_policy())
    assert verdict.status is GateStatus.FAIL
    assert "required: at most 50 MB and 20 ms, finite weights" in verdict.reason


@pytest.mark.parametrize("gate", [parity, budget])
def test_without_a_load_check_the_gates_defer(gate) -> None:
    """An unknown result is neither PASS nor FAIL."""
    assert gate(judged(None), gate_policy()).status is GateStatus.DEFER
