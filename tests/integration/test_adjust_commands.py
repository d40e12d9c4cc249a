"""`portfolio adjust` and `portfolio reclassify` on a real broker: what they show, append, refuse and know already."""

import asyncio
import json
import secrets
from collections.abc import Iterator
from typing import Any

import pytest
from typer.testing import CliRunner

from cli.main import app as command_line
from infra.settings import Settings, load_settings
from portfolio import Flow, FlowKind, Side, amount
from streams.creation import ensure_topics
from streams.topics import ACCOUNT_EVENTS
from tests.support.worker import TIME_US, fill, produce, record

pytestmark = pytest.mark.integration


@pytest.fixture
def account(kafka_brokers: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    name = f"hand-{secrets.token_hex(4)}"
    monkeypatch.setenv("KAFKA_BROKERS", kafka_brokers)
    monkeypatch.setenv("PORTFOLIO_ACCOUNT", name)
    load_settings.cache_clear()
    yield name
    load_settings.cache_clear()


async def run(*arguments: str) -> Any:
    told = await asyncio.to_thread(CliRunner().invoke, command_line, [*arguments, "--yes", "--json", "--why", "w"])
    assert told.exit_code == 0, (told.output, told.exception)
    return json.loads(told.stdout)


async def refused(*arguments: str) -> str:
    told = await asyncio.to_thread(CliRunner().invoke, command_line, [*arguments, "--yes", "--why", "w"])
    assert told.exit_code == 1
    return str(told.exception)


async def test_costs_flows_and_kinds_are_corrected_by_events_that_are_checked_first(account: str) -> None:
    await ensure_topics(Settings(), on_wait=print, specs=(ACCOUNT_EVENTS,), timeout_s=30)
    came = Flow(
        id="f1",
        asset="BNB",
        quantity=amount("2"),
        kind=FlowKind.UNCLASSIFIED,
        rates={"BNB": amount("300")},
        time_us=TIME_US,
    )
    sold = fill(1, side=Side.SELL)
    await produce(load_settings().brokers, [(account, record(account, came)), (account, record(account, sold))])

    named = await run("reclassify", "f1", "--kind", "airdrop", "--id", "k1")
    assert named["event"]["author"]
    assert amount(named["after"]["realized"]) - amount(named["before"]["realized"]) == 600
    assert (await run("reclassify", "f1", "--kind", "airdrop", "--id", "k1"))["appended_at"] is None
    assert "already" in await refused("reclassify", "f1", "--kind", "airdrop")
    assert "Unclassified are: none" in await refused("reclassify", "nothing", "--kind", "airdrop")

    cheaper = await run("adjust", "cost", "BTC", "--amount", "-100", "--target", "realized")
    assert amount(cheaper["after"]["realized"]) - amount(cheaper["before"]["realized"]) == 100
    assert "target realized" in await refused("adjust", "cost", "BTC", "--amount", "-1", "--target", "holding")
    assert "--amount is missing" in await refused("adjust", "cost", "BTC", "--target", "realized")

    found = await run("adjust", "flow", "ETH", "--quantity", "0.5", "--rate", "ETH=3100")
    assert (found["after"]["ETH quantity"], found["after"]["ETH cost"]) == ("0.5", "1550")
    assert "--rate" in await refused("adjust", "flow", "XRP", "--quantity", "5")
    assert "decimal" in await refused("adjust", "flow", "ETH", "--quantity", "NaN")

    assert "say what the trade was" in await refused("adjust", "trade", "BTCUSDT", "1")
    assert "no flow 'f9'" in await refused("adjust", "trade", "BTCUSDT", "1", "--cancel", "--flow", "f9")
    gone = await run("adjust", "trade", "BTCUSDT", "1", "--cancel", "--flow", "f1")
    assert "BNB quantity" not in gone["after"]
    assert (gone["after"]["fees"], gone["after"]["ETH quantity"]) == ("0", "0.5")
