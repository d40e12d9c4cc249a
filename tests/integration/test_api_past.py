"""The past over the API: what was answered then is answered again."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from api.schemas import rfc3339
from infra.postgres.migrate import migrate
from infra.postgres.writer import LogRef, Writer
from portfolio import Event
from portfolio.snapshots import CHECKPOINT_EVENTS
from tests.integration.test_api import Client, serving, store
from tests.support.journal import DAY_US, START_US, Journal, deposit, fill, sample_account, sample_pages, valuation

pytestmark = pytest.mark.integration

PATHS = (
    "/portfolio/overview",
    "/portfolio/balances",
    "/portfolio/positions?status=all",
    "/portfolio/positions?status=open",
    "/portfolio/positions?status=closed",
    "/portfolio/positions?symbol=BTCUSDT",
    "/portfolio/pnl-by-symbol",
    "/portfolio/trade-history",
    "/portfolio/flows",
    "/portfolio/fees",
    "/portfolio/reconciliation",
    "/portfolio/accounts",
    "/portfolio/metrics?period=all",
    "/portfolio/metrics?period=7d",
    "/portfolio/equity?period=all",
)


@pytest.fixture
async def url(database_url: str) -> str:
    await migrate(database_url)
    return database_url


@pytest.fixture
async def client(url: str) -> AsyncIterator[Client]:
    async with serving(url) as client:
        yield client


async def answers(client: Client, **params: str) -> dict[str, Any]:
    told = {}
    for path in PATHS:
        answer = await client.get(path, params=params) if "?" not in path else await client.get(_with(path, params))
        assert answer.status_code == 200, (path, answer.text)
        told[path] = [without_later_price(row) for row in answer.json()] if "positions" in path else answer.json()
    return told


def without_later_price(row: dict[str, Any]) -> dict[str, Any]:
    """The price of what is held no more need not be followed; the past knows it from the fill that closed it."""
    return {name: value for name, value in row.items() if name != "current_price" or row["status"] == "open"}


def _with(path: str, params: dict[str, str]) -> str:
    return path + "".join(f"&{name}={value}" for name, value in params.items())


async def test_each_position_of_the_log_answers_as_it_did_then(url: str, client: Client) -> None:
    journal = Journal()
    then: list[tuple[str, dict[str, Any]]] = []
    async with Writer(url) as writer:
        for number, events in enumerate(sample_pages()):
            await writer.write([(LogRef("portfolio.journal", 3, number), journal.page(*events))])
            then.append((f"main@3:{number}", await answers(client)))
    for position, told in then:
        again = await answers(client, as_of=position)
        assert again == told, position
        header = (await client.get(f"/portfolio/overview?as_of={position}")).headers["X-Log-Position"]
        assert header == position


async def test_a_time_within_a_page_is_the_books_at_that_time(url: str, client: Client) -> None:
    journal = Journal()
    page: list[Event] = [
        deposit("d1", "USDT", "1000", time_us=START_US),
        fill(1, "BUY", "1", "100", time_us=START_US + 10),
        fill(2, "BUY", "1", "200", time_us=START_US + 20),
        fill(3, "SELL", "2", "300", time_us=START_US + 30),
    ]
    await store(url, [journal.page(*page)])
    alone = Journal()
    for number, event in enumerate(page):
        expected = alone.page(event).snapshot
        told = (await client.get(f"/portfolio/overview?as_of={rfc3339(START_US + 10 * number + 5)}")).json()
        assert (told["equity"], told["sequence"]) == (str(expected.equity), number + 1)
    before = (await client.get(f"/portfolio/overview?as_of={rfc3339(START_US - 1)}")).json()
    assert (before["accounts"], before["equity"]) == ([], "0")


async def test_the_fold_begins_at_a_checkpoint_and_ends_where_it_would_without(url: str, client: Client) -> None:
    journal = Journal()
    updates = [journal.page(deposit("d", "USDT", "1000000000", time_us=START_US))]
    fills = [fill(n, "BUY" if n % 3 else "SELL", "1", str(100 + n), time_us=START_US + n) for n in range(1, 11_001)]
    updates += [journal.page(*fills[start : start + 500]) for start in range(0, len(fills), 500)]
    assert sum(update.checkpoint is not None for update in updates) == 1 + 11_001 // CHECKPOINT_EVENTS
    await store(url, updates)
    at = START_US + 10_750
    told = (await client.get(f"/portfolio/overview?as_of={rfc3339(at)}")).json()
    plain = Journal()
    expected = plain.page(deposit("d", "USDT", "1000000000", time_us=START_US), *fills[:10_750]).snapshot
    assert (told["equity"], told["realized_pnl"]) == (str(expected.equity), str(expected.realized))


async def test_pages_of_past_positions_are_the_list(url: str, client: Client) -> None:
    await store(url, [*sample_account()[1], *sample_account("second")[1]])
    moment = rfc3339(START_US + 3 * DAY_US + DAY_US // 2)
    whole = (await client.get(f"/portfolio/positions?as_of={moment}")).json()
    assert {row["status"] for row in whole} == {"open", "closed"}
    rows: list[Any] = []
    following: str | None = f"/portfolio/positions?as_of={moment}&limit=1"
    while following is not None:
        answer = await client.get(following)
        rows += answer.json()
        following = answer.links["next"]["url"] if "next" in answer.links else None
    assert rows == whole


async def test_a_position_looks_at_the_accounts_that_it_names(url: str, client: Client) -> None:
    await store(url, [*sample_account()[1], *sample_account("second")[1]])
    told = (await client.get("/portfolio/accounts?as_of=second@3:2")).json()
    assert [row["account"] for row in told] == ["second"]


async def test_what_comes_later_does_not_change_the_past(url: str, client: Client) -> None:
    journal, updates = sample_account()
    await store(url, updates)
    moment = f"/portfolio/equity?period=all&as_of={rfc3339(START_US + 2 * DAY_US)}"
    before = (await client.get(moment)).json()
    await store(url, [*updates, journal.page(valuation(START_US + 20 * DAY_US, BTC="1", ETH="1", BNB="1"))])
    assert (await client.get(moment)).json() == before


@pytest.mark.parametrize("text", ["yesterday", "2026-01-01", "main@", "main@1", "@1:2", "a@1:2,b", "main@1:2;x", "1e9"])
async def test_what_is_no_moment_is_a_problem(client: Client, text: str) -> None:
    answer = await client.get("/portfolio/overview", params={"as_of": text})
    assert answer.status_code == 422
    assert "as_of" in answer.json()["detail"]
