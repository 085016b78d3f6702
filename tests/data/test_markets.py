"""One name a market."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clm.domain.markets import MOST_CHARACTERS, market_of, spot_of


@pytest.mark.parametrize(
    ("text", "market"),
    [
        ("BTCUSDT", "BTCUSDT"),
        (" btcusdt ", "BTCUSDT"),
        ("BTC/USDT", "BTCUSDT"),
        ("BTC-USDT", "BTCUSDT"),
        ("BTC_USDT", "BTCUSDT"),
        ("BTC/USDT:USDT", "BTCUSDT-PERP"),
        ("BTCUSDT:USDT", "BTCUSDT-PERP"),
        ("BTCUSDT_PERP", "BTCUSDT-PERP"),
        ("BTC-USDT-SWAP", "BTCUSDT-PERP"),
        ("BTCUSDT.P", "BTCUSDT-PERP"),
        ("BTCUSDT_250328", "BTCUSDT-250328"),
        ("BTC/USDT:USDT-250328", "BTCUSDT-250328"),
        ("BTC/EUR", "BTCEUR"),
        ("ES=F", "ES=F"),
        ("^GSPC", "^GSPC"),
        ("", ""),
        ("  ", ""),
        ("B\u0422C", ""),
        ("A\x00B", ""),
        ("X" * 33, ""),
    ],
)
def test_a_market_is_one_name_in_every_spelling(text, market):
    """Samples and candles are joined by it; a perpetual is not its spot, nor a euro a dollar."""
    assert market_of(text) == market


def test_the_spot_of_a_perpetual_is_known():
    """A refusal can name what is nearly the same."""
    assert (spot_of("BTCUSDT-PERP"), spot_of("BTCUSDT")) == ("BTCUSDT", "BTCUSDT")


@given(st.text(max_size=MOST_CHARACTERS))
def test_a_name_is_its_own_name(text):
    """To read a name that was read before changes nothing."""
    assert market_of(market_of(text)) == market_of(text)
