"""What was read of a history is kept until it is published, also when whoever read it is killed."""

import sqlite3
from decimal import Decimal
from pathlib import Path

import pytest

from infra.binance.catalogue import Catalogue, Instrument
from portfolio.events import ExecutionKind, Fill, Side
from streams.gateway.backfill import Backfill
from streams.gateway.discovery import first_symbols, later_symbols, suspects
from streams.gateway.published import Published
from streams.gateway.spool import FillSpool
from streams.gateway.status import GatewayStatus
from tests.support.scripted_exchange import ScriptedExchange, connected

CATALOGUE = Catalogue(
    {
        base + quote: Instrument(symbol=base + quote, base=base, quote=quote)
        for base, quote in (("BTC", "USDT"), ("ETH", "USDT"), ("ETH", "BTC"), ("SOL", "USDT"), ("SOL", "BTC"))
    }
)
DAY_US = 86_400_000_000


def fill(trade_id: int, symbol: str = "BTCUSDT", **changes: object) -> Fill:
    fields: dict[str, object] = {
        "time_us": 1_000_000 * trade_id, "symbol": symbol, "base": symbol[:3], "quote": symbol[3:], "side": Side.BUY,
        "price": Decimal(2), "quantity": Decimal(1), "trade_id": trade_id, "order_id": trade_id,
    }  # fmt: skip
    return Fill(**fields | changes)  # type: ignore[arg-type]  # the values are checked by the struct


def test_it_is_there_again_after_it_was_closed_and_forgets_what_was_published(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "spool.sqlite"
    with FillSpool(path, origin="here") as spool:
        spool.add_page("BTCUSDT", [fill(1), fill(2), fill(3)], next_id=3, whole_at_us=None)
        spool.add_page("ETHUSDT", [fill(2, "ETHUSDT")], next_id=2, whole_at_us=77)
    published = Published()
    published.add_new([fill(1), fill(2)])
    with FillSpool(path, origin="here") as spool:
        assert (spool.next_id("BTCUSDT"), spool.next_id("ETHUSDT"), spool.next_id("ETHBTC")) == (3, 2, None)
        assert (spool.whole_symbols(76), spool.whole_symbols(77)) == (set(), {"ETHUSDT"})
        spool.drop_published(published)
        assert [(each.symbol, each.trade_id) for each in spool.ordered()] == [("ETHUSDT", 2), ("BTCUSDT", 3)]
        assert spool.has(fill(3))
        assert not spool.has(fill(3, price=Decimal(3)))
        spool.clear()
    with FillSpool(path, origin="here") as spool:
        assert (len(spool), spool.next_id("BTCUSDT"), spool.first_time_us) == (0, None, None)


def test_half_of_a_self_trade_that_was_published_leaves_the_other_half(tmp_path: Path) -> None:
    published = Published()
    published.add_new([fill(7, order_id=1)])
    with FillSpool(tmp_path / "spool.sqlite") as spool:
        spool.add([fill(7, order_id=1), fill(7, order_id=2)])
        spool.drop_published(published)
        assert [each.order_id for each in spool.ordered()] == [2]


def test_fills_of_a_symbol_keep_the_order_of_their_ids_whatever_their_times_and_whoever_came_first() -> None:
    """What the stream lost is read late. Published behind a higher id, the ledger would take it for a duplicate."""
    with FillSpool() as spool:
        spool.add([fill(5), fill(9, time_us=4_000_000), fill(6, "ETHUSDT")])
        spool.add_page("BTCUSDT", [fill(3), fill(8)], next_id=9, whole_at_us=1)
        ordered = [(each.symbol, each.trade_id) for each in spool.ordered()]
        assert ordered == [("BTCUSDT", 3), ("BTCUSDT", 5), ("ETHUSDT", 6), ("BTCUSDT", 8), ("BTCUSDT", 9)]
        assert spool.symbols == {"BTCUSDT", "ETHUSDT"}


def test_what_was_read_at_another_exchange_is_forgotten(tmp_path: Path) -> None:
    path = tmp_path / "spool.sqlite"
    with FillSpool(path, origin="testnet") as spool:
        spool.add([fill(1)])
    with FillSpool(path, origin="real") as spool:
        assert not len(spool)


def test_a_damaged_file_is_begun_anew_and_one_in_use_is_left_alone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "spool.sqlite"
    path.write_bytes(b"this is no database " * 100)
    with FillSpool(path) as spool:
        spool.add([fill(1)])
        with FillSpool(path) as other:
            other.add([fill(2)])
            assert [each.trade_id for each in other.ordered()] == [2]
        assert [each.trade_id for each in spool.ordered()] == [1]
    assert "is damaged" in caplog.text
    assert "cannot be used" in caplog.text
    with sqlite3.connect(path) as database:
        assert database.execute("SELECT count(*) FROM fill").fetchone() == (1,)


def trades(count: int) -> list[dict[str, object]]:
    return [
        {"symbol": "BTCUSDT", "id": number, "orderId": number, "price": "2", "qty": "1", "quoteQty": "2",
         "commission": "0", "commissionAsset": "BNB", "time": number * 1_000, "isBuyer": True}
        for number in range(1, count + 1)
    ]  # fmt: skip


def history(rows: list[dict[str, object]]) -> ScriptedExchange:
    exchange = ScriptedExchange()
    exchange.scripts["myTrades"] = lambda request: [
        row for row in rows if int(str(row["id"])) >= int(request.query["fromId"])
    ][: int(request.query["limit"])]
    return exchange


async def test_who_is_killed_goes_on_at_the_page_where_it_was(tmp_path: Path) -> None:
    rows, path, status = trades(3_500), tmp_path / "spool.sqlite", GatewayStatus()
    first = history(rows[:2_000])  # the third page was not answered any more
    async with connected(first) as rest:
        with FillSpool(path) as spool:
            published = Published()
            reading = Backfill(rest=rest, catalogue=CATALOGUE, published=published, spool=spool, status=status)
            await reading.read(["BTCUSDT"])
    again = history(rows)
    async with connected(again) as rest:
        with FillSpool(path) as spool:
            reading = Backfill(rest=rest, catalogue=CATALOGUE, published=published, spool=spool, status=status)
            assert await reading.read(["BTCUSDT"]) == {"BTC", "USDT"}
            assert [each.trade_id for each in spool.ordered()] == [row["id"] for row in rows]
    asked = [int(request.query["fromId"]) for request in again.requests if request.path.endswith("myTrades")]
    assert min(asked) == 2_000
    assert status.backfill_percent == 100
    assert status.backfill_events == 1_500
    assert status.backfill_phase == ""


async def test_a_history_that_is_no_longer_there_is_read_anew(tmp_path: Path) -> None:
    with FillSpool(tmp_path / "spool.sqlite") as spool:
        spool.add_page("BTCUSDT", [fill(90), fill(100)], next_id=100, whole_at_us=None)
        async with connected(history(trades(3))) as rest:
            reading = Backfill(
                rest=rest, catalogue=CATALOGUE, published=Published(), spool=spool, status=GatewayStatus()
            )
            await reading.read(["BTCUSDT"])
        assert [each.trade_id for each in spool.ordered()] == [1, 2, 3]


async def test_allocations_and_transfers_between_accounts_are_found_by_their_orders() -> None:
    exchange = ScriptedExchange()
    allocation = {
        "symbol": "BTCUSDT", "allocationId": 4, "allocationType": "SOR", "orderId": 1, "orderListId": -1,
        "price": "1.00000000", "qty": "5.00000000", "quoteQty": "5.00000000", "commission": "0.00100000",
        "commissionAsset": "BTC", "time": 1687506878118, "isBuyer": True, "isMaker": False, "isAllocator": False,
    }  # fmt: skip
    order = {"symbol": "BTCUSDT", "orderId": 12, "side": "BUY", "preventedMatchId": 3, "clientOrderId": "mine"}
    match = {
        "symbol": "BTCUSDT", "preventedMatchId": 3, "takerOrderId": 13, "makerSymbol": "BTCUSDT", "makerOrderId": 12,
        "tradeGroupId": 1, "selfTradePreventionMode": "TRANSFER", "price": "0.20000000",
        "takerPreventedQuantity": "0.20000000", "makerPreventedQuantity": "0.60000000", "transactTime": 1669101687094,
    }  # fmt: skip
    same_account = match | {"preventedMatchId": 4, "takerOrderId": 20}
    decreased = match | {"preventedMatchId": 5, "selfTradePreventionMode": "DECREMENT"}
    plain = {"symbol": "BTCUSDT", "orderId": 20, "side": "SELL"}
    exchange.scripts |= {
        "myAllocations": [(200, [allocation])],
        "allOrders": [(200, [order, plain])],
        "myPreventedMatches": [(200, [match, same_account, decreased])],
    }
    async with connected(exchange) as rest:
        with FillSpool() as spool:
            reading = Backfill(
                rest=rest, catalogue=CATALOGUE, published=Published(), spool=spool, status=GatewayStatus()
            )
            await reading.read_others(["BTCUSDT"], 0)
            await reading.read_others(["BTCUSDT"], 0)
            fills = list(spool.ordered())
    assert [(each.execution, each.trade_id, each.side, each.quantity, each.price) for each in fills] == [
        (ExecutionKind.PREVENTION, 3, Side.BUY, Decimal("0.2"), Decimal("0.2")),
        (ExecutionKind.ALLOCATION, 4, Side.BUY, Decimal(5), Decimal(1)),
    ]
    assert exchange.count("myPreventedMatches") == 1


def test_symbols_are_looked_for_where_the_evidence_is() -> None:
    many = Catalogue(
        {
            f"A{number}USDT": Instrument(symbol=f"A{number}USDT", base=f"A{number}", quote="USDT")
            for number in range(150)
        }
        | {"A1A2": Instrument(symbol="A1A2", base="A1", quote="A2")}
    )
    assert first_symbols(CATALOGUE, set()) == {each.symbol for each in CATALOGUE}
    assert first_symbols(many, {"A1", "A2", "USDT"}) == {"A1USDT", "A2USDT", "A1A2"}
    assert later_symbols(CATALOGUE, ()) == {each.symbol for each in CATALOGUE}
    assert later_symbols(many, ["A7USDT", "GONE"]) == {"A7USDT"}
    assert later_symbols(many, [f"A{number}USDT" for number in range(60)]) == set()
    groups = list(suspects(many, {"A1", "USDT"}, ["A9USDT"], {"A3USDT"}))
    assert groups[:3] == [{"A1USDT"}, {"A9USDT"}, {"A1A2"}]
    assert len(groups[3]) == 150 - 3
    assert not list(suspects(many, {"A1"}, (), {"A1USDT", "A1A2"}))
