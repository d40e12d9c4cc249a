"""Rates along the best path of pairs."""

from decimal import Decimal

import pytest

from infra.binance.catalogue import Catalogue, Instrument, decode_exchange_info
from infra.binance.errors import MalformedEvent
from infra.binance.rates import Conversion, RateGraph
from infra.binance.times import epoch_us


def catalogue(*pairs: str, halted: str = "") -> Catalogue:
    instruments = {}
    for pair in pairs:
        base, quote = pair.split("/")
        symbol = base + quote
        instruments[symbol] = Instrument(symbol=symbol, base=base, quote=quote, is_trading=pair not in halted.split())
    return Catalogue(instruments)


PRICES = {
    "BTCUSDT": Decimal(60_000),
    "USDTBRL": Decimal(3),
    "EURUSDT": Decimal("1.1"),
    "ETHBTC": Decimal("0.05"),
    "ETHUSDT": Decimal(3_000),
}


def rate(asset: str, reporting: str, *pairs: str, halted: str = "") -> Decimal | None:
    return RateGraph(catalogue(*pairs, halted=halted), reporting).rate(asset, PRICES.get)


@pytest.mark.parametrize(
    ("asset", "reporting", "pairs", "expected"),
    [
        ("USDT", "USDT", ["BTC/USDT"], "1"),
        ("BTC", "USDT", ["BTC/USDT"], "60000"),
        ("BRL", "USDT", ["USDT/BRL"], "0.333333333333333333"),
        ("ETH", "USDT", ["ETH/BTC", "BTC/USDT"], "3000"),
        ("ETH", "USDT", ["ETH/BTC", "BTC/USDT", "ETH/USDT"], "3000"),
        ("BTC", "BRL", ["BTC/USDT", "USDT/BRL"], "180000"),
        # Two pairs, one of them inverse: rounded once, at the end.
        ("BTC", "EUR", ["BTC/USDT", "EUR/USDT"], "54545.454545454545454545"),
        ("LDBTC", "USDT", ["BTC/USDT"], "60000"),
    ],
)
def test_a_rate_follows_the_path(asset: str, reporting: str, pairs: list[str], expected: str) -> None:
    assert rate(asset, reporting, *pairs) == Decimal(expected)


def test_fewer_pairs_are_better_and_a_trading_pair_beats_a_halted_one() -> None:
    pairs = ("ETH/USDT", "ETH/BTC", "BTC/USDT")
    assert RateGraph(catalogue(*pairs), "USDT").path("ETH") == (Conversion("ETHUSDT", is_inverse=False),)
    halted = RateGraph(catalogue(*pairs, halted="ETH/USDT"), "USDT").path("ETH")
    assert halted == (Conversion("ETHBTC", is_inverse=False), Conversion("BTCUSDT", is_inverse=False))


def test_a_market_that_is_halted_or_delisted_is_avoided_and_where_it_cannot_be_it_is_named() -> None:
    market = catalogue("ETH/USDT", "ETH/BTC", "BTC/USDT", "XYZ/USDT")
    graph = RateGraph(market, "USDT")
    assert (graph.symbols("ETH"), graph.halted("ETH"), graph.halted("XYZ")) == (("ETHUSDT",), (), ())

    market.follow(catalogue("ETH/USDT", "ETH/BTC", "BTC/USDT", halted="ETH/USDT"))  # XYZUSDT is delisted
    assert (graph.symbols("ETH"), graph.halted("ETH")) == (("ETHBTC", "BTCUSDT"), ())
    assert (graph.symbols("XYZ"), graph.halted("XYZ")) == (("XYZUSDT",), ("XYZUSDT",))

    market.follow(catalogue("ETH/USDT", "ETH/BTC", "BTC/USDT", "XYZ/USDT", "NEW/BTC"))
    assert (graph.symbols("ETH"), graph.halted("XYZ"), graph.symbols("NEW")) == (
        ("ETHUSDT",),
        (),
        ("NEWBTC", "BTCUSDT"),
    )


def test_between_equal_paths_the_deeper_market_wins() -> None:
    graph = RateGraph(catalogue("XYZ/AAA", "XYZ/BTC", "AAA/USDT", "BTC/USDT"), "USDT")
    assert graph.symbols("XYZ") == ("XYZBTC", "BTCUSDT")


def test_without_a_path_or_a_price_there_is_no_rate() -> None:
    assert rate("XYZ", "USDT", "BTC/USDT") is None
    assert rate("XYZ", "USDT", "XYZ/USDT") is None


def test_dust_is_what_neither_the_step_nor_the_minimum_value_lets_go() -> None:
    filters = [
        {"filterType": "LOT_SIZE", "minQty": "0.00001", "stepSize": "0.00001000"},
        {"filterType": "NOTIONAL", "minNotional": "5.00000000"},
    ]
    row = {"symbol": "BTCUSDT", "baseAsset": "BTC", "quoteAsset": "USDT", "status": "TRADING", "filters": filters}
    instrument = decode_exchange_info({"symbols": [row]}).instrument("BTCUSDT")
    assert instrument.dust_limit(Decimal(50_000)) == Decimal("0.0001")
    assert instrument.dust_limit(Decimal(5_000_000)) == Decimal("0.00001")


@pytest.mark.parametrize("answer", [{}, {"symbols": [{}]}, {"symbols": [3]}, {"symbols": None}])
def test_a_catalogue_that_cannot_be_read_is_the_documented_error(answer: dict[str, object]) -> None:
    with pytest.raises(MalformedEvent):
        decode_exchange_info(answer)


def test_times_are_microseconds_whichever_unit_they_came_in() -> None:
    assert epoch_us(1_700_000_000_123) == 1_700_000_000_123_000
    assert epoch_us(1_700_000_000_123_456) == 1_700_000_000_123_456
