"""Binance writes two assets together: where one ends and the other begins."""

import pytest

from portfolio import InvalidEvent
from portfolio.symbols import split_symbol


@pytest.mark.parametrize(
    ("symbol", "parts"),
    [
        ("BTCUSDT", ("BTC", "USDT")),
        ("ETHBTC", ("ETH", "BTC")),
        ("BTCFDUSD", ("BTC", "FDUSD")),
        ("USDCUSDT", ("USDC", "USDT")),
        ("USDTTRY", ("USDT", "TRY")),
        ("EURUSDT", ("EUR", "USDT")),
        ("BETHETH", ("BETH", "ETH")),
        ("1000SATSTRY", ("1000SATS", "TRY")),
        ("BTCUSD1", ("BTC", "USD1")),
        ("BTCEURI", ("BTC", "EURI")),
        ("BTC/USDT", ("BTC", "USDT")),
    ],
)
def test_split(symbol: str, parts: tuple[str, str]) -> None:
    assert split_symbol(symbol) == parts


@pytest.mark.parametrize("symbol", ["", "BTC", "USDT", "BTCXYZ", "/", "BTC/", "/USDT"])
def test_what_cannot_be_split_names_the_remedy(symbol: str) -> None:
    with pytest.raises(InvalidEvent, match='give "base" and "quote"'):
        split_symbol(symbol)
