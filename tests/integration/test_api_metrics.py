"""Curves, candles and comparisons over the API, against sums made by hand."""

import io
from collections.abc import AsyncIterator, Callable
from decimal import Decimal
from typing import Any

import polars as pl
import pytest

from infra.postgres.migrate import migrate
from tests.integration.test_api import Client, serving, store
from tests.support.journal import DAY_US, START_US, Journal, deposit, fill, sample_account, valuation

pytestmark = pytest.mark.integration

READERS: dict[str, Callable[[io.BytesIO], pl.DataFrame]] = {
    "csv": lambda content: pl.read_csv(content, infer_schema=False),
    "parquet": pl.read_parquet,
    "arrow": pl.read_ipc,
}


@pytest.fixture
async def url(database_url: str) -> str:
    await migrate(database_url)
    return database_url


@pytest.fixture
async def client(url: str) -> AsyncIterator[Client]:
    async with serving(url) as client:
        yield client


async def get(client: Client, path: str) -> Any:
    answer = await client.get(path)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def store_two_days(url: str) -> Journal:
    journal = Journal()
    hour = 3_600_000_000
    pages = [
        (deposit("d", "USDT", "1000", time_us=START_US), valuation(START_US, BTC="90")),
        (fill(1, "BUY", "1", "100", time_us=START_US + hour),),
        (valuation(START_US + 2 * hour, BTC="80"),),
        (valuation(START_US + DAY_US, BTC="120"),),
        (fill(2, "SELL", "0.5", "160", time_us=START_US + DAY_US + hour),),
        (
            valuation(START_US + DAY_US + 2 * hour, BTC="180"),
            deposit("w", "USDT", "-300", time_us=START_US + DAY_US + 3 * hour, kind="withdrawal"),
        ),
        (valuation(START_US + 2 * DAY_US, BTC="180"),),
    ]
    await store(url, [journal.page(*page) for page in pages])
    return journal


async def test_a_symbol_on_its_own(url: str, client: Client) -> None:
    await store_two_days(url)
    told = await get(client, "/portfolio/positions/btcusdt")
    assert (told["symbol"], told["earned"]["realized_pnl"], told["earned"]["unrealized_pnl"]) == ("BTCUSDT", "30", "40")
    assert [row["quantity"] for row in told["open_positions"]] == ["0.5"]
    assert told["closed_positions"] == []
    missing = await client.get("/portfolio/positions/DOGEUSDT")
    assert (missing.status_code, "never traded" in missing.json()["detail"]) == (404, True)


async def test_candles_of_a_symbol_are_its_pnl(url: str, client: Client) -> None:
    await store_two_days(url)
    told = await get(client, "/portfolio/positions/BTCUSDT/candles?timeframe=1d&period=all")
    drawn = [(row["open"], row["high"], row["low"], row["close"]) for row in told]
    # Day 1: bought at 100, 80 in between. Day 2: 20 at midnight, 30 taken and 30 left at 160, 30 + 40 at 180.
    assert drawn == [("0", "0", "-20", "-20"), ("20", "70", "20", "70"), ("70", "70", "70", "70")]
    later = await get(client, "/portfolio/positions/BTCUSDT/candles?timeframe=1h&period=24h")
    assert (later[0]["open"], later[-1]["close"]) == ("20", "70")


async def test_the_last_candle_of_each_symbol_closes_at_its_pnl(url: str, client: Client) -> None:
    await store(url, [*sample_account()[1], *sample_account("second")[1]])
    for row in await get(client, "/portfolio/pnl-by-symbol"):
        answer = await client.get(f"/portfolio/positions/{row['symbol']}/candles?period=all&timeframe=4h")
        if row["symbol"] in {"USDTUSDT", "USDT"}:
            continue
        assert answer.status_code == 200, row["symbol"]
        assert answer.json()[-1]["close"] == row["total_pnl"], row["symbol"]


async def test_equity_by_timeframe(url: str, client: Client) -> None:
    await store_two_days(url)
    spaced = await get(client, "/portfolio/equity?period=all&timeframe=1d")
    assert [row["equity"] for row in spaced] == ["980", "1070", "770"]
    candles = await get(client, "/portfolio/equity/candles?period=all&timeframe=1d")
    assert [(row["open"], row["low"], row["close"]) for row in candles] == [
        ("1000", "980", "980"),
        ("1020", "1020", "1070"),
        ("770", "770", "770"),
    ]


async def test_returns_of_each_day_link_to_the_whole(url: str, client: Client) -> None:
    await store_two_days(url)
    days = await get(client, "/metrics/returns?bucket=day")
    whole = await get(client, "/metrics/performance?period=all")
    linked = 1.0
    for day in days:
        linked *= 1 + day["twr"]
    assert linked - 1 == pytest.approx(whole["time_weighted_return"])
    assert [day["complete"] for day in days] == [True, True]
    assert len(await get(client, "/metrics/returns?bucket=month")) == 1


async def test_drawdowns_deepest_first(url: str, client: Client) -> None:
    await store_two_days(url)
    told = await get(client, "/metrics/drawdowns")
    assert [row["depth"] for row in told] == [pytest.approx(-0.02)]
    assert told[0]["recovery"] is not None


async def test_the_benchmark_is_the_same_money_in_the_asset(url: str, client: Client) -> None:
    await store_two_days(url)
    told = await get(client, "/metrics/benchmark?symbol=BTCUSDT")
    # 1000 buys 11.11 BTC at 90; 300 leaves at 180 with the last point: 1000/90*180 - 300.
    assert Decimal(told["benchmark_equity"]) == pytest.approx(Decimal(1700))
    assert told["benchmark_return"] == pytest.approx(1.0)
    assert told["equity"] == "770"
    missing = await client.get("/metrics/benchmark?symbol=DOGEUSDT")
    assert (missing.status_code, "PORTFOLIO_BENCHMARKS" in missing.json()["detail"]) == (404, True)


async def test_strategies_add_up_to_the_fills(url: str, client: Client) -> None:
    await store_two_days(url)
    told = await get(client, "/metrics/by-strategy")
    assert [(row["strategy"], row["realized_pnl"], row["fills"]) for row in told] == [("", "30", 2)]


@pytest.mark.parametrize(
    "path", ["/metrics/drawdowns", "/metrics/returns", "/metrics/by-strategy", "/portfolio/equity"]
)
async def test_an_empty_account_has_empty_lists(client: Client, path: str) -> None:
    assert await get(client, path) == []


@pytest.mark.parametrize(
    "path",
    ["balances", "positions", "trade-history", "flows", "pnl-by-symbol", "accounts", "equity?period=all"],
)
async def test_each_format_holds_what_json_holds(url: str, client: Client, path: str) -> None:
    await store(url, sample_account()[1])
    separator = "&" if "?" in path else "?"
    rows = await get(client, f"/portfolio/{path}")
    frames = {}
    for name, read in READERS.items():
        answer = await client.get(f"/portfolio/{path}{separator}format={name}")
        assert answer.status_code == 200, answer.text
        assert f".{name}" in answer.headers["Content-Disposition"]
        frames[name] = read(io.BytesIO(answer.content))
    assert frames["parquet"].equals(frames["arrow"])
    assert frames["csv"].columns == frames["parquet"].columns == list(rows[0])
    money = [name for name, value in rows[0].items() if name in {"value", "price", "quantity", "equity", "cost"}]
    for name in money:
        assert frames["parquet"][name].to_list() == [row[name] for row in rows]
        assert frames["csv"][name].to_list() == [row[name] for row in rows]
    times = [name for name, kind in frames["parquet"].schema.items() if isinstance(kind, pl.Datetime)]
    for name in times:
        told = frames["parquet"][name].dt.strftime("%Y-%m-%dT%H:%M:%S%.6fZ").to_list()
        assert told == [row[name] for row in rows]
        assert frames["csv"][name].to_list() == [row[name] for row in rows]


async def test_chosen_fields_in_the_order_of_the_request(url: str, client: Client) -> None:
    await store(url, sample_account()[1])
    whole = await get(client, "/portfolio/trade-history?limit=3")
    some = await get(client, "/portfolio/trade-history?limit=3&fields=symbol,price")
    assert some == [{"symbol": row["symbol"], "price": row["price"]} for row in whole]
    assert list(some[0]) == ["symbol", "price"]
    text = (await client.get("/portfolio/trade-history?limit=1&fields=price,symbol&format=csv")).text
    assert text == f"price,symbol\n{whole[0]['price']},{whole[0]['symbol']}\n"
    refused = await client.get("/portfolio/trade-history?fields=secret")
    assert (refused.status_code, "none of" in refused.json()["detail"]) == (422, True)


async def test_an_empty_list_has_its_columns_in_every_format(client: Client) -> None:
    answer = await client.get("/portfolio/trade-history?format=parquet")
    assert "trade_id" in pl.read_parquet(io.BytesIO(answer.content)).columns
