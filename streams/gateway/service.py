"""The gateway as a whole: several accounts of one exchange, and the marks of all that they hold."""

import asyncio
import logging
from collections.abc import Mapping, Sequence

from infra.binance.rest import BinanceRest
from infra.binance.venue import Venue
from infra.cancellation import end
from infra.portfolio_file import AccountConfig
from infra.settings import Settings
from infra.telemetry.sharing import share_metrics
from streams.creation import ensure_topics
from streams.gateway.follower import AccountFollower
from streams.gateway.market import SharedMarket
from streams.gateway.marks import MarksFeed
from streams.gateway.status import GatewayState, GatewayStatus, StatusWriter
from streams.gateway.telemetry import GatewayMeter
from streams.topics import ACCOUNT_EVENTS, DEAD_LETTERS, EXECUTIONS, MARKS

log = logging.getLogger(__name__)


async def run_gateway(settings: Settings, accounts: Sequence[AccountConfig]) -> None:
    """Follow accounts until cancelled.

    Args:
        settings: Addresses and intervals.
        accounts: Whom to follow.

    Raises:
        RemediableError: No account can be followed (any more), for reasons that a person must clear: keys that are
            missing or refused, logs kept in another currency. While one can be, the others are tried again.
    """
    venue = Venue(weight_share=settings.binance_weight_share)
    keyless = BinanceRest(rest_url=settings.binance_rest_url, api_key="", secret_key="", venue=venue)
    market = SharedMarket(keyless, settings.benchmarks)
    gateway = Gateway(settings, accounts, market)
    try:
        await gateway.run()
    finally:
        await market.rest.close()


class Gateway:
    """Accounts of one exchange, from their sources to Kafka."""

    def __init__(self, settings: Settings, accounts: Sequence[AccountConfig], market: SharedMarket) -> None:
        """Prepare.

        Args:
            settings: Addresses and intervals.
            accounts: Whom to follow.
            market: What they share.
        """
        self._settings = settings
        self._market = market
        self._followers = [AccountFollower(settings, account, market) for account in accounts]

    @property
    def statuses(self) -> Mapping[str, GatewayStatus]:
        """What operators are told of each account."""
        return {follower.account.name: follower.status for follower in self._followers}

    async def run(self) -> None:
        """Run until cancelled.

        Raises:
            RemediableError: No account can be followed.
        """
        await ensure_topics(self._settings, on_wait=log.info, specs=(ACCOUNT_EVENTS, MARKS, EXECUTIONS, DEAD_LETTERS))
        writer = StatusWriter(self._settings, self.statuses)
        failed = asyncio.Event()
        meter = GatewayMeter(self.statuses, self._market.rest.venue.weights)
        marks = MarksFeed(settings=self._settings, market=self._market, held=self._held)
        work = [
            *(follower.run(failed) for follower in self._followers),
            marks.run(),
            self._tell(writer, marks),
            self._watch(failed),
            share_metrics(self._settings.redis_dsn, "gateway", meter.collect),
        ]
        tasks = [asyncio.create_task(each) for each in work]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            await end(tasks)
            for follower in self._followers:
                if follower.failure is None:
                    follower.status.state = GatewayState.STOPPED
            await writer.close()

    def _held(self) -> Mapping[str, set[str]]:
        """The assets that need a mark, by reporting currency."""
        held: dict[str, set[str]] = {}
        for follower in self._followers:
            held.setdefault(follower.account.reporting, set()).update(follower.assets)
        return held

    async def _watch(self, failed: asyncio.Event) -> None:
        """End when no account is left that can be followed."""
        while True:
            await failed.wait()
            failed.clear()
            failures = [follower.failure for follower in self._followers if follower.failure is not None]
            if len(failures) == len(self._followers):
                raise failures[0]

    async def _tell(self, writer: StatusWriter, marks: MarksFeed) -> None:
        while True:
            for follower in self._followers:
                follower.refresh_status(marks.stale(follower.account.reporting))
            await writer.write()
            await writer.pause()
