"""The full sync of a history that is longer than a page and a day, onto a real broker."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from infra.binance.errors import StreamLost
from infra.binance.prices import LivePrices
from infra.errors import RemediableError
from infra.portfolio_file import load_accounts
from infra.settings import Settings
from portfolio.events import BalanceReport, Event, Fill, Flow, FlowKind, ValuationPoint
from portfolio.reconciliation import reconcile
from streams.creation import ensure_topics
from streams.gateway.enrich import Enricher
from streams.gateway.flows import FlowHistories
from streams.gateway.inbox import Inbox
from streams.gateway.log import AccountLog, open_producer
from streams.gateway.status import GatewayStatus
from streams.gateway.sync import FullSync
from tests.support.gateway import folded, holdings, read_log
from tests.support.scripted_exchange import ScriptedExchange, candles, connected

pytestmark = pytest.mark.integration

DAY_MS = 86_400_000
START_MS = 19_700 * DAY_MS + 3_600_000
FILLS = 2_500
STEP_MS = 2 * DAY_MS // FILLS
END_MS = START_MS + FILLS * STEP_MS


def symbol_row(base: str, quote: str) -> dict[str, Any]:
    return {"symbol": base + quote, "baseAsset": base, "quoteAsset": quote, "status": "TRADING", "filters": []}


def trade(number: int) -> dict[str, Any]:
    """Buys and sells of 0.01 BTC in turns; a self-trade across the edge of the first page."""
    trade_id = 5_000 + (number if number < 1_000 else number - 1)
    return {
        "symbol": "BTCUSDT", "id": trade_id, "orderId": number, "price": "100.00", "qty": "0.01", "quoteQty": "1.0000",
        "commission": "0.001", "commissionAsset": "BNB", "time": START_MS + number * STEP_MS,
        "isBuyer": number % 2 == 0, "isMaker": False,
    }  # fmt: skip


TRADES = [trade(number) for number in range(FILLS)]


def history(balances: dict[str, str]) -> ScriptedExchange:
    exchange = ScriptedExchange()

    def my_trades(request: web.Request) -> object:
        rows = TRADES if request.query["symbol"] == "BTCUSDT" else []
        return [row for row in rows if row["id"] >= int(request.query["fromId"])][: int(request.query["limit"])]

    rows = [{"asset": asset, "free": free, "locked": "0"} for asset, free in balances.items()]
    exchange.scripts |= {
        "exchangeInfo": [(200, {"symbols": [symbol_row("BTC", "USDT"), symbol_row("BNB", "USDT")]})],
        "account": [(200, {"updateTime": END_MS, "balances": rows})],
        "myTrades": my_trades,
        "klines": candles(START_MS - START_MS % DAY_MS - 10 * DAY_MS, END_MS),
    }
    return exchange


@asynccontextmanager
async def account_log(settings: Settings) -> AsyncIterator[AccountLog]:
    async with open_producer(settings) as producer:
        log = AccountLog(settings, load_accounts(settings)[0], producer)
        await log.recover()
        yield log


async def sync(settings: Settings, exchange: ScriptedExchange, spool_path: Path | None = None) -> None:
    async with connected(exchange) as rest, account_log(settings) as log:
        inbox = Inbox(rest.exchange_time_us())
        inbox.end(StreamLost("nothing happens while it syncs"))
        catalogue = await rest.catalogue()
        enricher = Enricher(reporting="USDT", catalogue=catalogue, live=LivePrices(), rest=rest)
        await FullSync(
            rest=rest,
            catalogue=catalogue,
            enricher=enricher,
            account_log=log,
            inbox=inbox,
            histories=FlowHistories(rest),
            status=GatewayStatus(),
            spool_path=spool_path,
        ).run()


@pytest.fixture
async def settings(kafka_brokers: str) -> Settings:
    settings = Settings(kafka_brokers=kafka_brokers, account=f"sync-{secrets.token_hex(4)}")
    await ensure_topics(settings, on_wait=lambda _line: None, timeout_s=30)
    return settings


async def all_events(settings: Settings) -> list[Event]:
    return [event for record in await read_log(settings) for event in record.events]


async def test_a_history_is_published_whole_in_pages_with_its_midnights(settings: Settings) -> None:
    await sync(settings, history({"BTC": "0.5", "USDT": "1000", "BNB": "7"}))
    records = await read_log(settings)
    events = [event for record in records for event in record.events]
    fills = [event for event in events if isinstance(event, Fill)]
    assert [(fill.trade_id, fill.order_id) for fill in fills] == [(row["id"], row["orderId"]) for row in TRADES]
    assert max(len(record.events) for record in records) == 1_000
    assert len(records) == 4  # the openings, and three pages
    # What was held before the history: balances less what the trades changed.
    openings = {event.asset: event.quantity for event in events if isinstance(event, Flow)}
    assert openings == {"BTC": Decimal("0.5"), "USDT": Decimal(1_000), "BNB": 7 + FILLS * Decimal("0.001")}
    # A fee in BNB is valued at the price of its minute: the close is the number of the minute.
    assert all(fill.rates == {"BNB": Decimal(fill.time_us // 60_000_000)} for fill in fills)
    points = [event for event in events if isinstance(event, ValuationPoint)]
    midnights = [point for point in points if point.time_us % (DAY_MS * 1_000) == 0]
    assert [point.time_us // 1_000 // DAY_MS for point in midnights] == [19_701, 19_702]
    assert all(point.rates.keys() == {"BTC", "BNB"} for point in midnights)
    assert isinstance(events[-2], BalanceReport)
    book, _ = await folded(settings)
    assert holdings(book) == {"BTC": Decimal("0.5"), "USDT": Decimal(1_000), "BNB": Decimal(7)}
    assert not reconcile(book)


async def test_a_second_sync_adds_no_fill_and_books_what_changed_unseen_as_a_flow(settings: Settings) -> None:
    await sync(settings, history({"BTC": "0.5", "USDT": "1000", "BNB": "7"}))
    before = await all_events(settings)
    await sync(settings, history({"BTC": "0.5", "USDT": "1000", "BNB": "7"}))
    again = (await all_events(settings))[len(before) :]
    assert not [event for event in again if isinstance(event, Fill | Flow)]

    await sync(settings, history({"BTC": "0.25", "USDT": "1500", "BNB": "7"}))
    flows = [event for event in (await all_events(settings))[len(before) :] if isinstance(event, Flow)]
    assert [(flow.asset, flow.quantity, flow.kind) for flow in flows] == [
        ("BTC", Decimal("-0.25"), FlowKind.UNCLASSIFIED),
        ("USDT", Decimal(500), FlowKind.UNCLASSIFIED),
    ]
    book, _ = await folded(settings)
    assert holdings(book) == {"BTC": Decimal("0.25"), "USDT": Decimal(1_500), "BNB": Decimal(7)}


async def test_who_is_killed_while_reading_goes_on_where_it_was_and_publishes_once(
    settings: Settings, tmp_path: Path
) -> None:
    balances = {"BTC": "0.5", "USDT": "1000", "BNB": "7"}
    exchange, reached = history(balances), asyncio.Event()
    answer = exchange.scripts["myTrades"]
    assert callable(answer)

    def until_the_second_page(request: web.Request) -> object:
        if int(request.query["fromId"]) > 5_500:
            reached.set()
        return answer(request)

    exchange.scripts["myTrades"] = until_the_second_page
    killed = asyncio.create_task(sync(settings, exchange, tmp_path / "spool.sqlite"))
    await asyncio.wait_for(reached.wait(), 30)
    killed.cancel()
    await asyncio.gather(killed, return_exceptions=True)
    assert not await all_events(settings)

    again = history(balances)
    await sync(settings, again, tmp_path / "spool.sqlite")
    fills = [event for event in await all_events(settings) if isinstance(event, Fill)]
    assert [(fill.trade_id, fill.order_id) for fill in fills] == [(row["id"], row["orderId"]) for row in TRADES]
    trades = [request for request in again.requests if request.path.endswith("myTrades")]
    asked = [int(request.query["fromId"]) for request in trades if request.query["symbol"] == "BTCUSDT"]
    assert min(asked) >= 5_999
    book, _ = await folded(settings)
    assert not reconcile(book)


def large_exchange(balances: dict[str, str], trades: list[dict[str, Any]], update_ms: int) -> ScriptedExchange:
    """An exchange that lists 150 symbols more."""
    exchange = history(balances)
    rows = [{"asset": asset, "free": free, "locked": "0"} for asset, free in balances.items()]
    listed = [symbol_row(base, "USDT") for base in ("BTC", "BNB", *(f"A{number}" for number in range(150)))]
    exchange.scripts |= {
        "exchangeInfo": [(200, {"symbols": listed})],
        "account": [(200, {"updateTime": update_ms, "balances": rows})],
        "openOrders": [(200, [])],
        "myTrades": lambda request: [
            row
            for row in trades
            if row["symbol"] == request.query["symbol"] and row["id"] >= int(request.query["fromId"])
        ],
    }
    return exchange


async def test_a_pair_that_was_traded_meanwhile_is_found_with_few_requests(settings: Settings) -> None:
    first = large_exchange({"BTC": "0.5", "BNB": "7"}, [], END_MS)
    await sync(settings, first)
    # Only what is held is suspected: neither of the two explains why it is there, so it is an opening.
    assert first.count("myTrades") <= 4

    bought = {
        "symbol": "A77USDT", "id": 9, "orderId": 1, "price": "2", "qty": "3", "quoteQty": "6", "commission": "0.1",
        "commissionAsset": "BNB", "time": END_MS + 500, "isBuyer": True, "isMaker": False,
    }  # fmt: skip
    sold = bought | {"id": 10, "orderId": 2, "price": "4", "qty": "1", "quoteQty": "4", "isBuyer": False}
    balances = {"BTC": "0.5", "BNB": "6.8", "A77": "2", "USDT": "8"}
    unchanged = large_exchange({"BTC": "0.5", "BNB": "7"}, [], END_MS)
    await sync(settings, unchanged)
    assert unchanged.count("myTrades") == 0

    # 10 USDT came in as well, from where nobody tells.
    later = large_exchange(balances, [bought, sold], END_MS + 1_000)
    before = len(await all_events(settings))
    await sync(settings, later)
    events = (await all_events(settings))[before:]
    assert [event.trade_id for event in events if isinstance(event, Fill)] == [9, 10]
    flows = [event for event in events if isinstance(event, Flow)]
    assert {(flow.asset, flow.kind) for flow in flows} == {("USDT", FlowKind.UNCLASSIFIED)}
    book, _ = await folded(settings)
    assert not reconcile(book)


async def test_a_log_in_another_currency_is_not_continued(settings: Settings) -> None:
    await sync(settings, history({"BTC": "0.5"}))
    other = settings.model_copy(update={"reporting_currency": "EUR"})
    with pytest.raises(RemediableError, match="PORTFOLIO_REPORTING=USDT"):
        async with account_log(other):
            pass


async def test_an_account_that_trades_on_is_not_settled_without_its_stream(settings: Settings) -> None:
    exchange = history({"BTC": "1", "USDT": "100"})
    looks = 0

    def account(_request: web.Request) -> object:
        nonlocal looks
        looks += 1
        rows = [
            {"asset": "BTC", "free": str(looks), "locked": "0"},
            {"asset": "ETH", "free": str(looks), "locked": "0"},
        ]
        return {"updateTime": END_MS + looks, "balances": rows}

    exchange.scripts["account"] = account
    with pytest.raises(StreamLost):
        await sync(settings, exchange)
    # At once, and not after all the looks that a stream which tells would be given.
    assert looks <= 4
    assert await all_events(settings) == []
