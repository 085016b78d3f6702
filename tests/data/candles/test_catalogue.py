"""Every member of FEATURES, as soon as it is listed."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clm.clock import HOUR
from clm.data.candles.catalogue import (
    DEFAULT_FEATURES,
    FEATURE_NAMES,
    FEATURES,
    Feature,
    feature,
    features_of,
)
from clm.data.candles.series import CandleSeries
from clm.errors import ConfigError
from tests.data.candles.market import series

PRICES = ("open_T", "high_T", "low_T", "close_T")
SEEDS = st.integers(0, 2**20)
PLAIN = series(600)


def values(of: CandleSeries, member: Feature) -> np.ndarray:
    return features_of(of, [member])[:, 0]


def until(of: CandleSeries, length: int) -> CandleSeries:
    names = ("opened_at_T", *PRICES, "volume_T")
    return replace(of, **{name: getattr(of, name)[:length] for name in names})


def times(of: CandleSeries, *, prices: float = 1.0, volumes: float = 1.0) -> CandleSeries:
    return replace(
        of, **{name: getattr(of, name) * prices for name in PRICES}, volume_T=of.volume_T * volumes
    )


@pytest.mark.parametrize("member", FEATURES, ids=FEATURE_NAMES)
class TestEveryFeature:
    @given(seed=SEEDS, cut=st.integers(1, 399), times_larger=st.floats(1e-3, 1e3))
    @settings(max_examples=25, deadline=None)
    def test_changing_any_later_candle_changes_no_earlier_value(self, member, seed, cut, times_larger):
        """A value that moves with what came later knew the future; to the last bit."""
        whole = series(400, seed=seed)
        later = times(series(400, seed=seed + 1), prices=times_larger, volumes=times_larger)
        changed = replace(
            whole,
            **{
                name: np.concatenate([getattr(whole, name)[:cut], getattr(later, name)[cut:]])
                for name in (*PRICES, "volume_T")
            },
        )

        known = values(whole, member)[:cut]
        np.testing.assert_array_equal(values(changed, member)[:cut], known)
        np.testing.assert_array_equal(values(until(whole, cut), member), known)

    def test_it_is_unknown_before_its_warm_up_and_finite_after(self, member):
        """Unknown is not zero; and a value that is missing in the middle would cost whole windows."""
        got = values(PLAIN, member)

        assert np.isnan(got[: member.warm_up]).all()
        assert np.isfinite(got[member.warm_up :]).all()
        assert got[member.warm_up :].std() > 0

    @pytest.mark.parametrize("length", [1, 2, 3, 10, 50])
    def test_a_short_run_gives_no_more_than_it_knows(self, member, length):
        """After every gap there is a short run."""
        got = values(until(PLAIN, length), member)

        assert np.isnan(got[: member.warm_up]).all()
        assert np.isfinite(got[member.warm_up :]).all()

    @given(seed=SEEDS, prices=st.sampled_from([10.0, 1e-11, 1e6, 3.7]), volumes=st.sampled_from([10.0, 1e-3]))
    @settings(max_examples=10, deadline=None)
    def test_no_unit_of_price_or_volume_shows(self, member, seed, prices, volumes):
        """One model serves coins of 0.3 and of 90,000."""
        one = series(400, seed=seed)

        np.testing.assert_allclose(
            values(times(one, prices=prices, volumes=volumes), member),
            values(one, member),
            rtol=1e-6,
            atol=1e-9,
        )

    def test_what_lies_long_ago_is_forgotten(self, member):
        """The engine computes it from the candles it has; a feature must not depend on where they begin."""
        whole = values(PLAIN, member)
        late = values(
            replace(
                PLAIN,
                **{name: getattr(PLAIN, name)[200:] for name in ("opened_at_T", *PRICES, "volume_T")},
            ),
            member,
        )[member.warm_up :]
        spread = np.nanstd(whole)

        assert np.abs(late - whole[200 + member.warm_up :]).max() < 0.05 * spread

    def test_a_market_in_which_nothing_moves_gives_numbers(self, member):
        """A halted market is valid data, but 0 / 0 is not a value."""
        still = np.full(400, 0.31)
        got = values(
            series(400, open_T=still, high_T=still, low_T=still, close_T=still, volume_T=0 * still), member
        )

        assert np.isfinite(got[member.warm_up :]).all()
        assert np.abs(got[member.warm_up :]).max() <= 100

    @given(gap=st.integers(1, 398))
    @settings(max_examples=10, deadline=None)
    def test_a_gap_ends_what_it_remembers(self, member, gap):
        """Candles on both sides of a gap are not adjacent: the indicator restarts after it."""
        broken = series(400, missing=(gap,))
        got = values(broken, member)

        np.testing.assert_array_equal(got[:gap], values(until(broken, gap), member))
        assert np.isnan(got[gap : gap + member.warm_up]).all()
        assert np.isfinite(got[gap + member.warm_up :]).all()

    def test_it_is_described(self, member):
        """The page is what an operator chooses from."""
        page = (Path(__file__).parents[3] / "docs/reference/features.md").read_text(encoding="utf-8")
        (line,) = [line for line in page.splitlines() if line.startswith(f"| `{member.name}` |")]

        cells = [cell.strip() for cell in line.strip("|").split("|")]
        assert cells[2] == str(member.warm_up)
        assert cells[3] == member.unit
        assert cells[4] == member.source


def test_names_are_unique_and_the_default_ones_are_among_them():
    """A name is all that an operator writes."""
    assert len(set(FEATURE_NAMES)) == len(FEATURE_NAMES) == 24
    assert set(DEFAULT_FEATURES) <= set(FEATURE_NAMES)
    assert len(DEFAULT_FEATURES) == 8


def test_the_indicators_are_those_of_ta_lib():
    """Held against the library's own words on plain prices."""
    import talib

    close_T = PLAIN.close_T
    line, signal, histogram = talib.MACD(close_T, 12, 26, 9)
    upper, middle, _ = talib.BBANDS(close_T, 20, 2.0, 2.0)
    wanted = {
        "rsi": talib.RSI(close_T, 14),
        "macd": line / close_T,
        "macd_signal": signal / close_T,
        "macd_histogram": histogram / close_T,
        "bb_position": (close_T - middle) / (upper - middle),
        "atr": talib.ATR(PLAIN.high_T, PLAIN.low_T, close_T, 14) / close_T,
        "ema_20": close_T / talib.EMA(close_T, 20) - 1,
        "volatility": talib.STDDEV(np.diff(close_T, prepend=np.nan) / np.roll(close_T, 1), 24),
        "volume_ratio": PLAIN.volume_T / talib.SMA(PLAIN.volume_T, 24),
    }

    for name, wanted_T in wanted.items():
        got = values(PLAIN, feature(name))
        np.testing.assert_allclose(got[200:], wanted_T[200:], rtol=1e-7, atol=1e-12, err_msg=name)


def test_a_market_that_stands_still_is_neither_strong_nor_weak():
    """TA-Lib's RSI says 0 there, which is what it says of a crash."""
    still = np.full(200, 2.0)

    assert set(values(series(200, close_T=still), feature("rsi"))[77:].tolist()) == {50.0}


def test_the_week_begins_on_monday_and_is_that_of_the_close():
    """The series begins on a Monday at 00:00 with a candle that closes at 01:00."""
    angle = 2 * np.pi / 168
    sine, cosine = values(PLAIN, feature("hour_of_week_sine")), values(PLAIN, feature("hour_of_week_cosine"))

    np.testing.assert_allclose(sine[:3], np.sin(angle * np.array([1, 2, 3])), atol=1e-12)
    np.testing.assert_allclose(cosine[[0, 167]], [np.cos(angle), 1.0], atol=1e-12)
    assert values(series(10, interval=HOUR // 4), feature("hour_of_week_sine"))[3] == pytest.approx(
        np.sin(angle)
    )


def test_an_unknown_name_is_said_with_the_known_ones():
    """A typo must not become a column of nothing."""
    with pytest.raises(ConfigError, match="no feature rsii; they have return_1"):
        feature("rsii")


def test_ta_lib_is_not_imported_before_it_is_needed():
    """A daemon that trains on the history of samples must not pay for it."""
    code = (
        "import sys; import clm.cycle, clm.settings, clm.wiring, clm.cli; "
        "sys.exit('talib' in sys.modules or 'pyarrow' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, timeout=120)

    assert done.returncode == 0, done.stderr.decode()


def test_ta_lib_brings_nothing_along_that_the_daemon_does_without():
    """Where pandas is installed it would load it, and 70 MB would stay with a daemon that waits."""
    code = (
        "import importlib.util, sys; import clm.wiring; "
        "from clm.data.candles.indicators import talib; "
        "talib().RSI; assert importlib.util.find_spec('pandas'), 'nothing to be kept out'; "
        "sys.exit('talib' not in sys.modules or bool({'pandas', 'numpy.random'} & {*sys.modules}))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, timeout=120)

    assert done.returncode == 0, done.stderr.decode()
