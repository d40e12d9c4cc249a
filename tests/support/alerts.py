"""What the watch over the alerts hears and whom it tells: a ledger on the topics, a mailbox, a webhook, prices."""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from decimal import Decimal
from email import message_from_bytes, policy
from typing import Any, Self

from aiohttp import web
from aiokafka import AIOKafkaProducer
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session

from infra.embedded.checks import free_port
from infra.settings import Settings
from portfolio import Event, LogPosition, decode_book
from portfolio.snapshots import describe_account
from portfolio.valuation import value_book
from streams.account_log import Applied, apply_record, partition_of
from streams.records import AccountEvents, PnlRecord, account_events, pnl_records
from streams.topics import PNL


class Ledger:
    """Does what the ledger agent does, for accounts of its own, without a worker."""

    def __init__(self, settings: Settings, producer: AIOKafkaProducer) -> None:
        self._partitions = settings.partitions
        self._producer = producer
        self._books: dict[str, bytes] = {}
        self._offset = 0

    async def book(self, account: str, *events: Event) -> None:
        """Book events, and tell of it on the topics."""
        record = account_events.encode(AccountEvents(account=account, reporting="USDT", events=events))
        self._offset += 1
        step = apply_record(
            account.encode(),
            record,
            position=LogPosition(partition_of(account, self._partitions), self._offset),
            stored=self._books.get(account),
            partitions=self._partitions,
        )
        assert isinstance(step, Applied), step
        self._books[account] = step.stored
        for output in step.outputs:
            await self._producer.send(output.topic, output.value, key=output.key, partition=output.partition)
        await self._producer.flush()

    async def mark(self, account: str, marks: Mapping[str, str], time_us: int) -> None:
        """Tell what marks make of an account."""
        book = decode_book(self._books[account])
        value = value_book(book, {asset: Decimal(mark) for asset, mark in marks.items()})
        snapshot = describe_account(book, value, valued_time_us=time_us)
        await self._producer.send_and_wait(
            PNL.name,
            pnl_records.encode(PnlRecord(cause="marks", snapshot=snapshot)),
            key=account.encode(),
            partition=partition_of(account, self._partitions),
        )


class Mailbox:
    """A mail server that keeps what it is sent."""

    def __init__(self) -> None:
        self.mails: list[str] = []
        """Subject and text of each."""
        self._controller = Controller(self, hostname="127.0.0.1", port=free_port())

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802 - aiosmtpd's name
        content = envelope.content
        assert isinstance(content, bytes)
        mail = message_from_bytes(content, policy=policy.default)
        body = mail.get_body(("plain",))
        self.mails.append(f"{mail['subject']}\n{'' if body is None else body.get_content()}")
        return "250 OK"

    def __enter__(self) -> Self:
        self._controller.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._controller.stop()

    @property
    def url(self) -> str:
        return f"mailto://127.0.0.1:{self._controller.port}?mode=insecure&from=portfolio@example.com&to=ops@example.com"


class Webhook:
    """A receiver of webhooks, which may be out of order, and an exchange that knows prices only."""

    def __init__(self) -> None:
        self.messages: list[str] = []
        """Title and text of each."""
        self.is_broken = False
        self.prices: dict[str, str] = {}
        self.address = ""

    @property
    def url(self) -> str:
        return f"{self.address.replace('http', 'json')}/hook/a-secret-token"

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        app = web.Application()
        app.router.add_post("/hook/a-secret-token", self._take)
        app.router.add_get("/api/v3/ticker/price", self._tell)
        runner = web.AppRunner(app)
        await runner.setup()
        port = free_port()
        self.address = f"http://127.0.0.1:{port}"
        try:
            await web.TCPSite(runner, "127.0.0.1", port).start()
            yield
        finally:
            await runner.cleanup()

    async def _take(self, request: web.Request) -> web.Response:
        if self.is_broken:
            return web.Response(status=500, text="a-secret-token is not welcome")
        told: dict[str, Any] = await request.json()
        self.messages.append(f"{told['title']}\n{told['message']}")
        return web.Response()

    async def _tell(self, _request: web.Request) -> web.Response:
        return web.json_response([{"symbol": symbol, "price": price} for symbol, price in self.prices.items()])


def now_us() -> int:
    return time.time_ns() // 1_000


async def until_told(messages: Sequence[str], *words: str, timeout_s: float = 150) -> str:
    """The message that has all the words, once it has come."""
    deadline = time.monotonic() + timeout_s
    while True:
        for message in list(messages):
            if all(word in message for word in words):
                return message
        assert time.monotonic() < deadline, f"nobody was told of {words}: {messages}"
        await asyncio.sleep(0.05)
