"""The dashboard in a real browser, over a real API and Postgres."""

import asyncio
import os
import re
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
from msgspec.structs import replace
from playwright.async_api import Browser, Page, expect

from infra.access_keys import SCOPES
from infra.postgres.access_keys import KeyStore
from infra.postgres.alerts import write_alerts
from infra.postgres.connection import connected
from infra.postgres.migrate import migrate
from infra.postgres.writer import LogRef, Writer
from portfolio.alerts.engine import Alert, AlertStatus
from portfolio.alerts.rules import Severity
from portfolio.snapshots import AccountSnapshot, LedgerUpdate
from tests.support.journal import START_US, Journal, deposit, fill, sample_account

pytestmark = pytest.mark.browser

ROOT = Path(__file__).parents[2]


class Site:
    """The API as a process of its own, which can be stopped and started again."""

    def __init__(self, database_url: str) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.database_url = database_url
        self.written = 0
        self._process: asyncio.subprocess.Process | None = None

    async def start(self, host: str = "127.0.0.1") -> None:
        environment = {
            **os.environ,
            "DATABASE_URL": self.database_url,
            "REDIS_URL": "redis://127.0.0.1:1/0",
            "KAFKA_BROKERS": "127.0.0.1:1",
            "LOG_LEVEL": "ERROR",
        }
        command = (sys.executable, str(ROOT / "main.py"), "--host", host, "--port", str(self.port))
        self._process = await asyncio.create_subprocess_exec(*command, env=environment, cwd=ROOT)
        deadline = time.monotonic() + 90
        async with httpx.AsyncClient() as client:
            while True:
                try:
                    if (await client.get(f"{self.url}/health/ready")).status_code == 200:
                        return
                except httpx.TransportError:
                    pass
                assert time.monotonic() < deadline, "the API did not get ready"
                await asyncio.sleep(0.1)

    async def stop(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGTERM)
            await self._process.wait()
            self._process = None

    async def alert(self, *alerts: Alert) -> None:
        """Store alerts as they are now."""
        async with connected(self.database_url) as connection:
            await write_alerts(connection, alerts)

    async def store(self, updates: Sequence[LedgerUpdate], *snapshots: AccountSnapshot) -> None:
        async with Writer(self.database_url) as writer:
            refs = [LogRef("j", 3, self.written + number) for number in range(len(updates))]
            await writer.write(list(zip(refs, updates, strict=True)), snapshots)
        self.written += len(updates)


@pytest.fixture
async def site(database_url: str) -> AsyncIterator[Site]:
    await migrate(database_url)
    site = Site(database_url)
    await site.start()
    try:
        yield site
    finally:
        await site.stop()


@asynccontextmanager
async def opened(browser: Browser, url: str, *, width: int = 1280) -> AsyncIterator[Page]:
    """A page that must log no error."""
    page = await browser.new_page(viewport={"width": width, "height": 900}, locale="en-GB", timezone_id="UTC")
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda said: errors.append(said.text) if "Content Security Policy" in said.text else None)
    await page.goto(url)
    yield page
    await page.close()
    assert errors == []


def now_us() -> int:
    return time.time_ns() // 1_000


async def test_it_tells_what_to_do_and_fills_by_itself(site: Site, browser: Browser) -> None:
    async with opened(browser, site.url) as page:
        await expect(page.get_by_role("heading", name="No account has arrived yet")).to_be_visible()
        await expect(page.locator("#empty-problems")).to_contain_text("Kafka does not answer")
        journal = Journal()
        await site.store([journal.page(deposit("d", "USDT", "1234.5", time_us=now_us()))])
        await expect(page.locator("#equity")).to_have_text("1,234.50")
        await expect(page.locator("#empty")).to_be_hidden()


async def test_figures_follow_the_books_live(site: Site, browser: Browser) -> None:
    journal, updates = sample_account()
    await site.store(updates, journal.marked(now_us(), BTC="62111.5", ETH="3190.25", BNB="615"))
    async with opened(browser, site.url) as page:
        await expect(page.locator("#equity")).to_have_text("48,194.88")
        await expect(page.locator("#equity")).to_have_attribute("title", "48194.8816028")
        await expect(page.locator("#open tbody tr")).to_have_count(3)
        await expect(page.locator("#closed tbody tr")).to_have_count(2)
        await expect(page.locator("#trades tbody tr")).to_have_count(8)
        await expect(page.locator("#symbols")).to_contain_text("SOLUSDT")
        await expect(page.locator("#balances-count")).to_have_text("1 differs from the exchange")
        await expect(page.locator("#balances .flag")).to_have_attribute(
            "title", "0.5 (exchange less ledger): unclassified flow"
        )
        await expect(page.locator("#chart")).to_contain_text("The curve begins with the second valuation.")
        await page.get_by_role("button", name="All").click()
        await expect(page.locator("#chart .line")).to_be_visible()
        await expect(page.locator("#metrics")).to_contain_text("Win rate")
        await expect(page.locator("#notice")).to_be_hidden()

        await site.store([], journal.marked(now_us(), BTC="70000", ETH="3190.25", BNB="615"))
        await expect(page.locator("#equity")).to_have_text("50,167.01")
        bitcoin = page.locator("#open tbody tr", has_text="BTCUSDT")
        await expect(bitcoin).to_contain_text("70,000.00")
        await expect(bitcoin.locator(".gain").first).to_have_text("+2,550.00")

        await site.store([journal.page(fill(9, "SELL", "0.25", "70000", time_us=now_us()))])
        await expect(page.locator("#trades tbody tr")).to_have_count(9)
        await expect(page.locator("#open tbody tr")).to_have_count(2)
        await expect(page.locator("#closed tbody tr")).to_have_count(3)


async def test_what_did_not_change_is_not_sent_again(site: Site, browser: Browser) -> None:
    journal, updates = sample_account()
    await site.store(updates, journal.marked(now_us(), BTC="62111.5", ETH="3190.25", BNB="615"))
    async with opened(browser, site.url) as page:
        await expect(page.locator("#symbols")).to_contain_text("SOLUSDT")
        overviews = """performance.getEntriesByType("resource").filter(({ name }) => name.includes("/overview"))"""
        await page.wait_for_function(f"() => {overviews}.length > 2")
        first, *later = await page.evaluate(
            f"() => {overviews}.map(({{ transferSize, encodedBodySize }}) => [transferSize, encodedBodySize])"
        )
    assert first[0] > first[1] > 0
    assert all(0 < sent < size for sent, size in later), later


def an_alert(number: int, severity: Severity, text: str, account: str = "main") -> Alert:
    time_us = now_us() - 3_600_000_000 + number
    return Alert(
        id=f"{number:012x}", rule=f"rule-{number}", kind="loss", severity=severity, account=account, subject="24h",
        status=AlertStatus.RAISED, text=text, raised_time_us=time_us, changed_time_us=time_us, told_time_us=time_us,
    )  # fmt: skip


HOSTILE = "<img src=x onerror=\"document.title='taken'\"><script>document.title='taken'</script>&amp;"


async def test_open_alerts_are_shown_live_and_as_text(site: Site, browser: Browser) -> None:
    journal, updates = sample_account()
    await site.store(updates, journal.marked(now_us(), BTC="62111.5", ETH="3190.25", BNB="615"))
    small, large = an_alert(1, Severity.WARNING, HOSTILE), an_alert(2, Severity.CRITICAL, "12% of equity is lost")
    async with opened(browser, site.url) as page:
        panel, items = page.locator("#alerts"), page.locator("#alerts li")
        await expect(panel).to_have_text("Alerts none is open", use_inner_text=True)
        await expect(panel.locator("ul")).to_be_hidden()
        await site.alert(small, an_alert(3, Severity.INFO, "of another account", "second"))
        await expect(panel.locator("h2")).to_have_text("Alerts 2 open")
        await expect(items.first.locator(".message")).to_have_text(HOSTILE)
        await expect(items.first).to_contain_text("rule-1 24h")
        await expect(items.first.locator("time")).to_have_text(re.compile("^since .*[0-9]{2}:[0-9]{2}:[0-9]{2}$"))
        await site.alert(large)
        await expect(items.first.locator(".message")).to_have_text("12% of equity is lost")
        await expect(items.first.locator(".severity")).to_have_text("critical")
        noted_us = now_us()
        await site.alert(replace(large, acknowledged_by="<b>anna</b>", changed_time_us=noted_us))
        await site.alert(replace(small, silenced=True, changed_time_us=noted_us))
        await expect(panel).to_contain_text("acknowledged by <b>anna</b>")
        await expect(items.first).to_contain_text("of another account")
        await expect(items.nth(1)).to_contain_text("12% of equity is lost")
        await expect(items.nth(2).locator(".care")).to_have_text("silenced")
        assert await panel.locator("img, script, p b").count() == 0
        assert "taken" not in await page.title()
        await site.alert(replace(large, status=AlertStatus.CLEARED, changed_time_us=now_us(), cleared_time_us=now_us()))
        await expect(items).to_have_count(2)
        await expect(panel).not_to_contain_text("12% of equity is lost")
        assert await page.evaluate("document.documentElement.scrollWidth") <= 1280

    async with opened(browser, f"{site.url}/?account=second", width=360) as page:
        await expect(page.locator("#alerts li")).to_have_count(0)
        await expect(page.locator("#notice")).to_contain_text("second")


async def test_alerts_are_shown_before_an_account_is(site: Site, browser: Browser) -> None:
    """A record that cannot be read may be why none arrives."""
    await site.alert(an_alert(1, Severity.WARNING, "x" * 1_000, account=""))
    async with opened(browser, site.url, width=360) as page:
        await expect(page.locator("#alerts .message")).to_have_text("x" * 1_000)
        await expect(page.locator("#empty")).to_be_visible()
        assert await page.evaluate("document.documentElement.scrollWidth") <= 360


async def test_a_key_that_may_not_see_the_service_sees_the_books(site: Site, browser: Browser) -> None:
    journal, updates = sample_account()
    await site.store(updates, journal.marked(now_us(), BTC="62111.5", ETH="3190.25", BNB="615"))
    await site.alert(an_alert(1, Severity.CRITICAL, "nobody but the administrator reads this"))
    await site.stop()
    await site.start(host="0.0.0.0")
    token = await KeyStore(site.database_url, actor="tester").create("reader", scopes=["portfolio:read"])
    async with opened(browser, site.url) as page:
        await page.get_by_placeholder("pfk_").fill(token.text)
        await page.get_by_role("button", name="Show").click()
        await expect(page.locator("#equity")).to_have_text("48,194.88")
        await expect(page.locator("#alerts")).to_have_text("Alerts are shown to keys with the scope admin:read")
        await expect(page.locator("#status")).to_have_text("State shown to keys with the scope admin:read")
        await expect(page.locator("#notice")).to_be_hidden()


async def test_old_prices_are_marked(site: Site, browser: Browser) -> None:
    await site.store([Journal().page(deposit("d", "USDT", "1", time_us=START_US))])
    async with opened(browser, site.url) as page:
        await expect(page.locator("#notice")).to_contain_text("Stale: the newest prices are")
        await expect(page.locator("body")).to_have_attribute("data-stale", "true")


async def test_it_survives_the_api(site: Site, browser: Browser) -> None:
    journal = Journal()
    await site.store([journal.page(deposit("d", "USDT", "7", time_us=now_us()))])
    async with opened(browser, site.url) as page:
        await expect(page.locator("#equity")).to_have_text("7.00")
        await site.stop()
        await expect(page.locator("#notice")).to_contain_text("No answer")
        await expect(page.locator("#equity")).to_have_text("7.00")
        await site.start()
        await site.store([journal.page(deposit("e", "USDT", "1", time_us=now_us()))])
        await expect(page.locator("#equity")).to_have_text("8.00")
        await expect(page.locator("#notice")).to_be_hidden()


@pytest.mark.parametrize("width", [360, 768, 1440])
async def test_no_width_makes_the_page_scroll_sideways(site: Site, browser: Browser, width: int) -> None:
    journal, updates = sample_account()
    await site.store(updates, journal.marked(now_us(), BTC="62111.5", ETH="3190.25", BNB="615"))
    async with opened(browser, site.url, width=width) as page:
        await expect(page.locator("#trades tbody tr")).to_have_count(8)
        assert await page.evaluate("document.documentElement.scrollWidth") <= width


async def test_money_is_rounded_as_text(site: Site, browser: Browser) -> None:
    async with opened(browser, site.url) as page:
        shown = await page.evaluate(
            """async () => {
              const { money, quantity, direction } = await import("./money.js");
              return [
                money("123456789012345678901234.565"),
                money("-0.004"),
                money("-0.005"),
                money("9.995", 2, true),
                money("0", 2, true),
                money("1", 0),
                quantity("0.25"),
                quantity("0.000000004"),
                direction("-0.000000000000000001"),
              ];
            }"""
        )
    assert shown == [
        "123,456,789,012,345,678,901,234.57",
        "0.00",
        "\u22120.01",
        "+10.00",
        "0.00",
        "1",
        ["0.25", "000000"],
        ["0", ".00000000"],
        "loss",
    ]


async def test_a_key_is_asked_for_where_one_is_needed(site: Site, browser: Browser) -> None:
    _, updates = sample_account()
    await site.store(updates)
    await site.stop()
    await site.start(host="0.0.0.0")
    token = await KeyStore(site.database_url, actor="tester").create("desk", scopes=SCOPES)
    page = await browser.new_page()
    await page.goto(site.url)
    await expect(page.get_by_text("asks for a key")).to_be_visible()
    await page.get_by_placeholder("pfk_").fill(token.text)
    await page.get_by_role("button", name="Show").click()
    await expect(page.locator("#equity")).to_be_visible()
    await expect(page.get_by_text("asks for a key")).to_be_hidden()
    assert token.text not in await page.content()
