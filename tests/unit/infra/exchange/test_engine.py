"""Orders, fills, fees and events, on a market whose every number is known."""

from decimal import Decimal

import pytest

from infra.exchange.errors import ExchangeError
from infra.exchange.events import Event
from infra.exchange.matching import OrderRequest
from infra.exchange.records import FlowKind, Order, OrderStatus, OrderType, Side, TimeInForce
from tests.support.exchange_world import World

_D = Decimal


def _market(side: Side, quantity: str = "0", *, quote: str = "0", symbol: str = "BTCUSDT") -> OrderRequest:
    return OrderRequest(symbol, side, OrderType.MARKET, quantity=_D(quantity), quote_quantity=_D(quote))


def _limit(
    side: Side,
    quantity: str,
    price: str,
    time_in_force: TimeInForce = TimeInForce.GTC,
    *,
    symbol: str = "BTCUSDT",
    order_type: OrderType = OrderType.LIMIT,
) -> OrderRequest:
    return OrderRequest(symbol, side, order_type, time_in_force, quantity=_D(quantity), price=_D(price))


def _place(world: World, request: OrderRequest) -> Order:
    return world.exchange.trading.place(world.account, request)


def _story(events: list[Event]) -> list[tuple[object, ...]]:
    return [(event["e"], event.get("x"), event.get("X")) for event in events]


# -- matching


def test_a_market_order_takes_the_top_then_deeper_levels(world: World) -> None:
    world.fund(USDT="10000")
    order = _place(world, _market(Side.BUY, "7"))
    # 2 at 101 are recorded; then ten ticks of 0.01 apart, the usual size of 2 times two, three, ...
    taken = [(trade.price, trade.quantity) for trade in world.account.trades["BTCUSDT"]]
    assert taken == [(_D("101"), _D(2)), (_D("101.1"), _D(4)), (_D("101.2"), _D(1))]
    assert order.status is OrderStatus.FILLED
    assert order.executed_quote == _D("202") + _D("404.4") + _D("101.2")


def test_what_was_taken_is_gone_until_the_next_quote(world: World) -> None:
    world.fund(USDT="10000")
    _place(world, _market(Side.BUY, "1.5"))
    _place(world, _market(Side.BUY, "1"))
    assert [trade.price for trade in world.account.trades["BTCUSDT"]] == [_D("101"), _D("101"), _D("101.1")]
    assert [trade.quantity for trade in world.account.trades["BTCUSDT"]] == [_D("1.5"), _D("0.5"), _D("0.5")]
    world.advance(6)
    _place(world, _market(Side.BUY, "1"))
    assert world.account.trades["BTCUSDT"][-1].price == _D("101")


def test_a_quote_quantity_is_spent_as_far_as_lots_allow(world: World) -> None:
    world.fund(USDT="150")
    order = _place(world, _market(Side.BUY, quote="150"))
    assert order.executed == _D("1.48514")  # 150 / 101 = 1.485148..., lots of 0.00001
    assert order.executed_quote == _D("1.48514") * 101


def test_a_market_order_beyond_all_liquidity_expires_with_its_reason(world: World) -> None:
    world.fund(BTC="5000")
    order = _place(world, _market(Side.SELL, "90"))
    assert order.status is OrderStatus.FILLED
    _place(world, _market(Side.SELL, "90"))
    order = _place(world, _market(Side.SELL, "90"))
    assert (order.status, order.reason) == (OrderStatus.EXPIRED, "INSUFFICIENT_LIQUIDITY")
    assert world.events[-2]["eR"] == "INSUFFICIENT_LIQUIDITY"


def test_a_marketable_limit_takes_up_to_its_price_and_rests(world: World) -> None:
    world.fund(USDT="10000")
    order = _place(world, _limit(Side.BUY, "5", "101.05"))
    assert (order.status, order.executed) == (OrderStatus.PARTIALLY_FILLED, _D(2))
    # 10,000 - 2 x 101 paid - 3 x 101.05 locked - fees of 2 x 101 x 0.1 % taken from the BTC received
    assert world.balance("USDT") == (_D("10000") - 202 - _D("303.15"), _D("303.15"))
    assert world.balance("BTC") == (_D("1.998"), 0)


@pytest.mark.parametrize(
    ("time_in_force", "executed", "reason"),
    [
        (TimeInForce.IOC, "2", "UNFILLED_IOC_QUANTITY_EXPIRED"),
        (TimeInForce.FOK, "0", "UNFILLED_FOK_ORDER_EXPIRED"),
    ],
)
def test_ioc_takes_what_it_can_and_fok_all_or_nothing(
    world: World, time_in_force: TimeInForce, executed: str, reason: str
) -> None:
    world.fund(USDT="10000")
    order = _place(world, _limit(Side.BUY, "5", "101.05", time_in_force))
    assert (order.status, order.executed, order.reason) == (OrderStatus.EXPIRED, _D(executed), reason)
    assert world.balance("USDT")[1] == 0


def test_a_fok_order_that_fits_is_filled(world: World) -> None:
    world.fund(USDT="10000")
    assert _place(world, _limit(Side.BUY, "5", "101.1", TimeInForce.FOK)).status is OrderStatus.FILLED


def test_resting_orders_fill_by_the_size_of_the_trades_that_reach_them(world: World) -> None:
    world.fund(USDT="10000", BTC="10")
    buy = _place(world, _limit(Side.BUY, "1", "100"))
    older, better = _place(world, _limit(Side.SELL, "0.7", "101.5")), _place(world, _limit(Side.SELL, "0.5", "101.2"))
    world.advance(2)  # 3 s: 0.4 traded at 100, the seller took
    assert (buy.status, buy.executed) == (OrderStatus.PARTIALLY_FILLED, _D("0.4"))
    world.advance(1)  # 4 s: 9 traded at 99, below the limit: the order had to be reached first, at its own price
    assert (buy.status, buy.executed_quote) == (OrderStatus.FILLED, _D(100))
    assert (older.executed, better.executed) == (0, 0)
    world.advance(1)  # 5 s: 1 traded at 102; the better price first
    assert (better.executed, older.executed) == (_D("0.5"), _D("0.5"))
    assert all(trade.is_maker for trade in world.account.trades["BTCUSDT"])


def test_the_highest_bid_is_reached_first(world: World) -> None:
    world.fund(USDT="1000")
    lower, higher = _place(world, _limit(Side.BUY, "1", "100")), _place(world, _limit(Side.BUY, "1", "100.5"))
    world.advance(2)
    assert (lower.executed, higher.executed) == (0, _D("0.4"))


def test_a_trade_at_the_limit_reaches_only_the_side_that_it_hit(world: World) -> None:
    world.fund(BTC="10")
    sell = _place(world, _limit(Side.SELL, "1", "102"))
    world.advance(4)  # 102 traded at 5 s, the buyer took
    assert sell.status is OrderStatus.FILLED


def test_a_trade_at_the_limit_passes_the_side_that_it_did_not_hit(world: World) -> None:
    world.fund(USDT="1000")
    world.advance(4)
    buy = _place(world, _limit(Side.BUY, "1", "99.5"))
    world.advance(1)  # 99.5 traded at 5.5 s, the buyer took
    assert buy.status is OrderStatus.NEW


# -- refusals leave no trace


@pytest.mark.parametrize(
    ("request_", "code", "message"),
    [
        (_market(Side.BUY, "0.000001"), -1013, "LOT_SIZE"),
        (_market(Side.BUY, "98"), -1013, "MARKET_LOT_SIZE"),
        (_market(Side.BUY, "0.01"), -1013, "NOTIONAL"),
        (_market(Side.BUY, quote="4.99"), -1013, "NOTIONAL"),
        (_limit(Side.BUY, "1", "100.005"), -1013, "PRICE_FILTER"),
        (_limit(Side.BUY, "1", "10"), -1013, "PERCENT_PRICE_BY_SIDE"),
        (_limit(Side.BUY, "1", "101", order_type=OrderType.LIMIT_MAKER), -2010, "immediately match"),
        (_market(Side.BUY, "60"), -2010, "insufficient balance"),
        (_market(Side.BUY, quote="5001"), -2010, "insufficient balance"),
        (_limit(Side.BUY, "51", "100"), -2010, "insufficient balance"),
        (_market(Side.SELL, "1"), -2010, "insufficient balance"),
        (_market(Side.BUY, "1", symbol="XRPUSDT"), -1121, "Invalid symbol"),
    ],
)
def test_refused_orders_change_nothing(world: World, request_: OrderRequest, code: int, message: str) -> None:
    world.fund(USDT="5000")
    with pytest.raises(ExchangeError, match=message) as refused:
        _place(world, request_)
    assert refused.value.refusal.code == code
    assert (world.balance("USDT"), world.account.orders, world.events) == ((_D(5000), 0), {}, [])


def test_a_client_order_id_is_free_again_when_its_order_is_done(world: World) -> None:
    world.fund(USDT="5000")
    request = _limit(Side.BUY, "1", "99")._replace(client_order_id="mine")
    first = _place(world, request)
    with pytest.raises(ExchangeError, match="Duplicate order"):
        _place(world, request)
    world.exchange.trading.cancel(world.account, first, "")
    assert _place(world, request).is_open


# -- fees


def test_fees_are_paid_in_bnb_at_three_quarters(world: World) -> None:
    world.fund(USDT="1000", BNB="1")
    _place(world, _market(Side.BUY, "1"))
    (trade,) = world.account.trades["BTCUSDT"]
    # 101 USDT x 0.075 % at 20 USDT a BNB = 0.0037875
    assert (trade.commission, trade.commission_asset) == (_D("0.0037875"), "BNB")
    assert world.balance("BTC") == (_D(1), 0)
    assert world.balance("BNB") == (_D("0.9962125"), 0)


def test_fees_fall_back_to_what_is_received_when_bnb_runs_out(world: World) -> None:
    world.fund(USDT="1000", BNB="0.005")
    _place(world, _market(Side.BUY, "3"))
    paid = [(trade.commission, trade.commission_asset) for trade in world.account.trades["BTCUSDT"]]
    # 2 x 101 would cost 0.007575 BNB, so 0.1 % of 2 BTC; the 1 x 101.1 after it costs 0.00379125 BNB, which is there.
    assert paid == [(_D("0.002"), "BTC"), (_D("0.00379125"), "BNB")]


def test_bnb_that_is_just_bought_pays_its_own_fee(world: World) -> None:
    world.fund(USDT="1000")
    _place(world, _market(Side.BUY, "1", symbol="BNBUSDT"))
    (trade,) = world.account.trades["BNBUSDT"]
    assert (trade.commission, trade.commission_asset) == (_D("0.00075037"), "BNB")  # 20.01 x 0.075 % / 20, cut
    assert world.balance("BNB") == (1 - _D("0.00075037"), 0)


def test_a_cross_pays_by_its_worth_and_cuts_the_quote_amount(world: World) -> None:
    world.fund(BTC="1", BNB="1")
    _place(world, _market(Side.BUY, "0.0123", symbol="ETHBTC"))
    (trade,) = world.account.trades["ETHBTC"]
    assert trade.quote_quantity == _D("0.00123012")  # 0.0123 x 0.10001 = 0.001230123
    assert trade.commission == _D("0.00000461")  # 0.00123012 BTC x 100 / 20 x 0.075 % = 0.00000461295


# -- events


def test_events_of_a_market_order(world: World) -> None:
    world.fund(USDT="1000", BNB="1")
    _place(world, _market(Side.BUY, "3"))
    assert _story(world.events) == [
        ("executionReport", "NEW", "NEW"),
        ("executionReport", "TRADE", "PARTIALLY_FILLED"),
        ("executionReport", "TRADE", "FILLED"),
        ("outboundAccountPosition", None, None),
    ]
    position = world.events[-1]
    assert {event["E"] for event in world.events} == {position["u"]} == {world.events[1]["T"]}
    assert position["B"] == [
        {"a": "BNB", "f": "0.98863375", "l": "0.00000000"},
        {"a": "BTC", "f": "3.00000000", "l": "0.00000000"},
        {"a": "USDT", "f": "696.90000000", "l": "0.00000000"},
    ]
    execution_ids = [int(str(event["I"])) for event in world.events[:-1]]
    assert execution_ids == sorted(set(execution_ids))


def test_events_of_a_resting_order_and_its_cancel(world: World) -> None:
    world.fund(USDT="1000")
    order = _place(world, _limit(Side.BUY, "1", "90"))
    assert world.events[1]["B"] == [
        {"a": "BTC", "f": "0.00000000", "l": "0.00000000"},
        {"a": "USDT", "f": "910.00000000", "l": "90.00000000"},
    ]
    world.events.clear()
    world.exchange.trading.cancel(world.account, order, "the-cancel")
    assert _story(world.events) == [
        ("executionReport", "CANCELED", "CANCELED"),
        ("outboundAccountPosition", None, None),
    ]
    assert (world.events[0]["c"], world.events[0]["C"]) == ("the-cancel", order.placed.client_order_id)
    assert world.balance("USDT") == (_D(1000), 0)


def test_events_of_a_maker_fill(world: World) -> None:
    world.fund(USDT="1000")
    _place(world, _limit(Side.BUY, "1", "100"))
    world.events.clear()
    world.advance(2)
    assert _story(world.events) == [
        ("executionReport", "TRADE", "PARTIALLY_FILLED"),
        ("outboundAccountPosition", None, None),
    ]
    report = world.events[0]
    assert (report["m"], report["w"], report["l"], report["Y"]) == (True, True, "0.40000000", "40.00000000")


def test_events_of_flows(world: World) -> None:
    world.exchange.move(world.account, "BTC", _D("2"), FlowKind.DEPOSIT)
    flow = world.exchange.move(world.account, "BTC", _D("-0.5"), FlowKind.WITHDRAWAL)
    assert [event["e"] for event in world.events] == ["balanceUpdate", "outboundAccountPosition"] * 2
    assert world.events[2]["E"] == world.events[3]["E"]
    assert world.events[2]["d"] == "-0.50000000"
    assert flow.price == _D(100)
    with pytest.raises(ExchangeError, match="insufficient balance"):
        world.exchange.move(world.account, "BTC", _D("-1.6"), FlowKind.WITHDRAWAL)


def test_trade_ids_go_up_with_other_peoples_trades_between(world: World) -> None:
    world.fund(USDT="1000")
    _place(world, _market(Side.BUY, "1"))
    world.advance(4.5)
    _place(world, _market(Side.BUY, "1"))
    first, second = (trade.trade_id for trade in world.account.trades["BTCUSDT"])
    assert second == first + 5  # trades at 3, 4, 5 and 5.5 s came between
