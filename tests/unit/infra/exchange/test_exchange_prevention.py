"""Accounts that meet each other, and themselves; orders that are routed to several books."""

from decimal import Decimal

import pytest

from infra.exchange.errors import ExchangeError
from infra.exchange.ledger import Account
from infra.exchange.matching import OrderRequest
from infra.exchange.records import Order, OrderStatus, OrderType, PreventionMode, Side
from tests.support.exchange_world import World

_D = Decimal
_NEW, _DONE = OrderStatus.NEW, OrderStatus.EXPIRED_IN_MATCH


def _limit(side: Side, quantity: str, price: str, mode: PreventionMode = PreventionMode.NONE) -> OrderRequest:
    return OrderRequest("BTCUSDT", side, OrderType.LIMIT, quantity=_D(quantity), price=_D(price), prevention=mode)


def _other(world: World, trade_group: int = -1, **balances: str) -> Account:
    amounts = {asset: _D(amount) for asset, amount in balances.items()}
    account = world.exchange.open_account("other", amounts, trade_group)
    world.events.clear()
    return account


def _place(world: World, account: Account, request: OrderRequest) -> Order:
    return world.exchange.trading.place(account, request)


def test_accounts_trade_with_each_other_under_one_id(world: World) -> None:
    world.fund(USDT="1000", BNB="1")
    other = _other(world, BTC="1")
    _place(world, other, _limit(Side.SELL, "0.4", "100.5"))
    order = _place(world, world.account, _limit(Side.BUY, "1", "101"))
    taken, (given,) = world.account.trades["BTCUSDT"], other.trades["BTCUSDT"]
    # The other account's price is better than the market's 101.
    assert [(trade.price, trade.quantity) for trade in taken] == [(_D("100.5"), _D("0.4")), (_D(101), _D("0.6"))]
    assert (given.trade_id, given.price, given.is_maker, taken[0].is_maker) == (
        taken[0].trade_id,
        _D("100.5"),
        True,
        False,
    )
    assert order.status is OrderStatus.FILLED
    assert (other.balances["BTC"].free, other.balances["BTC"].locked) == (_D("0.6"), 0)
    assert other.balances["USDT"].free == _D("40.2") * (1 - _D("0.001"))


def test_at_one_price_an_account_comes_before_the_market(world: World) -> None:
    world.fund(USDT="1000")
    other = _other(world, BTC="1")
    _place(world, other, _limit(Side.SELL, "0.4", "101"))
    _place(world, world.account, OrderRequest("BTCUSDT", Side.BUY, OrderType.MARKET, quantity=_D(1)))
    assert [trade.quantity for trade in world.account.trades["BTCUSDT"]] == [_D("0.4"), _D("0.6")]
    assert len(other.trades["BTCUSDT"]) == 1


def test_a_post_only_order_does_not_take_from_an_account(world: World) -> None:
    world.fund(USDT="1000")
    _place(world, _other(world, BTC="1"), _limit(Side.SELL, "0.4", "100.5"))
    request = _limit(Side.BUY, "1", "100.5")._replace(type=OrderType.LIMIT_MAKER)
    with pytest.raises(ExchangeError, match="immediately match"):
        _place(world, world.account, request)


def test_a_self_trade_has_two_sides_of_one_id(world: World) -> None:
    world.fund(USDT="1000", BTC="1", BNB="1")
    _place(world, world.account, _limit(Side.SELL, "0.5", "100.5"))
    _place(world, world.account, _limit(Side.BUY, "0.5", "100.5"))
    sell, buy = world.account.trades["BTCUSDT"]
    assert (sell.trade_id, sell.order_id, buy.order_id) == (buy.trade_id, 1, 2)
    assert (world.balance("USDT"), world.balance("BTC")) == ((1000, 0), (1, 0))


# The scenarios of Binance's "Self Trade Prevention FAQ", with a bid of 0.6 and a taker of 0.2 that sells.
@pytest.mark.parametrize(
    ("mode", "maker_status", "maker_prevented", "taker_status", "taker_prevented"),
    [
        (PreventionMode.EXPIRE_TAKER, _NEW, "0", _DONE, "0.2"),
        (PreventionMode.EXPIRE_BOTH, _DONE, "0.6", _DONE, "0.2"),
        (PreventionMode.DECREMENT, _NEW, "0.2", _DONE, "0.2"),
        (PreventionMode.TRANSFER, _NEW, "0.2", _DONE, "0.2"),
    ],
)
def test_what_is_prevented(
    world: World,
    mode: PreventionMode,
    maker_status: OrderStatus,
    maker_prevented: str,
    taker_status: OrderStatus,
    taker_prevented: str,
) -> None:
    world.fund(USDT="1000", BTC="1")
    maker = _place(world, world.account, _limit(Side.BUY, "0.6", "100.5"))
    taker = _place(world, world.account, _limit(Side.SELL, "0.2", "100.5", mode))
    assert (maker.status, maker.prevented) == (maker_status, _D(maker_prevented))
    assert (taker.status, taker.prevented) == (taker_status, _D(taker_prevented))
    assert world.account.trades["BTCUSDT"] == []
    locked = maker.remaining * _D("100.5")
    assert world.balance("USDT") == (1000 - locked, locked)
    assert world.balance("BTC") == (1, 0)


def test_expire_maker_goes_on_with_the_taker(world: World) -> None:
    world.fund(USDT="1000", BTC="1")
    maker = _place(world, world.account, _limit(Side.BUY, "0.6", "100.5"))
    taker = _place(world, world.account, _limit(Side.SELL, "0.2", "100", PreventionMode.EXPIRE_MAKER))
    assert (maker.status, maker.prevented, maker.prevented_match_id) == (_DONE, _D("0.6"), 0)
    # The maker is gone, and the taker meets the market's bid.
    assert (taker.status, taker.executed_quote, taker.prevented) == (OrderStatus.FILLED, 20, 0)


def test_events_of_a_prevented_match(world: World) -> None:
    world.fund(USDT="1000", BTC="1")
    _place(world, world.account, _limit(Side.BUY, "0.6", "100.5"))
    world.events.clear()
    _place(world, world.account, _limit(Side.SELL, "0.2", "100.5", PreventionMode.EXPIRE_BOTH))
    kinds = [(event.get("i"), event.get("x"), event.get("X")) for event in world.events]
    assert kinds == [
        (2, "NEW", "NEW"),
        (1, "TRADE_PREVENTION", "EXPIRED_IN_MATCH"),
        (2, "TRADE_PREVENTION", "EXPIRED_IN_MATCH"),
        (None, None, None),
    ]
    shown = {name: world.events[1][name] for name in ("v", "A", "B", "u", "U", "Cs", "pl", "pL", "pY", "l", "L", "Y")}
    assert shown == {
        "v": 0,
        "A": "0.60000000",
        "B": "0.60000000",
        "u": -1,
        "U": 2,
        "Cs": "BTCUSDT",
        "pl": "0.20000000",
        "pL": "100.50000000",
        "pY": "20.10000000",
        **dict.fromkeys("lLY", "0.00000000"),
    }


def test_a_transfer_within_a_group_moves_money_without_commission(world: World) -> None:
    """Scenario H of the FAQ."""
    world.fund(BTC="1")
    world.account.trade_group = 1
    other = _other(world, trade_group=1, USDT="1000")
    told: list[str] = []
    world.exchange.user_listeners.append(lambda account, _events: told.append(account))
    maker = _place(world, other, _limit(Side.BUY, "0.6", "100.5", PreventionMode.TRANSFER))
    taker = _place(world, world.account, _limit(Side.SELL, "0.2", "100.5", PreventionMode.TRANSFER))
    assert (maker.status, taker.status) == (OrderStatus.NEW, _DONE)
    assert (world.balance("BTC"), world.balance("USDT")) == ((_D("0.8"), 0), (_D("20.1"), 0))
    assert (other.balances["BTC"].free, other.balances["USDT"].free) == (
        _D("0.2"),
        _D("1000") - _D("0.6") * _D("100.5"),
    )
    assert other.balances["USDT"].locked == _D("0.4") * _D("100.5")
    assert sorted(told) == ["demo", "other", "other"]
    assert world.events[-2]["u"] == 1


@pytest.mark.parametrize(
    ("taker", "maker"),
    [
        (PreventionMode.TRANSFER, PreventionMode.DECREMENT),
        (PreventionMode.DECREMENT, PreventionMode.TRANSFER),
    ],
)
def test_a_transfer_needs_both(world: World, taker: PreventionMode, maker: PreventionMode) -> None:
    world.fund(BTC="1")
    world.account.trade_group = 1
    other = _other(world, trade_group=1, USDT="1000")
    _place(world, other, _limit(Side.BUY, "0.6", "100.5", maker))
    _place(world, world.account, _limit(Side.SELL, "0.2", "100.5", taker))
    assert world.balance("BTC") == (1, 0)
    assert world.account.prevented["BTCUSDT"][0].mode is PreventionMode.DECREMENT


def test_other_groups_trade(world: World) -> None:
    world.fund(BTC="1")
    world.account.trade_group = 1
    other = _other(world, trade_group=2, USDT="1000")
    _place(world, other, _limit(Side.BUY, "0.6", "100.5"))
    _place(world, world.account, _limit(Side.SELL, "0.2", "100.5", PreventionMode.EXPIRE_BOTH))
    assert len(other.trades["BTCUSDT"]) == len(world.account.trades["BTCUSDT"]) == 1


def test_an_order_that_is_routed_gets_allocations(world: World) -> None:
    world.fund(USDT="1000", BNB="1")
    order = _place(world, world.account, _limit(Side.BUY, "1", "101")._replace(uses_sor=True))
    (allocation,) = world.account.allocations["BTCUSDT"]
    assert (order.status, allocation.trade_id, allocation.allocation_id) == (OrderStatus.FILLED, -1, 0)
    assert world.account.trades["BTCUSDT"] == []
    report = world.events[1]
    assert {name: report[name] for name in ("t", "a", "b", "k", "uS")} == {
        "t": -1,
        "a": 0,
        "b": "ONE_PARTY_TRADE_REPORT",
        "k": "SOR",
        "uS": True,
    }
    assert world.balance("BTC") == (1, 0)
