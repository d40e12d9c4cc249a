"""The checks of the exchange: reachable, clock, key, permissions, request weight. They only read."""

import asyncio
import time
from typing import Final

import httpx

from infra.binance.errors import MalformedEvent, RequestRefused
from infra.binance.rest import BinanceRest
from infra.doctor.findings import (
    Finding,
    Verdict,
    judge_clock,
    judge_flags,
    judge_latency,
    judge_weight,
)
from infra.errors import RemediableError
from infra.settings import Settings

_TIMEOUT_S: Final = 5.0
_REFUSALS: Final = {
    403: "Its firewall refuses this address; wait, and send fewer requests",
    418: "This address is banned for sending too much; wait as long as it says",
    429: "Too many requests came from this address; wait as long as it says",
    451: "It does not serve this location; run the service where it does",
}


async def check_exchange(settings: Settings) -> list[Finding]:
    """Check what the gateway needs of the exchange; when it does not answer, that is the one finding."""
    reached = await _ping(settings)
    if reached.verdict is Verdict.FAIL:
        return [reached]
    key, secret = settings.binance_api_key, settings.binance_secret_key
    rest = BinanceRest(
        rest_url=settings.binance_rest_url,
        api_key="" if key is None else key.get_secret_value(),
        secret_key="" if secret is None else secret.get_secret_value(),
    )
    try:
        return [reached, await _clock(rest), *await _key(settings, rest), judge_weight(rest.weight_used)]
    finally:
        await rest.close()


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


async def _key(settings: Settings, rest: BinanceRest) -> list[Finding]:
    if not settings.follows_real_binance:
        missing = "BINANCE_API_KEY" if settings.binance_api_key is None else "BINANCE_SECRET_KEY"
        remedy = "Set BINANCE_API_KEY and BINANCE_SECRET_KEY of a key that may only read, to follow an account"
        return [Finding("key", Verdict.WARN, f"{missing} is not set", remedy)]
    try:
        async with asyncio.timeout(_TIMEOUT_S):
            flags = await rest.account_flags()
    except RemediableError as error:
        return [Finding("key", Verdict.FAIL, error.message, error.remedy)]
    except (TimeoutError, MalformedEvent, RequestRefused) as error:
        seen = f"the account cannot be read ({str(error) or type(error).__name__})"
        return [Finding("key", Verdict.FAIL, seen, "Try again; a request that is refused names its reason")]
    return [Finding("key", Verdict.OK, "set, and accepted"), judge_flags(flags)]
