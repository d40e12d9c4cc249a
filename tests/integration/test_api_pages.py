"""Lists page by page, while the books go on."""

from collections.abc import AsyncIterator

import pytest

from infra.postgres.migrate import migrate
from tests.integration.test_api import Client, serving, store
from tests.support.journal import DAY_US, START_US, Journal, deposit, fill, sample_account

pytestmark = pytest.mark.integration


@pytest.fixture
async def url(database_url: str) -> str:
    await migrate(database_url)
    return database_url


@pytest.fixture
async def client(url: str) -> AsyncIterator[Client]:
    async with serving(url) as client:
        yield client


async def walk(client: Client, path: str) -> list[dict[str, str]]:
    rows = []
    following: str | None = path
    while following is not None:
        answer = await client.get(following)
        assert answer.status_code == 200, answer.text
        assert answer.json()
        rows += answer.json()
        following = answer.links["next"]["url"] if "next" in answer.links else None
        assert ("X-Next-Cursor" in answer.headers) == (following is not None)
    return rows


@pytest.mark.parametrize("limit", [1, 2, 3, 8, 1000])
@pytest.mark.parametrize(
    "path",
    ["trade-history?", "trade-history?symbol=BTCUSDT", "positions?status=all", "positions?status=closed", "flows?"],
)
async def test_the_pages_are_the_list(url: str, client: Client, path: str, limit: int) -> None:
    await store(url, [*sample_account()[1], *sample_account("second")[1]])
    whole = (await client.get(f"/portfolio/{path}&limit=1000")).json()
    assert len(whole) > 2
    assert await walk(client, f"/portfolio/{path}&limit={limit}") == whole


async def test_what_arrives_between_pages_moves_nothing(url: str, client: Client) -> None:
    journal, updates = sample_account()
    await store(url, updates)
    whole = [row["trade_id"] for row in (await client.get("/portfolio/trade-history")).json()]
    first = await client.get("/portfolio/trade-history?limit=3")
    late = START_US + 10 * DAY_US
    await store(url, [*updates, journal.page(fill(9, "BUY", "1", "2", base="SOL", time_us=late))])
    rest = await walk(client, first.links["next"]["url"])
    assert [row["trade_id"] for row in [*first.json(), *rest]] == whole


@pytest.mark.parametrize("status", ["all", "closed"])
async def test_a_position_that_closes_between_pages_is_shown_once(url: str, client: Client, status: str) -> None:
    journal = Journal()
    assets = ("BTC", "ETH", "SOL", "LTC", "XRP", "ADA")
    updates = [journal.page(deposit("d", "USDT", "1000"))]
    updates += [
        journal.page(fill(number, "BUY", "1", "10", base=asset, time_us=START_US + number * 10))
        for number, asset in enumerate(assets, 1)
    ]
    updates += [
        journal.page(fill(number + 20, "SELL", "1", "11", base=asset, time_us=START_US + number * 100))
        for number, asset in enumerate(assets[3:], 1)
    ]
    await store(url, updates)
    whole = {row["id"] for row in (await client.get(f"/portfolio/positions?status={status}")).json()}
    first = await client.get(f"/portfolio/positions?status={status}&limit=2")
    closing = journal.page(fill(40, "SELL", "1", "12", time_us=START_US + 5_000))
    opening = journal.page(fill(41, "BUY", "1", "12", base="DOT", time_us=START_US + 6_000))
    await store(url, [*updates, closing, opening])
    rows = [*first.json(), *await walk(client, first.links["next"]["url"])]
    assert len(rows) == len(whole)
    assert {row["id"] for row in rows} == whole


@pytest.mark.parametrize("cursor", ["x", "AAAA", "%C3%A4", "", "A" * 900, "=", "AAAAAAAAWzFd"])
async def test_what_is_no_cursor_is_a_problem(url: str, client: Client, cursor: str) -> None:
    await store(url, sample_account()[1])
    for path in ("trade-history", "positions", "flows"):
        answer = await client.get(f"/portfolio/{path}?cursor={cursor}")
        assert answer.status_code == 422, answer.text
        assert answer.headers["Content-Type"] == "application/problem+json"
        assert "first page" in answer.json()["detail"]


async def test_a_cursor_is_good_for_its_own_list_only(url: str, client: Client) -> None:
    await store(url, sample_account()[1])
    cursor = (await client.get("/portfolio/trade-history?symbol=BTCUSDT&limit=1")).headers["X-Next-Cursor"]
    for path in ("trade-history?symbol=ETHUSDT", "trade-history?", "positions?symbol=BTCUSDT"):
        assert (await client.get(f"/portfolio/{path}&cursor={cursor}")).status_code == 422, path
    assert (await client.get(f"/portfolio/trade-history?symbol=BTCUSDT&limit=5&cursor={cursor}")).status_code == 200
