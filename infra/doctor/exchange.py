"""The checks of the exchange: reachable, clock, market streams, request weight; of each account its key. Read-only."""

import asyncio
import time
from typing import Final

import httpx
import msgspec

from infra.binance.errors import MalformedEvent, RequestRefused, StreamLost
from infra.binance.keys import SigningKey
from infra.binance.market_stream import open_market_stream
from infra.binance.permissions import read_rights
from infra.binance.rest import BinanceRest
from infra.binance.user_stream import open_user_stream
from infra.binance.venue import Venue
from infra.doctor.findings import (
    Finding,
    Verdict,
    judge_clock,
    judge_latency,
    judge_rights,
    judge_weight,
)
from infra.errors import RemediableError
from infra.portfolio_file import AccountConfig, load_accounts
from infra.settings import Settings

_TIMEOUT_S: Final = 5.0
_ANY_SYMBOL: Final = "BTCUSDT"
_REFUSALS: Final = {
    403: "Its firewall refuses this address; wait, and send fewer requests",
    418: "This address is banned for sending too much; wait as long as it says",
    429: "Too many requests came from this address; wait as long as it says",
    451: "It does not serve this location; run the service where it does",
}


async def check_exchange(settings: Settings) -> list[Finding]:
    """Check what the gateway needs of the exchange; when it does not answer, that is the one finding.

    Raises:
        RemediableError: portfolio.toml cannot be read.
    """
    accounts = [account for account in load_accounts(settings) if account.source == "binance"]
    reached = await _ping(settings)
    if reached.verdict is Verdict.FAIL:
        return [reached]
    venue = Venue()
    public = BinanceRest(rest_url=settings.binance_rest_url, api_key="", secret_key="", venue=venue)
    try:
        clock = await _clock(public)
        checked = await asyncio.gather(
            _market_stream(settings, venue), *(_account(settings, account, venue) for account in accounts)
        )
    finally:
        await public.close()
    named = [
        msgspec.structs.replace(finding, check=f"{finding.check} of {account.name}") if len(accounts) > 1 else finding
        for account, findings in zip(accounts, checked[1:], strict=True)
        for finding in findings
    ]
    return [reached, clock, *checked[0], *named, judge_weight(venue.weights.used)]


async def _ping(settings: Settings) -> Finding:
    address = settings.binance_rest_url
    try:
        async with httpx.AsyncClient(timeout=_TIMEOUT_S) as client:
            # The first request pays for the connection.
            await client.get(f"{address.rstrip('/')}/api/v3/ping")
            started = time.monotonic()
            answer = await client.get(f"{address.rstrip('/')}/api/v3/ping")
            latency_ms = (time.monotonic() - started) * 1_000
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        seen = f"{address} does not answer ({str(error) or type(error).__name__})"
        return Finding("binance", Verdict.FAIL, seen, "Look at the network, a proxy, and BINANCE_REST_URL")
    if not answer.is_success:
        reason = _REFUSALS.get(answer.status_code, "Try again later; when it lasts, see the exchange's status page")
        return Finding("binance", Verdict.FAIL, f"{address} answers with {answer.status_code}", reason)
    return judge_latency(address, latency_ms)


async def _clock(rest: BinanceRest) -> Finding:
    try:
        async with asyncio.timeout(_TIMEOUT_S):
            await rest.measure_clock()
    except (TimeoutError, MalformedEvent, RequestRefused, RemediableError) as error:
        seen = f"the exchange's time cannot be read ({str(error) or type(error).__name__})"
        return Finding("clock", Verdict.FAIL, seen, "Try again; see whether BINANCE_REST_URL is Binance's REST API")
    return judge_clock(round((rest.exchange_time_us() - time.time_ns() // 1_000) / 1_000))


async def _account(settings: Settings, account: AccountConfig, venue: Venue) -> list[Finding]:
    """Check the key of an account, what it may do, and that user data come."""
    if account.api_key is None or account.secret_key is None:
        missing = "BINANCE_API_KEY" if account.api_key is None else "BINANCE_SECRET_KEY"
        remedy = "Set BINANCE_API_KEY and BINANCE_SECRET_KEY of a key that may only read, to follow an account"
        return [Finding("key", Verdict.WARN, f"{missing} is not set", remedy)]
    passphrase = settings.binance_key_passphrase
    try:
        key = account.credentials()
        rest = BinanceRest(
            rest_url=settings.binance_rest_url,
            api_key=key.key.get_secret_value(),
            secret_key=key.secret.get_secret_value(),
            passphrase="" if passphrase is None else passphrase.get_secret_value(),
            venue=venue,
        )
    except RemediableError as error:
        return [Finding("key", Verdict.FAIL, error.message, error.remedy)]
    try:
        rights = await _rights(settings, rest)
        if rest.key is None or rights[0].verdict is not Verdict.OK:
            return rights
        return [*rights, await _user_data(settings, rest.key, venue)]
    finally:
        await rest.close()


async def _rights(settings: Settings, rest: BinanceRest) -> list[Finding]:
    try:
        async with asyncio.timeout(_TIMEOUT_S):
            await rest.account()
            rights = await read_rights(rest)
    except RemediableError as error:
        return [Finding("key", Verdict.FAIL, error.message, error.remedy)]
    except (TimeoutError, MalformedEvent, RequestRefused) as error:
        seen = f"the account cannot be read ({_reason(error, rest.venue)})"
        return [Finding("key", Verdict.FAIL, seen, "Try again; a request that is refused names its reason")]
    kind = "" if rest.key is None else f" ({rest.key.kind})"
    return [Finding("key", Verdict.OK, f"set{kind}, and accepted"), judge_rights(rights, settings.key_permissions)]


async def _user_data(settings: Settings, key: SigningKey, venue: Venue) -> Finding:
    """Subscribe to the user data, and leave again."""
    try:
        async with asyncio.timeout(_TIMEOUT_S), open_user_stream(settings.binance_ws_api_url, key, venue):
            return Finding("user data", Verdict.OK, f"{settings.binance_ws_api_url} takes the subscription")
    except (TimeoutError, StreamLost, RemediableError) as error:
        seen = f"{settings.binance_ws_api_url} does not take the subscription ({_reason(error, venue)})"
        return Finding("user data", Verdict.FAIL, seen, "Look at the network, a proxy, and BINANCE_WS_API_URL")


async def _market_stream(settings: Settings, venue: Venue) -> list[Finding]:
    try:
        async with (
            asyncio.timeout(_TIMEOUT_S),
            open_market_stream(settings.binance_stream_url, [_ANY_SYMBOL], venue),
        ):
            return [Finding("market streams", Verdict.OK, f"{settings.binance_stream_url} answers")]
    except (TimeoutError, StreamLost) as error:
        seen = f"{settings.binance_stream_url} does not answer ({_reason(error, venue)})"
        remedy = "Look at the network, a proxy, and BINANCE_STREAM_URL; until then prices are polled every half minute"
        return [Finding("market streams", Verdict.FAIL, seen, remedy)]


def _reason(error: Exception, venue: Venue) -> str:
    if venue.weights.blocked_s > 0:
        return f"this address sent too much, and is refused for {venue.weights.blocked_s:.0f} s more"
    return str(error) or type(error).__name__
