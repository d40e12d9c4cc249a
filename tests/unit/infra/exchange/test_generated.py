"""Generated symbols: repeatable, in order with their own filters, and in agreement with each other."""

from decimal import Decimal

import pytest

from infra.exchange.app import ExchangeOptions, build_exchange
from infra.exchange.decimals import truncate
from infra.exchange.generated import SymbolError, generate_market, parse_symbols, split_symbol
from infra.exchange.journal import Journal, JournalError
from infra.exchange.market import Market
from infra.exchange.matching import OrderRequest
from infra.exchange.recording import LOOP_US
from infra.exchange.records import FlowKind, OrderStatus, OrderType, Side
from infra.exchange.symbols import Listing
from tests.support.exchange_world import START_US, Clock

_NAMES = "SOL ADA XRP DOGE DOT LINK AVAX LTC BCH ATOM NEAR UNI FIL APT ARB OP SUI SEI INJ TIA ALGO VET GRT AAVE MKR"
_SYMBOLS = (*(f"{name}USDT" for name in _NAMES.split()), "USDCUSDT", "SOLBTC", "ADAETH", "BTCUSDC")


def test_the_same_seed_makes_the_same_market_and_another_seed_another(recorded_market: Market) -> None:
    first, again, other = (generate_market(("SOLUSDT",), seed, recorded_market.tapes) for seed in (1, 1, 2))
    assert first.entries == again.entries
    assert first.tapes["SOLUSDT"].quotes == again.tapes["SOLUSDT"].quotes
    assert first.tapes["SOLUSDT"].prints == again.tapes["SOLUSDT"].prints
    assert first.tapes["SOLUSDT"].quotes != other.tapes["SOLUSDT"].quotes


@pytest.mark.parametrize("seed", range(3))
def test_quotes_and_trades_obey_the_filters_of_their_symbol(recorded_market: Market, seed: int) -> None:
    generated = generate_market(_SYMBOLS, seed, recorded_market.tapes)
    listing = Listing(generated.entries)
    assert set(generated.tapes) == set(_SYMBOLS)
    for symbol, tape in generated.tapes.items():
        rules = listing[symbol]
        for quote in tape.quotes:
            assert rules.minimum_price <= quote.bid < quote.ask
            assert quote.bid % rules.tick == quote.ask % rules.tick == 0
        for each in tape.prints:
            assert each.quantity >= rules.minimum_quantity
            assert each.quantity % rules.step == each.price % rules.tick == 0
        offsets = [each.offset_us for each in tape.prints]
        assert offsets == sorted(offsets)
        assert 0 <= offsets[0] <= offsets[-1] < LOOP_US


def test_a_loop_ends_where_it_began(recorded_market: Market) -> None:
    tape = generate_market(("SOLUSDT",), 0, recorded_market.tapes).tapes["SOLUSDT"]
    assert abs(tape.quotes[-1].bid / tape.quotes[0].bid - 1) < Decimal("0.001")
    assert len({quote.bid for quote in tape.quotes}) > 20


def test_crosses_agree_with_the_markets_of_their_assets(recorded_market: Market) -> None:
    generated = generate_market(("SOLUSDT", "SOLBTC"), 0, recorded_market.tapes)
    market = Market(recorded_market.tapes | generated.tapes)
    tick = Listing(generated.entries)["SOLBTC"].tick
    for second in range(0, 600, 37):
        now_us = START_US + second * 1_000_000
        implied = market.quote("SOLUSDT", now_us).bid / market.quote("BTCUSDT", now_us).ask
        assert 0 <= implied - market.quote("SOLBTC", now_us).bid < tick


def test_every_symbol_can_be_traded() -> None:
    exchange = build_exchange(ExchangeOptions(symbols=_SYMBOLS), None, Clock())
    account = exchange.ledger.account("demo")
    for symbol in _SYMBOLS:
        base, quote = split_symbol(symbol)
        amount = truncate(500 / exchange.price_in_usdt(quote))
        exchange.move(account, quote, amount, FlowKind.DEPOSIT)
        before = account.free(base)
        order = exchange.trading.place(account, OrderRequest(symbol, Side.BUY, OrderType.MARKET, quote_quantity=amount))
        worth = (account.free(base) - before) * exchange.price_in_usdt(base)
        assert order.status is OrderStatus.FILLED
        assert 480 < worth < 505


def test_a_stablecoin_is_worth_about_one(recorded_market: Market) -> None:
    tape = generate_market(("USDCUSDT",), 0, recorded_market.tapes).tapes["USDCUSDT"]
    assert all(Decimal("0.99") < quote.bid < Decimal("1.01") for quote in tape.quotes)


def test_a_list_is_read_and_repetitions_are_dropped() -> None:
    assert parse_symbols(" solusdt,ADAUSDT,,SOLUSDT ") == ("SOLUSDT", "ADAUSDT")
    assert parse_symbols("") == ()


@pytest.mark.parametrize("text", ["SOL", "USDT", "SOLXYZ", "S-LUSDT"])
def test_what_is_no_symbol_is_refused(text: str) -> None:
    with pytest.raises(SymbolError, match="no known quote asset"):
        parse_symbols(text)


def test_a_cross_without_the_markets_of_its_assets_is_refused(recorded_market: Market) -> None:
    with pytest.raises(SymbolError, match="add SOLUSDT"):
        generate_market(("SOLBTC",), 0, recorded_market.tapes)


def test_a_state_with_a_symbol_that_is_not_listed_is_refused(tmp_path_factory: pytest.TempPathFactory) -> None:
    directory = tmp_path_factory.mktemp("state")
    journal = Journal(directory)
    exchange = build_exchange(ExchangeOptions(symbols=("SOLUSDT",)), journal, Clock())
    request = OrderRequest("SOLUSDT", Side.BUY, OrderType.MARKET, quote_quantity=Decimal(100))
    exchange.trading.place(exchange.ledger.account("demo"), request)
    journal.close()
    journal = Journal(directory)
    try:
        with pytest.raises(JournalError, match=r"orders of SOLUSDT.*--symbols"):
            build_exchange(ExchangeOptions(), journal, Clock())
    finally:
        journal.close()
