"""Student's t distribution agrees with scipy in the far tail, where late attempts are judged."""

import pytest
from scipy.stats import t as student

from clm.evaluation.student import quantile, tail


@pytest.mark.parametrize("freedom", [2.0, 2.5, 4.0, 9.0, 89.0, 500.5, 5000.0])
@pytest.mark.parametrize("level", [0.5, 0.3, 0.025, 1e-3, 1e-6, 1e-9])
def test_the_quantile_agrees_with_scipy(freedom: float, level: float) -> None:
    """They agree to ten digits; at attempt 365 the level is 4e-7."""
    expected = float(student.isf(level, freedom))
    assert quantile(level, freedom) == pytest.approx(expected, rel=1e-10, abs=1e-9)
    assert tail(expected, freedom) == pytest.approx(level, rel=1e-9)
