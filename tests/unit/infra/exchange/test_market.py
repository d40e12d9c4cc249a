"""The market as a function of the clock."""

from decimal import Decimal
from fractions import Fraction
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from infra.exchange.candles import INTERVALS, interval_end, interval_start
from infra.exchange.market import Market, parse_speed
from infra.exchange.recording import BNB_PRICE, LOOP_US, Print, Quote
from infra.exchange.symbols import Listing

_NOW_US = 1_795_435_179_554_467
_quiet = settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@_quiet
@given(start=st.integers(0, 2 * LOOP_US), length=st.integers(0, 40_000_000))
def test_a_candle_totals_what_the_market_replays(recorded_market: Market, start: int, length: int) -> None:
    # Candles come from prefix sums, events from the tape: two ways to the same trades, across the loop's end too.
    first, end = _NOW_US + start, _NOW_US + start + length
    for symbol in recorded_market.symbols:
        prints = [
            event.item
            for event in recorded_market.events(first - 1, end - 1)
            if event.symbol == symbol and isinstance(event.item, Print)
        ]
        candle = recorded_market.candle(symbol, first, end)
        assert candle.trades == len(prints)
        assert candle.quantity == sum((each.quantity for each in prints), Decimal(0))
        if prints:
            prices = [each.price for each in prints]
            assert candle[:4] == (prices[0], max(prices), min(prices), prices[-1])
        else:
            assert set(candle[:4]) == {recorded_market.last_price(symbol, end - 1)}


@_quiet
@given(cuts=st.lists(st.integers(0, 3_000_000), min_size=1, max_size=5), speed=st.sampled_from(["1", "0.3", "7"]))
def test_replaying_in_steps_is_replaying_at_once(recorded_market: Market, cuts: list[int], speed: str) -> None:
    market = Market(recorded_market.tapes, Fraction(speed))
    moments = [_NOW_US, *(_NOW_US + cut for cut in sorted(cuts))]
    steps = [event for after, until in pairwise(moments) for event in market.events(after, until)]
    assert sorted(steps) == sorted(market.events(moments[0], moments[-1]))
    assert all(_NOW_US < event.time_us <= moments[-1] for event in steps)


def test_events_come_in_order_and_quotes_stand_at_their_time(recorded_market: Market) -> None:
    events = list(recorded_market.events(_NOW_US, _NOW_US + 30_000_000))
    assert {event.symbol for event in events} == {"BTCUSDT", "ETHUSDT", "BNBUSDT", "ETHBTC"}
    assert [event.time_us for event in events] == sorted(event.time_us for event in events)
    for event in events:
        if isinstance(event.item, Quote):
            assert recorded_market.quote(event.symbol, event.time_us - 1) != event.item


def test_the_market_repeats_for_ever_and_is_faster_by_its_speed(recorded_market: Market) -> None:
    fast = Market(recorded_market.tapes, Fraction(10))
    for symbol in recorded_market.symbols:
        assert recorded_market.quote(symbol, _NOW_US) == recorded_market.quote(symbol, _NOW_US + LOOP_US)
        assert fast.quote(symbol, _NOW_US) == fast.quote(symbol, _NOW_US + LOOP_US // 10)
        assert fast.candle(symbol, _NOW_US, _NOW_US + LOOP_US // 10).trades == len(fast.tapes[symbol].prints)


def test_a_seed_moves_the_market(recorded_market: Market) -> None:
    shifted = Market(recorded_market.tapes, seed=1)
    assert shifted.quote("BTCUSDT", _NOW_US) != recorded_market.quote("BTCUSDT", _NOW_US)


def test_every_quote_has_a_bid_below_its_ask_on_the_tick(recorded_market: Market) -> None:
    listing = Listing()
    for symbol, tape in recorded_market.tapes.items():
        tick = listing[symbol].tick
        assert all(quote.bid < quote.ask and not quote.bid % tick and not quote.ask % tick for quote in tape.quotes)


def test_bnb_never_moves(recorded_market: Market) -> None:
    day = recorded_market.candle("BNBUSDT", _NOW_US - 86_400_000_000, _NOW_US)
    assert day[:4] == (BNB_PRICE,) * 4
    quote = recorded_market.quote("BNBUSDT", _NOW_US)
    assert (quote.bid + quote.ask) / 2 == BNB_PRICE


@pytest.mark.parametrize("interval", INTERVALS)
def test_intervals_tile_time(interval: str) -> None:
    open_us = interval_start(interval, _NOW_US)
    assert open_us <= _NOW_US < interval_end(interval, open_us)
    assert interval_start(interval, interval_end(interval, open_us)) == interval_end(interval, open_us)
    assert interval_start(interval, interval_end(interval, open_us) - 1) == open_us


@pytest.mark.parametrize("text", ["0", "-1", "1000", "fast", "1/0", ""])
def test_a_speed_out_of_range_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"choose 0\.1 to 100"):
        parse_speed(text)
