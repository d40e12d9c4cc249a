"""Orders that wait: stops, pairs of which one ends the other, orders that follow a filled one."""

from decimal import Decimal

import pytest

from infra.exchange.errors import ExchangeError
from infra.exchange.matching import OrderRequest
from infra.exchange.records import Contingency, Order, OrderStatus, OrderType, Side, TimeInForce
from infra.exchange.trading import ListRequest
from tests.support.exchange_world import World

_D = Decimal
# The market of these tests trades at 100 now, at 100 again at 3 s, at 99 at 4 s and at 102 at 5 s; 100 bid, 101 asked.
_UNTIL_99, _UNTIL_102 = 3.0, 4.0


def _stop(order_type: OrderType, side: Side, stop_price: str, price: str = "0", quantity: str = "1") -> OrderRequest:
    return OrderRequest("BTCUSDT", side, order_type, quantity=_D(quantity), price=_D(price), stop_price=_D(stop_price))


def _limit(side: Side, price: str, quantity: str = "1", order_type: OrderType = OrderType.LIMIT_MAKER) -> OrderRequest:
    return OrderRequest("BTCUSDT", side, order_type, quantity=_D(quantity), price=_D(price))


def _sell_pair(stop_type: OrderType = OrderType.STOP_LOSS) -> ListRequest:
    """Sell at 102, or when the price has fallen to 99."""
    stop_limit = "98.5" if stop_type is OrderType.STOP_LOSS_LIMIT else "0"
    return ListRequest(
        Contingency.OCO, (_limit(Side.SELL, "102", "0.5"), _stop(stop_type, Side.SELL, "99", stop_limit, "0.5"))
    )


def _story(world: World) -> list[tuple[object, ...]]:
    """What the account was told: type, order, execution, status; the list's own status."""
    return [
        (event.get("i"), event["x"], event["X"])
        if event["e"] == "executionReport"
        else (event["e"], *([event["L"]] if event["e"] == "listStatus" else []))
        for event in world.events
    ]


def _orders(world: World) -> list[Order]:
    return list(world.account.orders.values())


@pytest.mark.parametrize(
    ("request_", "seconds"),
    [
        (_stop(OrderType.STOP_LOSS, Side.SELL, "99"), _UNTIL_99),
        (_stop(OrderType.TAKE_PROFIT, Side.BUY, "99"), _UNTIL_99),
        (_stop(OrderType.STOP_LOSS, Side.BUY, "102"), _UNTIL_102),
        (_stop(OrderType.TAKE_PROFIT, Side.SELL, "102"), _UNTIL_102),
    ],
)
def test_a_stop_trades_at_the_market_when_the_last_price_reaches_it(
    world: World, request_: OrderRequest, seconds: float
) -> None:
    world.fund(USDT="1000", BTC="1")
    order = world.exchange.trading.place(world.account, request_)
    assert (order.status, order.is_working) == (OrderStatus.NEW, False)
    world.advance(seconds - 0.5)
    assert order.status is OrderStatus.NEW
    world.advance(0.5)
    (trade,) = world.account.trades["BTCUSDT"]
    assert (order.status, trade.price) == (OrderStatus.FILLED, _D(101) if request_.side is Side.BUY else _D(100))
    assert not trade.is_maker


def test_events_of_a_stop_that_is_set_off(world: World) -> None:
    world.fund(BTC="1")
    world.exchange.trading.place(world.account, _stop(OrderType.STOP_LOSS, Side.SELL, "99"))
    assert _story(world) == [(1, "NEW", "NEW"), ("outboundAccountPosition",)]
    assert (world.events[0]["w"], "W" in world.events[0], world.events[0]["P"]) == (False, False, "99.00000000")
    world.events.clear()
    world.advance(_UNTIL_99)
    assert _story(world) == [(1, "NEW", "NEW"), (1, "TRADE", "FILLED"), ("outboundAccountPosition",)]
    assert (world.events[0]["w"], world.events[0]["W"]) == (True, world.events[0]["T"])


def test_a_stop_limit_rests_when_its_price_is_not_there(world: World) -> None:
    world.fund(BTC="1")
    order = world.exchange.trading.place(world.account, _stop(OrderType.STOP_LOSS_LIMIT, Side.SELL, "99", "101.5"))
    assert world.balance("BTC") == (0, 1)
    world.advance(_UNTIL_99)
    assert (order.status, order.is_working) == (OrderStatus.NEW, True)
    world.advance(1)  # 1 BTC trades at 102, beyond the limit
    assert (order.status, order.executed_quote) == (OrderStatus.FILLED, _D("101.5"))


def test_a_stop_that_does_not_work_yet_is_not_on_the_book(world: World) -> None:
    world.fund(USDT="1000")
    order = world.exchange.trading.place(world.account, _stop(OrderType.STOP_LOSS_LIMIT, Side.BUY, "102", "102"))
    world.advance(_UNTIL_99)  # 9 BTC traded at 99, far below its limit
    assert order.executed == 0


def test_a_stop_to_buy_that_cannot_be_paid_expires_when_it_is_set_off(world: World) -> None:
    world.fund(USDT="100")
    order = world.exchange.trading.place(world.account, _stop(OrderType.STOP_LOSS, Side.BUY, "102"))
    world.advance(_UNTIL_102)
    assert (order.status, order.reason, world.balance("USDT")) == (OrderStatus.EXPIRED, "REJECTED", (100, 0))


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (_stop(OrderType.STOP_LOSS, Side.SELL, "100"), "trigger immediately"),
        (_stop(OrderType.STOP_LOSS, Side.BUY, "99"), "trigger immediately"),
        (_stop(OrderType.TAKE_PROFIT, Side.SELL, "99"), "trigger immediately"),
        (_stop(OrderType.STOP_LOSS, Side.SELL, "99.005"), "PRICE_FILTER"),
        (_stop(OrderType.STOP_LOSS, Side.SELL, "99", quantity="2"), "insufficient balance"),
        (_stop(OrderType.STOP_LOSS_LIMIT, Side.BUY, "102", "102", "11"), "insufficient balance"),
    ],
)
def test_stops_that_are_refused(world: World, request_: OrderRequest, message: str) -> None:
    world.fund(USDT="1000", BTC="1")
    with pytest.raises(ExchangeError, match=message):
        world.exchange.trading.place(world.account, request_)
    assert (world.account.orders, world.events) == ({}, [])


def test_no_more_than_five_stops_wait_on_a_symbol(world: World) -> None:
    world.fund(BTC="10")
    for _ in range(5):
        world.exchange.trading.place(world.account, _stop(OrderType.STOP_LOSS, Side.SELL, "99"))
    with pytest.raises(ExchangeError, match="MAX_NUM_ALGO_ORDERS"):
        world.exchange.trading.place(world.account, _stop(OrderType.STOP_LOSS, Side.SELL, "99"))


# -- one cancels the other


def test_a_pair_locks_once_and_says_so(world: World) -> None:
    world.fund(BTC="1")
    world.exchange.trading.place_list(world.account, _sell_pair())
    assert world.balance("BTC") == (_D("0.5"), _D("0.5"))
    assert _story(world) == [
        (1, "NEW", "NEW"),
        (2, "NEW", "NEW"),
        ("listStatus", "EXECUTING"),
        ("outboundAccountPosition",),
    ]
    assert [event["g"] for event in world.events[:3]] == [1, 1, 1]


def test_the_stop_of_a_pair_ends_the_other_order(world: World) -> None:
    world.fund(BTC="1")
    world.exchange.trading.place_list(world.account, _sell_pair())
    world.events.clear()
    world.advance(_UNTIL_99)
    assert _story(world) == [
        (1, "EXPIRED", "EXPIRED"),
        (2, "NEW", "NEW"),
        (2, "TRADE", "FILLED"),
        ("listStatus", "ALL_DONE"),
        ("outboundAccountPosition",),
    ]
    assert world.events[0]["eR"] == "OCO_TRIGGER"
    assert world.balance("BTC") == (_D("0.5"), 0)


def test_the_first_fill_of_the_limit_order_ends_the_stop(world: World) -> None:
    world.fund(BTC="3")
    pair = (_limit(Side.SELL, "102", "2"), _stop(OrderType.STOP_LOSS_LIMIT, Side.SELL, "98", "97", "2"))
    world.exchange.trading.place_list(world.account, ListRequest(Contingency.OCO, pair))
    world.events.clear()
    world.advance(_UNTIL_102)  # 1 BTC traded at 102
    assert _story(world) == [
        (2, "EXPIRED", "EXPIRED"),
        (1, "TRADE", "PARTIALLY_FILLED"),
        ("listStatus", "ALL_DONE"),
        ("outboundAccountPosition",),
    ]
    assert world.balance("BTC") == (1, 1)


def test_a_pair_to_buy_locks_what_the_dearer_order_needs(world: World) -> None:
    world.fund(USDT="1000")
    pair = (_stop(OrderType.STOP_LOSS_LIMIT, Side.BUY, "102", "103"), _limit(Side.BUY, "90"))
    world.exchange.trading.place_list(world.account, ListRequest(Contingency.OCO, pair))
    assert world.balance("USDT") == (_D(897), _D(103))
    world.exchange.trading.cancel(world.account, _orders(world)[0], "")
    assert world.balance("USDT") == (1000, 0)


def test_cancelling_one_order_cancels_the_list(world: World) -> None:
    world.fund(BTC="1")
    world.exchange.trading.place_list(world.account, _sell_pair())
    world.events.clear()
    world.exchange.trading.cancel(world.account, _orders(world)[1], "both")
    assert _story(world) == [
        (1, "CANCELED", "CANCELED"),
        (2, "CANCELED", "CANCELED"),
        ("listStatus", "ALL_DONE"),
        ("outboundAccountPosition",),
    ]
    assert (world.balance("BTC"), world.account.open_orders) == ((1, 0), {})


def test_a_pair_whose_prices_make_no_sense_is_refused(world: World) -> None:
    world.fund(BTC="1")
    pair = (_limit(Side.SELL, "102", "0.5"), _stop(OrderType.STOP_LOSS, Side.SELL, "101", quantity="0.5"))
    with pytest.raises(ExchangeError, match="relationship of the prices"):
        world.exchange.trading.place_list(world.account, ListRequest(Contingency.OCO, pair))
    assert (world.account.orders, world.balance("BTC")) == ({}, (1, 0))


def test_a_pair_that_cannot_be_paid_is_refused(world: World) -> None:
    world.fund(BTC="0.4")
    with pytest.raises(ExchangeError, match="insufficient balance"):
        world.exchange.trading.place_list(world.account, _sell_pair())


def test_the_id_of_a_list_is_free_again_when_the_list_is_done(world: World) -> None:
    world.fund(BTC="2")
    request = _sell_pair()._replace(client_order_id="mine")
    world.exchange.trading.place_list(world.account, request)
    with pytest.raises(ExchangeError, match="Duplicate order"):
        world.exchange.trading.place_list(world.account, request)
    world.exchange.trading.cancel(world.account, _orders(world)[0], "")
    assert world.exchange.trading.place_list(world.account, request).is_open


# -- one triggers the others


def test_pending_orders_wait_for_the_working_order(world: World) -> None:
    world.fund(USDT="1000")
    working = _limit(Side.BUY, "99.5", order_type=OrderType.LIMIT)
    pair = (_limit(Side.SELL, "101.5"), _stop(OrderType.STOP_LOSS, Side.SELL, "95"))
    world.exchange.trading.place_list(world.account, ListRequest(Contingency.OTO, (working, *pair)))
    assert [order.status for order in _orders(world)] == ["NEW", "PENDING_NEW", "PENDING_NEW"]
    assert (world.balance("USDT"), world.balance("BTC")) == ((_D("900.5"), _D("99.5")), (0, 0))
    world.fund(BNB="1")  # the fee, so that all that was bought can be sold
    world.advance(_UNTIL_99)
    assert _story(world) == [
        (1, "TRADE", "FILLED"),
        (2, "NEW", "NEW"),
        (3, "NEW", "NEW"),
        ("outboundAccountPosition",),
    ]
    assert world.balance("BTC") == (0, 1)
    world.events.clear()
    world.advance(1)  # 1 BTC traded at 102
    assert _story(world)[:2] == [(3, "EXPIRED", "EXPIRED"), (2, "TRADE", "FILLED")]
    assert _story(world)[2] == ("listStatus", "ALL_DONE")


def test_pending_orders_expire_with_the_working_order(world: World) -> None:
    world.fund(USDT="1000")
    working = _limit(Side.BUY, "99.5", order_type=OrderType.LIMIT)._replace(time_in_force=TimeInForce.IOC)
    request = ListRequest(Contingency.OTO, (working, _limit(Side.SELL, "101.5")))
    world.exchange.trading.place_list(world.account, request)
    assert [(order.status, order.reason) for order in _orders(world)] == [
        (OrderStatus.EXPIRED, "UNFILLED_IOC_QUANTITY_EXPIRED"),
        (OrderStatus.EXPIRED, "OTO_PHASE_ONE_EXPIRED"),
    ]
    assert world.account.open_lists == set()


def test_a_pending_order_that_cannot_be_paid_expires(world: World) -> None:
    world.fund(USDT="1000")
    working = _limit(Side.BUY, "101", order_type=OrderType.LIMIT)
    # The fee is taken from what is bought, so it cannot all be sold again.
    world.exchange.trading.place_list(world.account, ListRequest(Contingency.OTO, (working, _limit(Side.SELL, "102"))))
    assert [(order.status, order.reason) for order in _orders(world)] == [
        (OrderStatus.FILLED, ""),
        (OrderStatus.EXPIRED, "REJECTED"),
    ]


def test_a_pending_market_order_trades_at_once(world: World) -> None:
    world.fund(USDT="1000", BNB="1")
    working = _limit(Side.BUY, "101", order_type=OrderType.LIMIT)
    pending = OrderRequest("BTCUSDT", Side.SELL, OrderType.MARKET, quantity=_D(1))
    world.exchange.trading.place_list(world.account, ListRequest(Contingency.OTO, (working, pending)))
    assert [order.status for order in _orders(world)] == [OrderStatus.FILLED, OrderStatus.FILLED]
    assert world.balance("BTC") == (0, 0)
