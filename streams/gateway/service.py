"""The gateway as a whole: connect, sync, go live; and again after whatever goes wrong."""

import asyncio
import logging
import time

from infra.backoff import backoff_s
from infra.binance.catalogue import Catalogue
from infra.binance.decoder import Notice, NoticeKind, decode_user_event
from infra.binance.errors import MalformedEvent, RequestRefused, StreamLost, UnknownSymbol
from infra.binance.prices import LivePrices
from infra.binance.rest import BinanceRest
from infra.binance.user_stream import UserStream, open_user_stream
from infra.errors import RemediableError
from infra.settings import Settings
from streams.creation import ensure_topics
from streams.gateway.enrich import Enricher
from streams.gateway.inbox import Inbox
from streams.gateway.live import LivePhase, OutOfStep
from streams.gateway.log import AccountLog, LogUnavailable, open_producer
from streams.gateway.marks import MarksFeed
from streams.gateway.status import GatewayState, GatewayStatus, StatusWriter
from streams.gateway.sync import FullSync, SyncUnsettled
from streams.topics import ACCOUNT_EVENTS, DEAD_LETTERS, MARKS

log = logging.getLogger(__name__)

_BACKOFF_FIRST_S = 0.25
_BACKOFF_MAX_S = 30.0
_CALM_S = 60.0
_RAW_SHOWN = 300
_SESSION_ERRORS = (StreamLost, OutOfStep, SyncUnsettled, MalformedEvent, RequestRefused, UnknownSymbol)


async def run_gateway(settings: Settings) -> None:
    """Follow the account of the settings until cancelled.

    Raises:
        RemediableError: Something that a person must clear: a key that is missing or refused, a log kept in another
            currency.
    """
    key, secret = settings.binance_api_key, settings.binance_secret_key
    if key is None or secret is None:
        raise RemediableError(
            "no API key is set",
            "Set BINANCE_API_KEY and BINANCE_SECRET_KEY; for the simulated exchange they are demo-key and demo-secret",
        )
    rest = BinanceRest(
        rest_url=settings.binance_rest_url, api_key=key.get_secret_value(), secret_key=secret.get_secret_value()
    )
    gateway = Gateway(settings, rest)
    try:
        await gateway.run()
    finally:
        await rest.close()


class Gateway:
    """One account, from Binance to Kafka.

    Attributes:
        status: What operators are told.
    """

    def __init__(self, settings: Settings, rest: BinanceRest) -> None:
        """Prepare.

        Args:
            settings: Account, addresses, intervals.
            rest: A client with the account's key.
        """
        self.status = GatewayStatus()
        self._settings = settings
        self._rest = rest
        self._prices = LivePrices()
        self._enricher: Enricher | None = None
        self._log: AccountLog | None = None
        self._live: LivePhase | None = None
        self._unknown_symbols: set[str] = set()

    async def run(self) -> None:
        """Run until cancelled.

        Raises:
            RemediableError: Something that a person must clear.
        """
        writer = StatusWriter(self._settings, self.status)
        marks = MarksFeed(
            settings=self._settings,
            rest=self._rest,
            live=self._prices,
            enricher=lambda: self._enricher,
            assets=lambda: set() if self._log is None else self._log.published.assets,
        )
        tasks = [
            asyncio.create_task(work, name=name)
            for name, work in (("account", self._follow()), ("marks", marks.run()), ("status", self._tell(writer)))
        ]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self.status.state = GatewayState.STOPPED
            await writer.close()

    async def _follow(self) -> None:
        """Sessions, one after the other; the log is read again whenever Kafka was in doubt."""
        attempt = 0
        await ensure_topics(self._settings, on_wait=log.info, specs=(ACCOUNT_EVENTS, MARKS, DEAD_LETTERS))
        while True:
            try:
                async with open_producer(self._settings) as producer:
                    account_log = AccountLog(self._settings, producer)
                    await account_log.recover()
                    self._log = account_log
                    while True:
                        attempt = await self._attempt(account_log, attempt)
            except LogUnavailable as error:
                attempt += 1
                await self._back_off(error, attempt)

    async def _attempt(self, account_log: AccountLog, attempt: int) -> int:
        """One session, and the pause after it; returns how many have failed in a row."""
        started = time.monotonic()
        try:
            await self._session(account_log)
        except _SESSION_ERRORS as error:
            attempt = 1 if time.monotonic() - started > _CALM_S else attempt + 1
            await self._back_off(error, attempt)
        return attempt

    async def _back_off(self, error: Exception, attempt: int) -> None:
        wait_s = backoff_s(attempt, first_s=_BACKOFF_FIRST_S, longest_s=_BACKOFF_MAX_S)
        wait_s = max(wait_s, error.retry_after_s if isinstance(error, StreamLost) else 0.0)
        self.status.state = GatewayState.RECONNECTING
        self.status.sync_errors += 1
        log.warning("%s; connecting again in %.1f s", error, wait_s)
        await asyncio.sleep(wait_s)

    async def _session(self, account_log: AccountLog) -> None:
        """Connect, sync, and go live until the connection ends."""
        self.status.state = GatewayState.SYNCING
        await self._rest.measure_clock()
        catalogue = await self._rest.catalogue()
        self._prices.poll(await self._rest.prices())
        enricher = self._enricher = Enricher(
            reporting=self._settings.reporting_currency, catalogue=catalogue, live=self._prices, rest=self._rest
        )
        async with open_user_stream(self._settings.binance_ws_api_url, self._rest.sign) as stream:
            inbox = Inbox(self._rest.exchange_time_us())
            reader = asyncio.create_task(self._read(stream, inbox, catalogue, account_log))
            try:
                synced_us = await FullSync(
                    rest=self._rest, catalogue=catalogue, enricher=enricher, account_log=account_log, inbox=inbox
                ).run()
                self._live = LivePhase(
                    settings=self._settings,
                    rest=self._rest,
                    enricher=enricher,
                    account_log=account_log,
                    inbox=inbox,
                    synced_us=synced_us,
                )
                self.status.state = GatewayState.LIVE
                log.info("account %s is live", self._settings.account)
                await self._live.run()
            finally:
                reader.cancel()
                await asyncio.gather(reader, return_exceptions=True)

    async def _read(self, stream: UserStream, inbox: Inbox, catalogue: Catalogue, account_log: AccountLog) -> None:
        """Fill the inbox; whatever ends the stream reaches who takes from it."""
        try:
            async for frame in stream.frames():
                try:
                    event = decode_user_event(frame, catalogue)
                except MalformedEvent as error:
                    await self._keep_raw(frame, str(error), account_log)
                    continue
                except UnknownSymbol as error:
                    if error.symbol not in self._unknown_symbols:
                        # A new listing: the next session reads the catalogue again.
                        self._unknown_symbols.add(error.symbol)
                        raise
                    await self._keep_raw(frame, str(error), account_log)
                    continue
                if isinstance(event, Notice) and event.kind is NoticeKind.UNKNOWN:
                    await self._keep_raw(frame, f"unknown event {event.name!r}", account_log)
                inbox.put(event)
        except Exception as error:  # noqa: BLE001 - handed on, to be raised where the inbox is read
            inbox.end(error)

    async def _keep_raw(self, frame: str | bytes, reason: str, account_log: AccountLog) -> None:
        self.status.unread_events += 1
        log.warning("%s: %.*s", reason, _RAW_SHOWN, frame)
        await account_log.keep_raw(frame, reason, self._rest.exchange_time_us())

    async def _tell(self, writer: StatusWriter) -> None:
        while True:
            status, live = self.status, self._live
            status.heartbeat_time_us = self._rest.exchange_time_us()
            status.rest_latency_ms = round(self._rest.latency_ms, 1)
            status.weight_used = self._rest.weight_used
            if live is not None:
                status.last_sync_time_us, status.last_event_time_us = live.last_sync_us, live.last_event_us
            await writer.write()
            await writer.pause()
