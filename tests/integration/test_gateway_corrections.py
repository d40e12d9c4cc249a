"""The gateway and corrections: it recovers the same books as the ledger, and takes in what others publish."""

import secrets
import time

import pytest
from msgspec.structs import replace

from infra.errors import RemediableError
from infra.portfolio_file import load_accounts
from infra.settings import Settings
from portfolio import TradeCorrection, amount
from portfolio.events import Flow, FlowKind, Reclassification
from streams.correcting import append, looking_at
from streams.creation import ensure_topics
from streams.gateway.flows import FlowHistories
from streams.gateway.log import AccountLog, open_producer
from streams.topics import ACCOUNT_EVENTS
from tests.support.gateway import folded
from tests.support.scripted_exchange import ScriptedExchange, connected
from tests.support.worker import TIME_US, fill

pytestmark = pytest.mark.integration


async def test_a_cancelled_trade_leaves_what_the_gateway_knows_of_the_account(kafka_brokers: str) -> None:
    """The exchange gives the money back. What the log then holds is what the exchange holds: nothing is unexplained."""
    settings = Settings(kafka_brokers=kafka_brokers, account=f"main-{secrets.token_hex(4)}")
    await ensure_topics(settings, on_wait=print, specs=(ACCOUNT_EVENTS,), timeout_s=30)
    (account,) = load_accounts(settings)
    bought = [replace(fill(number), quantity=amount("1"), fee=amount("0"), fee_asset="") for number in (1, 2)]
    correction = TradeCorrection(
        id="c1",
        symbol="BTCUSDT",
        trade_id=1,
        order_id=1,
        author="ada",
        reason="bust",
        time_us=TIME_US + 10,
    )
    async with open_producer(settings) as producer:
        log = AccountLog(settings, account, producer)
        await log.recover()
        await log.publish(bought)
        assert log.published.quantities.held["BTC"] == 2

        async with looking_at(settings, account.name, lambda _events: None) as looking:
            before = await looking.now()
        await append(settings, before.book, correction)
        await log.note_corrections()
        assert log.published.quantities.held == {"BTC": amount("1")}
        assert log.published.quantities.gaps({"BTC": amount("1")}) == {}
        assert not any(log.published.is_new(one) for one in bought)
        assert log.published.next_trade_id("BTCUSDT") == 2

        afresh = AccountLog(settings, account, producer)
        await afresh.recover()
        assert afresh.published.quantities.held == log.published.quantities.held
        assert afresh.published.events == 3


async def test_a_kind_that_a_person_named_is_not_named_again_by_the_histories(kafka_brokers: str) -> None:
    """Two flows came in without a kind, and the exchange calls both deposits. A person knows better about one."""
    settings = Settings(kafka_brokers=kafka_brokers, account=f"named-{secrets.token_hex(4)}")
    await ensure_topics(settings, on_wait=print, specs=(ACCOUNT_EVENTS,), timeout_s=30)
    (account,) = load_accounts(settings)
    now_us = time.time_ns() // 1_000
    flows = [
        Flow(time_us=now_us, id=f"f{quantity}", asset="USDT", quantity=amount(quantity), kind=FlowKind.UNCLASSIFIED)
        for quantity in ("5", "7")
    ]
    exchange = ScriptedExchange()
    rows = [
        {"id": f"d{flow.quantity}", "coin": "USDT", "amount": str(flow.quantity), "status": 1,
         "insertTime": now_us // 1_000, "completeTime": now_us // 1_000}
        for flow in flows
    ]  # fmt: skip
    exchange.scripts["/sapi/v1/capital/deposit/hisrec"] = [(200, rows)]
    by_hand = Reclassification(
        id="r1", flow_id="f5", kind=FlowKind.REWARD, author="ada", reason="a prize", time_us=now_us + 1
    )
    async with connected(exchange) as rest, open_producer(settings) as producer:
        await rest.measure_clock()
        log = AccountLog(settings, account, producer)
        await log.recover()
        await log.publish(flows)
        histories = FlowHistories(rest)
        await histories.read(log.published)
        async with looking_at(settings, account.name, lambda _events: None) as looking:
            before = await looking.now()
        await append(settings, before.book, by_hand)

        await histories.name_flows(log)
        book, _ = await folded(settings)
        assert {flow_id: flow.kind for flow_id, flow in book.flows.items()} == {
            "f5": FlowKind.REWARD,
            "f7": FlowKind.DEPOSIT,
        }
        assert log.published.unclassified == {}
        # What the gateway has named itself is no reason to read the whole log again.
        known = log.published
        await log.note_corrections()
        assert log.published is known


async def test_other_cash_assets_than_those_of_the_log_are_refused(kafka_brokers: str) -> None:
    settings = Settings(kafka_brokers=kafka_brokers, account=f"cash-{secrets.token_hex(4)}")
    await ensure_topics(settings, on_wait=print, specs=(ACCOUNT_EVENTS,), timeout_s=30)
    (account,) = load_accounts(settings)
    async with open_producer(settings) as producer:
        log = AccountLog(settings, account, producer)
        await log.recover()
        await log.publish([fill(1)])
        (changed,) = load_accounts(settings.model_copy(update={"cash_assets": frozenset({"USDC"})}))
        with pytest.raises(RemediableError, match="PORTFOLIO_CASH_ASSETS=BUSD"):
            await AccountLog(settings, changed, producer).recover()
