"""What the gateway reads from the log is what the ledger makes of it."""

from collections.abc import Sequence
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.binance.decoder import ReportedBalances, ReportedFill, ReportedFlow
from infra.binance.errors import StreamLost
from portfolio.book import new_book
from portfolio.events import Balance, BalanceReport, Event, Fill, Flow, FlowKind, Side, ValuationPoint
from portfolio.ledger import fold
from streams.gateway.enrich import assets_to_rate
from streams.gateway.inbox import Inbox
from streams.gateway.published import Published, Quantities
from streams.gateway.spool import FillSpool

RATES = {"BTC": Decimal(60_000), "ETH": Decimal(3_000), "BNB": Decimal(500)}
SYMBOLS = {"BTCUSDT": ("BTC", "USDT"), "ETHBTC": ("ETH", "BTC"), "BNBETH": ("BNB", "ETH")}


def fill(symbol: str = "BTCUSDT", trade_id: int = 1, order_id: int = 1, **changes: object) -> Fill:
    base, quote = SYMBOLS[symbol]
    fields: dict[str, object] = {
        "time_us": 1_000_000, "symbol": symbol, "base": base, "quote": quote, "side": Side.BUY, "price": Decimal(2),
        "quantity": Decimal(1), "trade_id": trade_id, "order_id": order_id, "rates": RATES,
    }  # fmt: skip
    return Fill(**fields | changes)  # type: ignore[arg-type]  # the values are checked by the struct


AMOUNTS = st.decimals("0.00000001", "1000", places=8)
FILLS = st.builds(
    fill,
    st.sampled_from(sorted(SYMBOLS)),
    trade_id=st.integers(0, 12),
    order_id=st.integers(1, 2),
    side=st.sampled_from(Side),
    quantity=AMOUNTS,
    fee=st.just(Decimal(0)) | AMOUNTS,
    fee_asset=st.sampled_from(["BNB", "BTC", "USDT", "ETH"]),
    quote_quantity=st.none() | AMOUNTS,
)
FLOWS = st.builds(
    Flow,
    time_us=st.just(2_000_000),
    id=st.sampled_from("abcdef"),
    asset=st.sampled_from(["BTC", "USDT", "BNB"]),
    quantity=AMOUNTS | AMOUNTS.map(lambda amount: -amount),
    kind=st.just(FlowKind.UNCLASSIFIED),
    rates=st.just(RATES),
)
OTHERS = st.sampled_from(
    [
        ValuationPoint(time_us=3_000_000, rates=RATES),
        BalanceReport(time_us=3_000_000, balances={"BTC": Balance(Decimal(1))}),
    ]
)


@given(st.lists(FILLS | FLOWS | OTHERS, max_size=30), st.lists(FILLS | FLOWS, max_size=10))
def test_a_book_says_what_was_published(events: Sequence[Event], later: Sequence[Event]) -> None:
    """Recovered from the book, it goes on as if it had published the events itself."""
    itself = Published()
    itself.add_new(events)
    recovered = Published.of_book(fold(new_book("main", "USDT"), events).book)
    assert (recovered.events, recovered.last_time_us) == (itself.events, itself.last_time_us)
    assert recovered.quantities.held == itself.quantities.held
    assert recovered.symbols == itself.symbols
    assert [recovered.is_new(event) for event in later] == [itself.is_new(event) for event in later]
    recovered.add_new(later)
    itself.add_new(later)
    assert recovered.quantities.held == itself.quantities.held


@given(st.lists(FILLS | FLOWS | OTHERS, max_size=40))
def test_quantities_and_novelty_are_the_ledgers(events: Sequence[Event]) -> None:
    published = Published()
    book = new_book("main", "USDT")
    for event in events:
        outcome = fold(book, [event])
        assert published.is_new(event) == bool(outcome.booked)
        published.add_new([event])
        book = outcome.book
        held = {asset: holding.quantity for asset, holding in book.holdings.items() if holding.quantity}
        assert published.quantities.held == held
    assert published.events == book.sequence


def test_it_goes_on_at_the_last_trade_id_because_a_self_trade_has_two_rows_with_it() -> None:
    published = Published()
    assert published.next_trade_id("BTCUSDT") == 0
    published.add_new([fill(trade_id=7, order_id=1)])
    assert published.next_trade_id("BTCUSDT") == 7
    assert not published.is_new(fill(trade_id=7, order_id=1))
    assert published.is_new(fill(trade_id=7, order_id=2, side=Side.SELL))


def test_what_was_never_there_is_counted_as_missing() -> None:
    quantities = Quantities({"USDT": Decimal(1)})
    quantities.apply(fill(fee=Decimal("0.5"), fee_asset="BNB"))
    assert quantities.held == {"BTC": 1}
    assert quantities.missing == {"USDT": 1, "BNB": Decimal("0.5")}
    assert quantities.gaps({"BTC": Decimal(3), "ETH": Decimal(1)}) == {"BTC": 2, "ETH": 1}


def test_a_fill_carries_only_the_rates_that_it_cannot_show() -> None:
    assert assets_to_rate(fill("BTCUSDT"), "USDT") == ()
    assert assets_to_rate(fill("BTCUSDT", fee=Decimal(1), fee_asset="BTC"), "USDT") == ()
    assert assets_to_rate(fill("BTCUSDT", fee=Decimal(1), fee_asset="BNB"), "USDT") == ("BNB",)
    assert assets_to_rate(fill("ETHBTC", fee=Decimal(1), fee_asset="ETH"), "USDT") == ("BTC",)
    assert assets_to_rate(fill("ETHBTC", fee=Decimal(1), fee_asset="BNB"), "USDT") == ("BTC", "BNB")
    assert assets_to_rate(fill("BTCUSDT", fee=Decimal(1), fee_asset="BNB"), "BTC") == ("BNB",)


def test_the_spool_sorts_by_time_but_a_symbol_by_id_and_keeps_each_fill_once() -> None:
    first, second, late = fill(trade_id=1, time_us=50), fill(trade_id=2, time_us=40), fill("ETHBTC", time_us=45)
    with FillSpool() as spool:
        spool.add([first, second])
        spool.add([late, first])
        assert [(each.symbol, each.trade_id) for each in spool.ordered()] == [
            ("ETHBTC", 1),
            ("BTCUSDT", 1),
            ("BTCUSDT", 2),
        ]
        assert len(spool) == 3


def position(event_time_us: int, update_time_us: int) -> ReportedBalances:
    return ReportedBalances(event_time_us, BalanceReport(time_us=update_time_us, balances={}))


def flow(time_us: int) -> Flow:
    return Flow(time_us=time_us, id=str(time_us), asset="BTC", quantity=Decimal(1), kind=FlowKind.UNCLASSIFIED)


async def test_a_balance_covers_what_came_up_to_its_time() -> None:
    inbox = Inbox(opened_us=0)
    # The deposit's event is sent later than the account was updated: the balances with the same event time say when.
    early, late = fill(trade_id=1, time_us=1_000_000), fill(trade_id=2, time_us=1_002_000)
    inbox.put(ReportedFill(1_000_000, early))
    inbox.put(position(1_000_000, 1_000_000))
    inbox.put(ReportedFlow(1_900_000, flow(1_900_000)))
    inbox.put(position(1_900_000, 1_001_000))
    inbox.put(ReportedFill(1_002_000, late))
    assert inbox.up_to(1_001_000) == ([early], [flow(1_900_000)])
    assert inbox.up_to(1_000_500) == ([early], [])
    inbox.drop_up_to(1_001_999)
    assert await inbox.take(10, 0) == [ReportedFill(1_002_000, late)]


async def test_the_end_is_told_after_the_last_event() -> None:
    inbox = Inbox(opened_us=0)
    inbox.put(ReportedFill(1, fill()))
    inbox.end(StreamLost("gone"))
    assert len(await inbox.take(10, 1)) == 1
    with pytest.raises(StreamLost, match="gone"):
        await inbox.take(10, 1)
    assert not await inbox.caught_up(5_000_000, 1)


async def test_an_update_before_the_subscription_is_not_waited_for() -> None:
    inbox = Inbox(opened_us=10_000_000)
    assert await inbox.caught_up(8_000_000, 0)
    assert not await inbox.caught_up(10_500_000, 0)
    inbox.put(position(10_500_000, 10_500_000))
    assert await inbox.caught_up(10_500_999, 0)
