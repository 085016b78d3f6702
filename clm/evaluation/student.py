"""Student's t distribution in the far tail, exact to twelve digits; only the child has scipy."""

from math import exp, lgamma, log

_TINY = 1e-300


def tail(t: float, freedom: float) -> float:
    """Return P(T > t) for t >= 0: half the incomplete beta function of freedom/2 and 1/2."""
    total = freedom + t * t
    return 0.5 * _beta(freedom / total, t * t / total, freedom / 2.0, 0.5)


def quantile(level: float, freedom: float) -> float:
    """Return the t that is exceeded with probability `level`; 0 < level <= 0.5."""
    low, high = 0.0, 1.0
    while tail(high, freedom) > level:
        low, high = high, 2.0 * high
    for _ in range(100):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if tail(middle, freedom) > level else (low, middle)
    return 0.5 * (low + high)


def _beta(x: float, rest: float, a: float, b: float) -> float:
    """Return the regularised incomplete beta function at `x`; `rest` is 1 - x, passed for precision."""
    if x <= 0.0 or rest <= 0.0:
        return 0.0 if x <= 0.0 else 1.0
    front = exp(lgamma(a + b) - lgamma(a) - lgamma(b) + a * log(x) + b * log(rest))
    if x < (a + 1.0) / (a + b + 2.0):
        return front * _fraction(x, a, b) / a
    return 1.0 - front * _fraction(rest, b, a) / b


def _fraction(x: float, a: float, b: float) -> float:
    """Return the continued fraction of the incomplete beta function by Lentz's method."""
    c, d = 1.0, 1.0 / _off_zero(1.0 - (a + b) * x / (a + 1.0))
    value = d
    for m in range(1, 400):
        for step in (
            m * (b - m) * x / ((a + 2 * m - 1.0) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1.0)),
        ):
            d = 1.0 / _off_zero(1.0 + step * d)
            c = _off_zero(1.0 + step / c)
            value *= c * d
        if abs(c * d - 1.0) < 1e-15:
            break
    return value


def _off_zero(value: float) -> float:
    return value if abs(value) > _TINY else _TINY
