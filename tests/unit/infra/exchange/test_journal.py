"""What the journal keeps through restarts and kills."""

from decimal import Decimal
from fractions import Fraction

import pytest

from infra.exchange.journal import JournalError
from infra.exchange.matching import OrderRequest
from infra.exchange.operator_api import books
from infra.exchange.records import OrderType, Side
from tests.unit.infra.exchange.conftest import Reopener

_BUY = OrderRequest("BTCUSDT", Side.BUY, OrderType.MARKET, quantity=Decimal(3))
_REST = OrderRequest("BTCUSDT", Side.BUY, OrderType.LIMIT, quantity=Decimal(1), price=Decimal(100))


def test_a_restart_goes_on_with_orders_and_ids(reopener: Reopener) -> None:
    world = reopener.open()
    world.fund(USDT="1000", BNB="1")
    world.exchange.trading.place(world.account, _BUY)
    world.exchange.trading.place(world.account, _REST)
    before = books(world.account)
    last_id = world.account.trades["BTCUSDT"][-1].trade_id

    world = reopener.open()
    assert books(world.account) == before
    world.advance(3)
    (order,) = [each for each in world.account.orders.values() if each.placed.type is OrderType.LIMIT]
    assert order.executed == 1
    assert world.account.trades["BTCUSDT"][-1].trade_id > last_id
    assert world.exchange.trading.place(world.account, _REST).placed.order_id == order.placed.order_id + 1


def test_an_accounts_trade_ids_go_up_when_the_market_becomes_slower(reopener: Reopener) -> None:
    world = reopener.open(speed=Fraction(10))
    world.fund(USDT="1000", BNB="1")
    world.exchange.trading.place(world.account, _BUY)
    world = reopener.open(speed=Fraction(1))
    world.exchange.trading.place(world.account, _BUY)
    ids = [trade.trade_id for trade in world.account.trades["BTCUSDT"]]
    assert ids == sorted(set(ids))


def test_a_torn_last_line_is_cut_off_and_everything_before_it_stands(reopener: Reopener) -> None:
    world = reopener.open()
    world.fund(USDT="1000")
    before = books(world.account)
    size = (reopener.directory / "journal.jsonl").stat().st_size
    world.exchange.trading.place(world.account, _BUY)
    reopener.close()
    path = reopener.directory / "journal.jsonl"
    whole = path.read_bytes()
    for length in range(size, len(whole)):
        path.write_bytes(whole[:length])
        assert books(reopener.open().account) == before
        reopener.close()
        assert path.stat().st_size == size
    path.write_bytes(whole)
    assert reopener.open().account.trades["BTCUSDT"]


def test_a_line_damaged_in_the_middle_is_refused_by_its_number(reopener: Reopener) -> None:
    world = reopener.open()
    world.fund(USDT="1000", BNB="1")
    reopener.close()
    path = reopener.directory / "journal.jsonl"
    path.write_bytes(path.read_bytes().replace(b'"1000"', b'"many"'))
    with pytest.raises(JournalError, match="line 1 cannot be read"):
        reopener.open()


def test_two_exchanges_never_share_a_journal(reopener: Reopener) -> None:
    reopener.open()
    with pytest.raises(JournalError, match="in use by another exchange"):
        Reopener(reopener.directory).open()
