"""One session of one account: connect, sync, and go live until the connection ends."""

import asyncio
import logging
from contextlib import aclosing

from infra.binance.catalogue import Catalogue
from infra.binance.decoder import Notice, NoticeKind, UserEvent, decode_user_event
from infra.binance.errors import MalformedEvent, RequestRefused, StreamLost, UnknownSymbol
from infra.binance.permissions import check_key
from infra.binance.rest import BinanceRest
from infra.binance.user_feed import UserFeed, open_user_feed
from infra.hiding import without_secrets
from infra.portfolio_file import AccountConfig
from infra.settings import Settings
from streams.gateway.flows import FlowHistories
from streams.gateway.inbox import Inbox
from streams.gateway.live import LivePhase, OutOfStep
from streams.gateway.log import AccountLog
from streams.gateway.market import SharedMarket
from streams.gateway.status import GatewayState, GatewayStatus
from streams.gateway.sync import FullSync, SyncUnsettled
from streams.gateway.telemetry import count_received

log = logging.getLogger(__name__)

SESSION_ERRORS = (StreamLost, OutOfStep, SyncUnsettled, MalformedEvent, RequestRefused, UnknownSymbol)
"""What ends a session, and is answered by another one."""

_RAW_SHOWN = 300


class Sessions:
    """The sessions of one account, one after the other.

    Attributes:
        live: The live phase of the last session that had one.
        histories: What the exchange tells of the account's flows.
    """

    def __init__(
        self,
        *,
        settings: Settings,
        account: AccountConfig,
        rest: BinanceRest,
        market: SharedMarket,
        status: GatewayStatus,
    ) -> None:
        """Prepare.

        Args:
            settings: Addresses and intervals.
            account: Whose sessions.
            rest: A client with the account's key.
            market: What it shares with the other accounts.
            status: What operators are told of it.
        """
        self.live: LivePhase | None = None
        self.histories = FlowHistories(rest)
        self._settings = settings
        self._account = account
        self._rest = rest
        self._market = market
        self._status = status
        self._unknown_symbols: set[str] = set()
        self._is_key_checked = False

    async def run(self, account_log: AccountLog) -> None:
        """One session, until something ends it.

        Args:
            account_log: Where to publish; it has been recovered.

        Raises:
            Exception: One of `SESSION_ERRORS`; another session is to be tried.
            LogUnavailable: Kafka is in doubt; the log is to be recovered first.
            RemediableError: Something that a person must clear.
        """
        self._status.state = GatewayState.SYNCING
        await self._rest.measure_clock()
        if not self._is_key_checked:
            await check_key(self._rest, self._account.name, self._settings.key_permissions)
            self._is_key_checked = True
        catalogue, enricher = await self._market.fresh(self._account.reporting)
        async with open_user_feed(
            self._settings.binance_ws_api_url,
            self._rest,
            age_max_s=self._settings.binance_stream_age_max_s,
            on_handover=self._note_handover,
        ) as feed:
            inbox = Inbox(self._rest.exchange_time_us())
            reader = asyncio.create_task(self._read(feed, inbox, catalogue, account_log))
            try:
                synced_us = await FullSync(
                    rest=self._rest,
                    catalogue=catalogue,
                    enricher=enricher,
                    account_log=account_log,
                    inbox=inbox,
                    histories=self.histories,
                    status=self._status,
                    spool_path=self._settings.data_dir / "gateway" / f"{self._account.name}.sqlite",
                    origin=self._settings.binance_rest_url,
                ).run()
                live = self.live = LivePhase(
                    settings=self._settings,
                    rest=self._rest,
                    enricher=enricher,
                    account_log=account_log,
                    inbox=inbox,
                    histories=self.histories,
                    synced_us=synced_us,
                )
                self._status.state = GatewayState.LIVE
                log.info("account %s is live", self._account.name)
                await live.run()
            finally:
                reader.cancel()
                await asyncio.gather(reader, return_exceptions=True)

    async def _read(self, feed: UserFeed, inbox: Inbox, catalogue: Catalogue, account_log: AccountLog) -> None:
        """Fill the inbox; whatever ends the stream reaches who takes from it."""
        try:
            async with aclosing(feed.frames()) as frames:
                async for frame in frames:
                    await self._take(frame, inbox, catalogue, account_log)
        except Exception as error:  # noqa: BLE001 - handed on, to be raised where the inbox is read
            inbox.end(error)

    async def _take(self, frame: str | bytes, inbox: Inbox, catalogue: Catalogue, account_log: AccountLog) -> None:
        """Decode a frame, and put it into the inbox; what cannot be read is kept."""
        try:
            event = decode_user_event(frame, catalogue)
        except MalformedEvent as error:
            await self._keep_raw(frame, str(error), account_log)
            return
        except UnknownSymbol as error:
            found = await self._decode_new_listing(frame, error, catalogue)
            if found is None:
                await self._keep_raw(frame, str(error), account_log)
                return
            event = found
        if isinstance(event, Notice) and event.kind is NoticeKind.UNKNOWN:
            await self._keep_raw(frame, f"unknown event {event.name!r}", account_log)
        count_received(self._account.name, event)
        inbox.put(event)

    async def _decode_new_listing(
        self, frame: str | bytes, error: UnknownSymbol, catalogue: Catalogue
    ) -> UserEvent | None:
        """Decode again with a catalogue that was read again; None where it does not list the symbol either."""
        if error.symbol in self._unknown_symbols:
            return None
        self._unknown_symbols.add(error.symbol)
        await self._market.refresh()
        try:
            return decode_user_event(frame, catalogue)
        except UnknownSymbol:
            return None

    def _note_handover(self) -> None:
        self._status.handovers += 1
        log.info("account %s: a new connection has taken over without a gap", self._account.name)

    async def _keep_raw(self, frame: str | bytes, reason: str, account_log: AccountLog) -> None:
        self._status.unread_events += 1
        text = frame if isinstance(frame, str) else frame.decode(errors="backslashreplace")
        told = without_secrets(text)
        log.warning("%s: %.*s", reason, _RAW_SHOWN, told)
        await account_log.keep_raw(frame if told == text else told, reason, self._rest.exchange_time_us())
