"""One account, followed: the log is recovered, and sessions come one after the other, whatever goes wrong."""

import asyncio
import logging
import time
from collections.abc import Mapping
from typing import Protocol

from infra.backoff import backoff_s
from infra.binance.errors import StreamLost
from infra.binance.rest import BinanceRest
from infra.errors import RemediableError
from infra.portfolio_file import AccountConfig
from infra.settings import Settings
from infra.telemetry.logs import log_context
from infra.telemetry.metrics import GATEWAY_SESSIONS
from streams.executions.booking import BookedExecutions
from streams.gateway.log import AccountLog, LogUnavailable, open_producer
from streams.gateway.market import SharedMarket
from streams.gateway.session import SESSION_ERRORS, Sessions
from streams.gateway.status import GatewayState, GatewayStatus

log = logging.getLogger(__name__)

_BACKOFF_FIRST_S = 0.25
_BACKOFF_MAX_S = 30.0
_FAILED_FIRST_S = 15.0
_FAILED_MAX_S = 300.0
_CALM_S = 60.0


class Source(Protocol):
    """Where the events of an account come from."""

    async def run(self, account_log: AccountLog) -> None:
        """Publish events until something ends it; one of `SESSION_ERRORS` or `LogUnavailable` is tried again."""


class AccountFollower:
    """Carries one account from its source to Kafka.

    Attributes:
        status: What operators are told of it.
        failure: Why it cannot be followed, where that is nothing that passes by itself; None while it can.
    """

    def __init__(self, settings: Settings, account: AccountConfig, market: SharedMarket) -> None:
        """Prepare.

        Args:
            settings: Addresses and intervals.
            account: The account.
            market: What it shares with the other accounts.
        """
        self.status = GatewayStatus()
        self.failure: Exception | None = None
        self._settings = settings
        self._account = account
        self._market = market
        self._rest: BinanceRest | None = None
        self._source: Sessions | BookedExecutions | None = None
        self._log: AccountLog | None = None

    @property
    def account(self) -> AccountConfig:
        """The account that is followed."""
        return self._account

    @property
    def assets(self) -> set[str]:
        """Every asset that the account's log has named."""
        return set() if self._log is None else self._log.published.assets

    async def run(self, on_failure: asyncio.Event) -> None:
        """Follow until cancelled; what does not pass by itself is told, and tried again after a while.

        An error that nobody foresaw is no different: it must not take the other accounts with it, and what is on the
        log is read again before anything more is published.

        Args:
            on_failure: Set whenever `failure` is.
        """
        with log_context(account=self._account.name):
            await self._follow_persistently(on_failure)

    async def _follow_persistently(self, on_failure: asyncio.Event) -> None:
        attempt = 0
        while True:
            try:
                await self._follow()
            except Exception as error:
                wait_s = backoff_s(attempt, first_s=_FAILED_FIRST_S, longest_s=_FAILED_MAX_S)
                is_unforeseen = not isinstance(error, RemediableError)
                log.error(  # noqa: TRY400 - the traceback of what a person can clear helps nobody
                    "account %s: %s; next attempt in %.0f s", self._account.name, error, wait_s, exc_info=is_unforeseen
                )
                self.failure = error
                self.status.state = GatewayState.FAILED
                self.status.problem = f"{type(error).__name__}: {error}" if is_unforeseen else str(error)
                on_failure.set()
                attempt += 1
                await asyncio.sleep(wait_s)

    async def _follow(self) -> None:
        if self._account.source == "executions":
            booked = self._source = BookedExecutions(
                settings=self._settings, account=self._account, market=self._market, status=self.status
            )
            await self._recover_and_follow(booked)
            return
        key, passphrase = self._account.credentials(), self._settings.binance_key_passphrase
        rest = self._rest = BinanceRest(
            rest_url=self._settings.binance_rest_url,
            api_key=key.key.get_secret_value(),
            secret_key=key.secret.get_secret_value(),
            passphrase="" if passphrase is None else passphrase.get_secret_value(),
            venue=self._market.rest.venue,
        )
        sessions = self._source = Sessions(
            settings=self._settings, account=self._account, rest=rest, market=self._market, status=self.status
        )
        try:
            await self._recover_and_follow(sessions)
        finally:
            self._rest = None
            await rest.close()

    async def _recover_and_follow(self, source: Source) -> None:
        """Sessions, one after the other; the log is read again whenever Kafka was in doubt."""
        attempt = 0
        while True:
            try:
                async with open_producer(self._settings) as producer:
                    account_log = AccountLog(self._settings, self._account, producer)
                    await account_log.recover()
                    self._log = account_log
                    while True:
                        attempt = await self._attempt(source, account_log, attempt)
            except LogUnavailable as error:
                attempt += 1
                await self._back_off(error, attempt)

    async def _attempt(self, source: Source, account_log: AccountLog, attempt: int) -> int:
        """One session, and the pause after it; returns how many have failed in a row."""
        started = time.monotonic()
        GATEWAY_SESSIONS.labels(self._account.name).inc()
        try:
            await source.run(account_log)
        except SESSION_ERRORS as error:
            attempt = 1 if time.monotonic() - started > _CALM_S else attempt + 1
            await self._back_off(error, attempt)
        return attempt

    async def _back_off(self, error: Exception, attempt: int) -> None:
        wait_s = backoff_s(attempt, first_s=_BACKOFF_FIRST_S, longest_s=_BACKOFF_MAX_S)
        wait_s = max(wait_s, error.retry_after_s if isinstance(error, StreamLost) else 0.0)
        self.status.state, self.status.problem = GatewayState.RECONNECTING, str(error)
        self.status.sync_errors += 1
        log.warning("account %s: %s; connecting again in %.1f s", self._account.name, error, wait_s)
        await asyncio.sleep(wait_s)

    def refresh_status(self, stale: Mapping[str, int]) -> None:
        """Bring the heartbeat and what is measured up to date.

        Args:
            stale: Assets whose price does not move, and when it was made.
        """
        status, rest = self.status, self._rest
        live = self._source.live if isinstance(self._source, Sessions) else self._source
        clock = self._market.rest if rest is None else rest
        status.heartbeat_time_us = clock.exchange_time_us()
        if rest is not None:
            status.rest_latency_ms, status.weight_used = round(rest.latency_ms, 1), rest.weight_used
        if isinstance(self._source, Sessions):
            status.histories_problem = next(iter(self._source.histories.problems.values()), "")
        if self._log is not None:
            status.unclassified_flows = len(self._log.published.unclassified)
        if live is not None:
            status.last_sync_time_us, status.last_event_time_us = live.last_sync_us, live.last_event_us
        held = {} if self._log is None else self._log.published.quantities.held
        status.stale_assets = {asset: stale[asset] for asset in held if asset in stale}
        if status.state is GatewayState.LIVE:
            self.failure, status.problem = None, ""
