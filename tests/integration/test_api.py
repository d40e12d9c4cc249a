"""The API over a real Postgres that real events were folded into."""

import asyncio
import json
import os
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from decimal import Decimal
from typing import Any

import asyncpg
import httpx
import pytest
import redis.asyncio

from api.app import create_app
from api.examples import EXAMPLES_PATH
from infra.postgres.migrate import migrate
from infra.postgres.writer import LogRef, Writer
from infra.settings import Settings
from portfolio.snapshots import AccountSnapshot, LedgerUpdate
from tests.support.journal import DAY_US, START_US, Journal, balances, deposit, fill, sample_account, valuation

pytestmark = pytest.mark.integration

LIVE_US = START_US + 5 * DAY_US + 60_000_000
LIVE_MARKS = {"BTC": "62111.5", "ETH": "3190.25", "BNB": "615"}
NO_REDIS = "redis://127.0.0.1:1/0"
EXAMPLES = (
    "/portfolio/overview",
    "/portfolio/balances",
    "/portfolio/positions?status=all&limit=2",
    "/portfolio/metrics?period=7d",
    "/portfolio/pnl-by-symbol",
    "/portfolio/trade-history?symbol=BTCUSDT&limit=2",
    "/portfolio/equity?period=7d&points=5",
    "/portfolio/accounts",
    "/portfolio/flows?limit=2",
    "/portfolio/fees",
    "/portfolio/reconciliation",
    "/portfolio/positions/BTCUSDT",
    "/portfolio/positions/BTCUSDT/candles?timeframe=1d&period=7d",
    "/portfolio/equity/candles?timeframe=1d&period=7d",
    "/metrics/performance?period=7d",
    "/metrics/drawdowns",
    "/metrics/returns?bucket=week",
    "/metrics/benchmark?symbol=BTCUSDT",
    "/metrics/by-strategy",
    "/health/live",
    "/health/ready",
)
PROBLEM_FIELDS = {"type", "title", "status", "detail", "instance"}

Client = httpx.AsyncClient
OpenClient = Callable[..., Awaitable[Client]]


@asynccontextmanager
async def serving(database_url: str, redis_url: str = NO_REDIS) -> AsyncIterator[Client]:
    settings = Settings(database_url=database_url, redis_url=redis_url, kafka_brokers="127.0.0.1:1", _env_file=None)
    app = create_app(settings)
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with app.router.lifespan_context(app), Client(transport=transport, base_url="http://localhost") as client:
        yield client


@pytest.fixture
async def url(database_url: str) -> str:
    await migrate(database_url)
    return database_url


@pytest.fixture
async def serve() -> AsyncIterator[OpenClient]:
    async with AsyncExitStack() as stack:

        async def open_client(*urls: str) -> Client:
            return await stack.enter_async_context(serving(*urls))

        yield open_client


async def store(url: str, updates: list[LedgerUpdate], *snapshots: AccountSnapshot) -> None:
    async with Writer(url) as writer:
        refs = [LogRef("portfolio.journal", 3, number) for number in range(len(updates))]
        await writer.write(list(zip(refs, updates, strict=True)), snapshots)


@pytest.fixture
async def sample(url: str, serve: OpenClient) -> tuple[Client, Journal]:
    """The sample account at live marks, behind the API, without Redis."""
    journal, updates = sample_account()
    await store(url, updates, journal.marked(LIVE_US, **LIVE_MARKS))
    return await serve(url), journal


async def execute(url: str, statement: str, *values: str) -> None:
    connection = await asyncpg.connect(url)
    await connection.execute(statement, *values)
    await connection.close()


async def get(client: Client, path: str) -> Any:
    answer = await client.get(path)
    assert answer.status_code == 200, answer.text
    return answer.json()


def total(rows: list[dict[str, str]], name: str) -> Decimal:
    return sum((Decimal(row[name]) for row in rows), Decimal(0))


async def test_the_overview_is_conserved_to_the_last_digit(sample: tuple[Client, Journal]) -> None:
    client, journal = sample
    told = await get(client, "/portfolio/overview")
    money = {name: Decimal(value) for name, value in told.items() if isinstance(value, str) and value[-1].isdigit()}
    assert money["equity"] == money["net_flows"] + money["realized_pnl"] + money["unrealized_pnl"]
    assert money["total_pnl"] == money["realized_pnl"] + money["unrealized_pnl"]
    live = journal.marked(LIVE_US, **LIVE_MARKS)
    assert (money["equity"], money["realized_pnl"], money["fees"]) == (live.equity, live.realized, live.fees)
    assert money["equity"] == total(told["balances"], "usd_value")
    assert told["active_positions"] == 3
    assert told["differences"] == 1
    assert told["hint"] is None


async def test_balances_show_exchange_and_ledger(sample: tuple[Client, Journal]) -> None:
    client, journal = sample
    rows = await get(client, "/portfolio/balances")
    assert rows == (await get(client, "/portfolio/overview"))["balances"]
    by_asset = {row["asset"]: row for row in rows}
    assert list(by_asset) == ["USDT", "BTC", "ETH", "BNB"], "most valuable first; what is held no more is left out"
    usdt = by_asset["USDT"]
    assert Decimal(usdt["ledger_quantity"]) == journal.book.holdings["USDT"].quantity
    assert Decimal(usdt["total"]) == Decimal(usdt["free"]) + Decimal(usdt["locked"])
    assert (usdt["difference"], usdt["difference_reason"]) == ("0.5", "unclassified_flow")
    assert by_asset["BTC"]["usd_value"] == "15527.875"
    assert by_asset["BTC"]["timestamp"] == "2026-01-06T00:01:00.000000Z"


async def test_positions_by_status_symbol_and_limit(sample: tuple[Client, Journal]) -> None:
    client, _ = sample
    everything = await get(client, "/portfolio/positions?status=all")
    opened = await get(client, "/portfolio/positions?status=open")
    closed = await get(client, "/portfolio/positions?status=closed")
    assert [row["symbol"] for row in opened] == ["ETHUSDT", "BTCUSDT", "BNBUSDT"]
    assert [row["symbol"] for row in closed] == ["SOLUSDT", "BTCUSDT"]
    assert {row["id"] for row in everything} == {row["id"] for row in opened + closed}
    assert await get(client, "/portfolio/positions?limit=1") == everything[:1]
    assert {row["symbol"] for row in await get(client, "/portfolio/positions?symbol=btcusdt")} == {"BTCUSDT"}
    bitcoin = next(row for row in opened if row["symbol"] == "BTCUSDT")
    assert (bitcoin["side"], bitcoin["quantity"], bitcoin["entry_price"]) == ("LONG", "0.25", "59800")
    assert (bitcoin["current_price"], bitcoin["unrealized"]) == ("62111.5", "577.875")
    assert Decimal(bitcoin["pnl"]) == Decimal(bitcoin["realized"]) + Decimal("577.875")
    assert bitcoin["pnl_percent"] == pytest.approx(float(Decimal(bitcoin["pnl"]) * 100 / (59800 * Decimal("0.4"))))
    assert closed[0]["close_time"] is not None


async def test_pnl_by_symbol_adds_up_to_the_overview(sample: tuple[Client, Journal]) -> None:
    client, _ = sample
    rows = await get(client, "/portfolio/pnl-by-symbol")
    told = await get(client, "/portfolio/overview")
    for name in ("realized_pnl", "unrealized_pnl", "total_pnl", "fees"):
        assert total(rows, name) == Decimal(told[name]), name


async def test_fees_add_up_to_the_overview_both_ways(sample: tuple[Client, Journal]) -> None:
    client, _ = sample
    told = await get(client, "/portfolio/fees")
    assert told["fees"] == (await get(client, "/portfolio/overview"))["fees"]
    assert total(told["by_asset"], "value") == total(told["by_symbol"], "fees") == Decimal(told["fees"])
    assert {row["asset"] for row in told["by_asset"]} == {"BNB", "SOL", "USDT"}
    trades = await get(client, "/portfolio/trade-history")
    in_bnb = [row for row in trades if row["fee_asset"] == "BNB"]
    assert next(row for row in told["by_asset"] if row["asset"] == "BNB") == {
        "asset": "BNB",
        "quantity": str(total(in_bnb, "fee").normalize()),
        "value": str(total(in_bnb, "fee_value").normalize()),
        "fills": len(in_bnb),
    }


async def test_flows_are_newest_first(sample: tuple[Client, Journal]) -> None:
    rows = await get(sample[0], "/portfolio/flows")
    assert [row["id"] for row in rows] == ["w1", "r1", "d2", "d1"]
    assert [row["kind"] for row in rows] == ["withdrawal", "reward", "deposit", "deposit"]
    assert (rows[0]["quantity"], rows[0]["value"]) == ("-5000", "-5000")
    assert (rows[2]["quantity"], rows[2]["value"]) == ("3", "1800")


async def test_the_exchange_is_compared_with_the_ledger(url: str, serve: OpenClient) -> None:
    client = await serve(url)
    told = await get(client, "/portfolio/reconciliation")
    assert told == {"agrees": True, "timestamp": None, "compared": 0, "differences": []}
    journal, updates = sample_account()
    await store(url, updates)
    told = await get(client, "/portfolio/reconciliation")
    assert (told["agrees"], told["compared"]) == (False, 4)
    assert [(row["asset"], row["difference"]) for row in told["differences"]] == [("USDT", "0.5")]
    usdt = str(journal.book.holdings["USDT"].quantity)
    await store(url, [*updates, journal.page(balances(LIVE_US, USDT=usdt))])
    told = await get(client, "/portfolio/reconciliation")
    assert (told["agrees"], told["differences"], told["timestamp"]) == (True, [], "2026-01-06T00:01:00.000000Z")


async def test_trades_are_newest_first(sample: tuple[Client, Journal]) -> None:
    client, journal = sample
    rows = await get(client, "/portfolio/trade-history")
    assert [row["trade_id"] for row in rows] == [8, 7, 6, 5, 4, 3, 2, 1]
    assert total(rows, "fee_value") == journal.book.fees
    two = await get(client, "/portfolio/trade-history?symbol=BTCUSDT&limit=2")
    assert [row["trade_id"] for row in two] == [8, 6]


async def test_metrics_of_all_time_are_the_overview(sample: tuple[Client, Journal]) -> None:
    client, journal = sample
    told = await get(client, "/portfolio/metrics?period=all")
    overview = await get(client, "/portfolio/overview")
    for name in ("total_pnl", "realized_pnl", "unrealized_pnl"):
        assert told[name] == overview[name], name
    assert (told["win_rate"], told["closed_round_trips"]) == (0.5, 2)
    assert told["undefined"]["sortino_ratio"] == "no return is negative, so there is no downside deviation"
    assert told["sortino_ratio"] is None
    index = journal.book.returns
    live = Decimal(overview["equity"]) / index.last_equity
    assert told["time_weighted_return"] == pytest.approx(float(index.index * live) - 1)


async def test_metrics_of_a_period_count_from_its_opening_value(sample: tuple[Client, Journal]) -> None:
    client, journal = sample
    told = await get(client, "/portfolio/metrics?period=24h")
    # The last valuation at or before the start is the one of the fourth midnight; 5,000 were withdrawn since.
    points = [booked.valuation for update in sample_account()[1] for booked in update.booked]
    opening = next(point.equity for point in points if point and point.time_us == START_US + 4 * DAY_US)
    assert Decimal(told["total_pnl"]) == journal.marked(LIVE_US, **LIVE_MARKS).equity + 5000 - opening
    assert Decimal(told["realized_pnl"]) == 0
    assert told["start"] == "2026-01-05T00:00:00.000000Z"


async def test_a_position_that_was_never_bought_is_no_round_trip(url: str, serve: OpenClient) -> None:
    journal = Journal()
    await store(url, [journal.page(fill(1, "SELL", "5", "120", base="LTC")), journal.page(deposit("d", "USDT", "1"))])
    told = await get(await serve(url), "/portfolio/metrics?period=all")
    assert told["closed_round_trips"] == 0
    assert told["undefined"]["win_rate"] == "there are no closed round trips"


async def test_the_equity_curve_ends_at_the_newest_prices(sample: tuple[Client, Journal]) -> None:
    client, _ = sample
    curve = await get(client, "/portfolio/equity?period=all")
    assert [point["time"] for point in curve] == sorted({point["time"] for point in curve})
    assert curve[-1]["equity"] == (await get(client, "/portfolio/overview"))["equity"]
    assert len(await get(client, "/portfolio/equity?period=all&points=2")) <= 3


async def test_accounts_are_added_up_or_chosen(url: str, serve: OpenClient) -> None:
    journal, updates = sample_account()
    second = Journal("second")
    await store(url, [*updates, second.page(deposit("d", "USDT", "1000"), fill(1, "BUY", "0.01", "60000"))])
    client = await serve(url)
    both = await get(client, "/portfolio/overview")
    each = [await get(client, f"/portfolio/overview?account={name}") for name in ("main", "second")]
    assert both["accounts"] == ["main", "second"]
    for name in ("equity", "net_flows", "realized_pnl", "unrealized_pnl", "fees"):
        assert Decimal(both[name]) == total(each, name)
    metrics = await get(client, "/portfolio/metrics?period=all")
    assert metrics["total_pnl"] == both["total_pnl"]
    assert {row["account"] for row in await get(client, "/portfolio/balances")} == {"main", "second"}
    assert [row["trade_id"] for row in await get(client, "/portfolio/trade-history?account=second")] == [1]
    assert journal.book.account == "main"


async def test_each_account_is_listed_in_its_own_currency(url: str, serve: OpenClient) -> None:
    client = await serve(url)
    assert await get(client, "/portfolio/accounts") == []
    euros = Journal("euros", reporting="EUR")
    more = euros.page(
        deposit("d", "EUR", "2"), fill(1, "BUY", "0.001", "1000", quote="EUR", fee="0.5", fee_asset="EUR")
    )
    await store(url, [*sample_account()[1], more])
    rows = await get(client, "/portfolio/accounts")
    assert [(row["account"], row["reporting"]) for row in rows] == [("euros", "EUR"), ("main", "USDT")]
    assert [row["equity"] for row in rows][:1] == ["1.5"]
    for row in rows:
        answer = await client.get(f"/portfolio/overview?account={row['account']}")
        told = answer.json()
        assert row["log_position"] == answer.headers["X-Log-Position"]
        assert all(row[name] == told[name] for name in row.keys() - {"account", "log_position"})


async def test_accounts_of_different_currencies_are_not_added_up(url: str, serve: OpenClient) -> None:
    euros = Journal("euros", reporting="EUR")
    await store(url, [Journal().page(deposit("d", "USDT", "1")), euros.page(deposit("d", "EUR", "2"))])
    client = await serve(url)
    answer = await client.get("/portfolio/overview")
    assert answer.status_code == 409
    assert "choose one with `account`: euros, main" in answer.json()["detail"]
    assert (await get(client, "/portfolio/overview?account=euros"))["equity"] == "2"
    assert len(await get(client, "/portfolio/balances")) == 2


async def test_an_answer_never_mixes_log_positions(url: str, serve: OpenClient) -> None:
    """A writer goes on while overviews are read: each one is conserved, and its header tells where it stands."""
    client = await serve(url)
    journal = Journal()
    await store(url, [journal.page(deposit("d", "USDT", "100000"))])
    done = asyncio.Event()

    async def write() -> None:
        async with Writer(url) as writer:
            for number in range(1, 120):
                side = "BUY" if number % 3 else "SELL"
                update = journal.page(fill(number, side, "0.01", str(60_000 + number * 7), fee="0.3"))
                await writer.write(
                    [(LogRef("j", 3, number), update)], [journal.marked(START_US + number, BTC=str(59_000 + number))]
                )
        done.set()

    writing = asyncio.create_task(write())
    positions = set()
    while not done.is_set():
        answer = await client.get("/portfolio/overview")
        told = answer.json()
        positions.add(answer.headers["X-Log-Position"])
        assert Decimal(told["equity"]) == (
            Decimal(told["net_flows"]) + Decimal(told["realized_pnl"]) + Decimal(told["unrealized_pnl"])
        )
        assert answer.headers["X-Log-Position"] == f"main@3:{told['sequence'] - 1}"
    await writing
    assert len(positions) > 3


DATA_ROUTES = [path for path in EXAMPLES if not path.startswith("/health")]


CONTENT_ROUTES = ("/portfolio/equity", "/metrics/by-strategy")
"""Their tag is of what they say."""
PAST_ROUTES = (
    "/portfolio/overview",
    "/portfolio/balances",
    "/portfolio/trade-history",
    "/portfolio/metrics?period=all",
)


async def again(client: Client, path: str, etag: str) -> httpx.Response:
    return await client.get(path, headers={"If-None-Match": etag})


@pytest.mark.parametrize("path", DATA_ROUTES)
async def test_an_answer_that_the_client_has_is_not_sent_again(url: str, serve: OpenClient, path: str) -> None:
    journal, updates = sample_account()
    await store(url, updates, journal.marked(LIVE_US, **LIVE_MARKS))
    client = await serve(url)
    first = await client.get(path)
    etag = first.headers["ETag"]
    for known in (etag, f'"other", {etag}', etag.removeprefix("W/"), "*"):
        answer = await again(client, path, known)
        assert (answer.status_code, answer.content) == (304, b""), known
        assert (answer.headers["ETag"], answer.headers["X-Log-Position"]) == (etag, first.headers["X-Log-Position"])
        assert answer.headers["Cache-Control"] == "no-cache"
    assert (await again(client, path, 'W/"other"')).status_code == 200
    assert (await again(client, f"{path}{'&' if '?' in path else '?'}account=main", etag)).status_code == 200
    more = (deposit("d9", "USDT", "9", time_us=LIVE_US), fill(9, "BUY", "0.1", "60000", time_us=LIVE_US + 1, fee="1"))
    await store(url, [*updates, journal.page(*more)])
    answer = await again(client, path, etag)
    assert answer.status_code == 200
    assert answer.json() != first.json()


async def test_newer_prices_change_what_is_valued_and_nothing_else(sample: tuple[Client, Journal], url: str) -> None:
    client, journal = sample
    tags = {path: (await client.get(path)).headers["ETag"] for path in DATA_ROUTES}
    await store(url, [], journal.marked(LIVE_US + 1, BTC="70000"))
    same = {path for path, etag in tags.items() if (await again(client, path, etag)).status_code == 304}
    assert same == {
        "/portfolio/trade-history?symbol=BTCUSDT&limit=2",
        "/portfolio/flows?limit=2",
        "/portfolio/fees",
        "/metrics/by-strategy",
    }


async def test_a_point_of_the_curve_that_comes_late_is_not_missed(sample: tuple[Client, Journal], url: str) -> None:
    client, journal = sample
    first = await client.get("/portfolio/equity?period=1h&points=2000")
    await store(url, [], journal.marked(LIVE_US - 1_000_000, **LIVE_MARKS))
    answer = await again(client, "/portfolio/equity?period=1h&points=2000", first.headers["ETag"])
    assert answer.status_code == 200
    assert len(answer.json()) == len(first.json()) + 1


@pytest.mark.parametrize("as_of", ["", "as_of=main@3:3"])
@pytest.mark.parametrize("path", ["/portfolio/trade-history", "/metrics/by-strategy"])
async def test_whose_fills_they_are_changes_the_tag(
    sample: tuple[Client, Journal], url: str, path: str, as_of: str
) -> None:
    client, _ = sample
    asked = f"{path}?{as_of}"
    tags = [(await client.get(asked)).headers["ETag"]]
    for strategy in ("grid", "dca"):
        await execute(
            url,
            "INSERT INTO fill_attributions VALUES ('main', 'BTCUSDT', 1, 1001, $1, 'c-1', 'e-1') "
            "ON CONFLICT (account, symbol, trade_id, order_id) DO UPDATE SET strategy = excluded.strategy",
            strategy,
        )
        answer = await again(client, asked, tags[-1])
        assert answer.status_code == 200, strategy
        assert strategy in answer.text
        tags.append(answer.headers["ETag"])
        assert (await again(client, asked, tags[-1])).status_code == 304
    assert len(set(tags)) == 3


async def test_events_that_are_counted_anew_change_every_tag(
    url: str, redis_url: str, serve: OpenClient, sample: tuple[Client, Journal]
) -> None:
    """As a rebuild by a corrected ledger leaves it: the same log position and prices, another book."""
    client, keeping = sample[0], await serve(url, redis_url)
    asked = [path for path in DATA_ROUTES if not path.startswith(CONTENT_ROUTES)]
    tags = {path: (await client.get(path)).headers["ETag"] for path in asked}
    await get(keeping, "/portfolio/metrics")
    await execute(url, "UPDATE accounts SET realized = realized - 1, revision = revision + 1, checksum = $1", "other")
    same = {path for path, etag in tags.items() if (await again(client, path, etag)).status_code == 304}
    assert same == set()
    await get(keeping, "/portfolio/metrics")
    async with redis.asyncio.from_url(redis_url) as store_:
        assert len(await store_.keys("portfolio:api:performance:*")) == 2, "figures of other books are not used"


async def test_a_correction_changes_what_was_told_of_the_past(sample: tuple[Client, Journal], url: str) -> None:
    client, _ = sample
    paths = [f"{path}{'&' if '?' in path else '?'}as_of=main@3:9" for path in PAST_ROUTES]
    tags = {path: (await client.get(path)).headers["ETag"] for path in paths}
    for path, etag in tags.items():
        assert (await again(client, path, etag)).status_code == 304, path
    await execute(url, "UPDATE accounts SET revision = revision + 1")
    for path, etag in tags.items():
        assert (await again(client, path, etag)).status_code == 200, path


async def test_what_is_large_is_compressed(sample: tuple[Client, Journal]) -> None:
    client, _ = sample
    trades = await client.get("/portfolio/trade-history")
    assert trades.headers["Content-Encoding"] == "gzip"
    assert int(trades.headers["Content-Length"]) < len(trades.content) / 3
    assert "Accept-Encoding" in trades.headers["Vary"]
    plain = await client.get("/portfolio/trade-history", headers={"Accept-Encoding": "identity"})
    assert "Content-Encoding" not in plain.headers
    assert plain.json() == trades.json()
    assert "Content-Encoding" not in (await client.get("/health/live")).headers


async def test_an_empty_database_is_answered_sensibly(url: str, serve: OpenClient) -> None:
    client = await serve(url)
    told = await get(client, "/portfolio/overview")
    assert (told["equity"], told["balances"], told["active_positions"], told["timestamp"]) == ("0", [], 0, None)
    assert "portfolio up" in told["hint"]
    for path in ("balances", "positions", "pnl-by-symbol", "trade-history", "equity"):
        assert await get(client, f"/portfolio/{path}") == []
    metrics = await get(client, "/portfolio/metrics")
    assert metrics["total_pnl"] == "0"
    assert metrics["sharpe_ratio"] is None
    assert metrics["undefined"]["sharpe_ratio"]
    assert (await client.get("/portfolio/overview?account=main")).status_code == 200


@pytest.mark.parametrize(
    ("path", "status", "detail"),
    [
        ("/portfolio/trade-history?limit=0", 422, "limit: Input should be greater than or equal to 1"),
        ("/portfolio/trade-history?limit=1001", 422, "limit: Input should be less than or equal to 1000"),
        ("/portfolio/positions?status=half", 422, "status: Input should be 'open', 'closed' or 'all'"),
        ("/portfolio/positions?limit=many", 422, "limit: Input should be a valid integer"),
        ("/portfolio/trade-history?symbol=BTC%20USDT", 422, "symbol: String should match pattern"),
        ("/portfolio/metrics?period=fortnight", 422, "use one of 24h, 7d"),
        ("/portfolio/equity?points=1", 422, "points: Input should be greater than or equal to 2"),
        ("/portfolio/overview?account=nobody", 404, "There is no account 'nobody'"),
        ("/nowhere", 404, "/openapi.json lists every path"),
    ],
)
async def test_what_cannot_be_answered_is_a_problem_with_a_remedy(
    sample: tuple[Client, Journal], path: str, status: int, detail: str
) -> None:
    answer = await sample[0].get(path)
    assert answer.status_code == status
    assert answer.headers["Content-Type"] == "application/problem+json"
    told = answer.json()
    assert told.keys() == PROBLEM_FIELDS
    assert detail in told["detail"]
    assert (told["status"], told["instance"]) == (status, path.partition("?")[0])


@pytest.mark.parametrize("path", ["/portfolio/trade-history?limit=1", "/portfolio/trade-history?limit=1000"])
async def test_limits_may_be_reached(sample: tuple[Client, Journal], path: str) -> None:
    await get(sample[0], path)


async def test_nothing_can_be_changed(sample: tuple[Client, Journal]) -> None:
    client, _ = sample
    for method in ("POST", "PUT", "PATCH", "DELETE"):
        answer = await client.request(method, "/portfolio/overview")
        assert answer.status_code == 405
        assert answer.headers["Content-Type"] == "application/problem+json"


async def test_an_error_of_the_service_tells_nothing_but_where_to_look(
    sample: tuple[Client, Journal], url: str
) -> None:
    connection = await asyncpg.connect(url)
    await connection.execute("UPDATE accounts SET marks = '[]'")
    await connection.close()
    answer = await sample[0].get("/portfolio/overview")
    assert answer.status_code == 500
    assert answer.json()["detail"] == "This is an error of the service; its log has the details."


async def test_without_a_database_it_answers_503_and_recovers(url: str, serve: OpenClient) -> None:
    client = await serve(url)
    await get(client, "/portfolio/overview")
    admin = await asyncpg.connect(re.sub(r"/[^/]+$", "/template1", url))
    name = url.rpartition("/")[2]
    try:
        await admin.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
        await admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1", name)
        for path in ("/portfolio/overview", "/health/ready"):
            answer = await client.get(path)
            assert answer.status_code == 503, answer.text
            assert "try again" in answer.json()["detail"]
            assert answer.headers["Retry-After"]
        assert (await client.get("/health/live")).status_code == 200
        status = await get(client, "/admin/status")
        assert status["database_connection"] == "disconnected"
        await admin.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
        await get(client, "/portfolio/overview")
        await get(client, "/health/ready")
    finally:
        await admin.close()


async def test_a_database_that_was_not_migrated_is_not_ready(database_url: str, serve: OpenClient) -> None:
    client = await serve(database_url)
    for path in ("/health/ready", "/portfolio/overview"):
        answer = await client.get(path)
        assert answer.status_code == 503
        assert "portfolio migrate" in answer.json()["detail"]


async def test_metrics_are_taken_from_redis_for_the_same_books_only(
    url: str, redis_url: str, serve: OpenClient
) -> None:
    journal, updates = sample_account()
    await store(url, updates)
    client = await serve(url, redis_url)
    first = await get(client, "/portfolio/metrics?period=all")
    connection = await asyncpg.connect(url)
    await connection.execute("DELETE FROM positions")
    await connection.close()
    assert await get(client, "/portfolio/metrics?period=all") == first, "the same books: kept"
    await store(url, updates, journal.marked(LIVE_US, **LIVE_MARKS))
    assert (await get(client, "/portfolio/metrics?period=all"))["closed_round_trips"] == 0, "newer prices: measured"
    assert (await get(client, "/portfolio/metrics?period=7d"))["closed_round_trips"] == 0, "another period: measured"


async def test_status_tells_what_the_gateway_says(url: str, redis_url: str, serve: OpenClient) -> None:
    now_us = time.time_ns() // 1_000
    journal = Journal()
    await store(
        url,
        [journal.page(deposit("d", "USDT", "1", time_us=now_us), balances(now_us, USDT="1"))],
    )
    client = await serve(url, redis_url)
    fields: dict[str | bytes | bytearray | memoryview[int] | int | float, Any] = {
        "state": "live",
        "heartbeat_time_us": now_us,
        "last_sync_time_us": START_US,
        "sync_errors": 2,
        "rest_latency_ms": 12.5,
        "stale_assets": f'{{"BNB": {START_US}, "LUNA": 0}}',
    }
    async with redis.asyncio.from_url(redis_url) as gateway:
        await gateway.hset("portfolio:gateway:main", mapping=fields)
        told = await get(client, "/admin/status")
        assert (told["sync_status"], told["binance_connection"], told["redis_connection"]) == (
            "live",
            "connected",
            "connected",
        )
        assert (told["last_sync"], told["sync_errors"], told["api_response_time_ms"]) == (
            "2026-01-01T00:00:00.000000Z",
            2,
            12.5,
        )
        assert (told["kafka_connection"], told["log_position"]) == ("disconnected", "main@3:0")
        assert 0 <= told["sync_lag_seconds"] < 60
        assert told["accounts"][0]["stale_assets"] == {"BNB": "2026-01-01T00:00:00.000000Z", "LUNA": None}
        fields = {"state": "syncing", "backfill_phase": "reading", "backfill_events": 120_000, "backfill_percent": 12.5}
        fields |= {"backfill_end_time_us": now_us + 620_000_000}
        await gateway.hset("portfolio:gateway:main", mapping=fields)
        reading = await get(client, "/admin/status")
        told_of = "reading the history, 120000 events, 12.5 %, done in about 10 min"
        assert f"The gateway is syncing: {told_of}" in reading["problems"]
        await gateway.hset("portfolio:gateway:main", mapping={"heartbeat_time_us": now_us - 60_000_000})
        silent = await get(client, "/admin/status")
    assert silent["binance_connection"] == "unknown"
    assert any("portfolio gateway" in problem for problem in silent["problems"])


async def test_old_prices_are_told_stale(sample: tuple[Client, Journal]) -> None:
    told = await get(sample[0], "/admin/status")
    assert told["sync_status"] == "stale"
    assert told["redis_connection"] == "disconnected"
    assert any("newest prices" in problem for problem in told["problems"])


async def test_money_is_a_plain_string_everywhere(url: str, serve: OpenClient) -> None:
    journal = Journal()
    await store(
        url,
        [
            journal.page(deposit("d", "USDT", "1E+12")),
            journal.page(fill(1, "BUY", "100000000000", "0.00000001", base="SHIB")),
            journal.page(valuation(START_US + 1, SHIB="0.00000001")),
        ],
    )
    client = await serve(url)
    document = await get(client, "/openapi.json")
    plain = re.compile(r"-?[0-9]+(\.[0-9]*[1-9])?")
    money = {
        name
        for schema in document["components"]["schemas"].values()
        for name, value in schema.get("properties", {}).items()
        if "pattern" in json.dumps(value)
    }
    assert {"equity", "quantity", "usd_value", "fee", "price"} <= money
    seen = set()
    for path in DATA_ROUTES:
        answer = await get(client, path.replace("BTCUSDT", "SHIBUSDT"))
        for row in answer if isinstance(answer, list) else [answer]:
            for name in row.keys() & money:
                assert row[name] is None or plain.fullmatch(row[name]), (path, name, row[name])
                seen.add(name)
    assert seen == money


async def test_browsers_are_told_what_not_to_do(sample: tuple[Client, Journal]) -> None:
    for path in ("/", "/app.js", "/portfolio/overview", "/nowhere"):
        headers = (await sample[0].get(path)).headers
        assert "default-src 'none'" in headers["Content-Security-Policy"]
        assert "unsafe" not in headers["Content-Security-Policy"]
        assert headers["X-Content-Type-Options"] == "nosniff"


async def test_every_example_in_the_documentation_is_real(sample: tuple[Client, Journal]) -> None:
    """Set UPDATE_EXAMPLES=1 to write them anew after a change."""
    client, _ = sample
    answers = {path: await get(client, path) for path in EXAMPLES}
    if os.environ.get("UPDATE_EXAMPLES"):
        EXAMPLES_PATH.write_text(json.dumps(answers, indent=1) + "\n", encoding="utf-8")
    assert json.loads(EXAMPLES_PATH.read_text(encoding="utf-8")) == answers
    document = await get(client, "/openapi.json")
    for path, answer in answers.items():
        content = document["paths"][path.partition("?")[0].replace("BTCUSDT", "{symbol}")]["get"]["responses"]["200"][
            "content"
        ]
        assert content["application/json"]["example"] == answer


def test_every_route_is_documented() -> None:
    paths = set(create_app(Settings(_env_file=None)).openapi()["paths"])
    page = (EXAMPLES_PATH.parent.parent / "docs" / "api.md").read_text(encoding="utf-8")
    assert set(re.findall(r"`GET (/[a-z/{}-]+)`", page)) == paths
    shown = {path.partition("?")[0].replace("BTCUSDT", "{symbol}") for path in EXAMPLES}
    assert shown == {path for path in paths if not path.startswith("/admin")} - {"/portfolio/stream", "/metrics"}
