"""What the topics do not tell: how the gateway fares, and what the exchange answers when asked for prices.

Both may be away. The rules that look at them then see nothing new, and all others go on.
"""

import asyncio
import logging
from collections.abc import Mapping
from decimal import Decimal
from functools import partial
from typing import Final

import httpx
import msgspec

from infra.backoff import backoff_s
from infra.errors import RemediableError
from infra.portfolio_file import load_accounts
from infra.redis.client import RedisAway, RedisClient
from infra.settings import Settings
from portfolio.errors import InvalidAmount
from portfolio.money import amount
from streams.alerts.watch import Watch
from streams.gateway.status import status_key

log = logging.getLogger(__name__)

_STATUS_INTERVAL_S: Final = 2.0
_PRICES_INTERVAL_S: Final = 60.0
_BACKOFF_MAX_S: Final = 600.0
_TIMEOUT_S: Final = 10.0


class _Price(msgspec.Struct):
    symbol: str
    price: str


async def follow_gateways(settings: Settings, watch: Watch) -> None:
    """Look at the gateway's heartbeat of each account, until cancelled.

    Also of those that no topic tells of yet: an account whose first key is refused has no books.
    """
    redis = RedisClient(settings.redis_dsn)
    try:
        while True:
            for account in {*watch.accounts, *await asyncio.to_thread(_configured, settings)}:
                try:
                    fields = await redis.fields(status_key(account))
                except RedisAway:
                    break
                errors, heartbeat_us = fields.get("sync_errors", ""), fields.get("heartbeat_time_us", "")
                if errors.isdecimal() and heartbeat_us.isdecimal():
                    watch.see_gateway(
                        account,
                        sync_errors=int(errors),
                        time_us=int(heartbeat_us),
                        state=fields.get("state", ""),
                        problem=fields.get("problem", ""),
                    )
            await asyncio.sleep(_STATUS_INTERVAL_S)
    finally:
        await redis.close()


def _configured(settings: Settings) -> list[str]:
    try:
        return [account.name for account in load_accounts(settings)]
    except RemediableError:
        # The file is being changed; the accounts that were heard of are looked at meanwhile.
        return []


async def follow_prices(settings: Settings, watch: Watch) -> None:
    """Ask the exchange for its prices now and then, until cancelled: a second source beside its stream."""
    url = f"{settings.binance_rest_url.rstrip('/')}/api/v3/ticker/price"
    attempt = 0
    async with httpx.AsyncClient(timeout=_TIMEOUT_S) as client:
        while True:
            try:
                answer = await client.get(url)
                rows = msgspec.json.decode(answer.raise_for_status().content, type=list[_Price])
            except (httpx.HTTPError, msgspec.DecodeError) as error:
                log.debug("prices cannot be compared: %r", error)
                # A client that goes on asking after a 429 is banned.
                wait_s = backoff_s(attempt, first_s=_PRICES_INTERVAL_S, longest_s=_BACKOFF_MAX_S)
                attempt += 1
            else:
                prices = {row.symbol: row.price for row in rows}
                watch.see_prices(partial(prices_in, prices))
                wait_s, attempt = _PRICES_INTERVAL_S, 0
            await asyncio.sleep(wait_s)


def prices_in(prices: Mapping[str, str], reporting: str) -> dict[str, Decimal]:
    """The prices of the assets that trade against the reporting currency; what is no price is left out."""
    found: dict[str, Decimal] = {}
    for symbol, price in prices.items():
        asset = symbol.removesuffix(reporting)
        if asset and asset != symbol:
            try:
                found[asset] = amount(price)
            except InvalidAmount:
                continue
    return found
