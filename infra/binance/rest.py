"""The part of Binance's REST API that only reads: the clock, the catalogue, prices, candles, the account, its trades.

python-binance's client signs and sends; it stays private to this module, so that its methods that place orders cannot
be reached from anywhere in the service.
"""

import asyncio
import logging
import time
import warnings
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
import msgspec

from infra.backoff import backoff_s
from infra.binance.catalogue import Catalogue, decode_exchange_info
from infra.binance.decoder import decode_account, decode_trade
from infra.binance.errors import KEY_ERRORS, MalformedEvent, RequestRefused, key_refused
from infra.binance.times import epoch_us, milliseconds
from portfolio.errors import PortfolioError
from portfolio.events import BalanceReport, Fill

with warnings.catch_warnings():
    # python-binance's own socket, which is not used here, imports a name that websockets has deprecated.
    warnings.simplefilter("ignore", DeprecationWarning)
    from binance.async_client import AsyncClient
    from binance.exceptions import BinanceAPIException, BinanceRequestException

log = logging.getLogger(__name__)

ROWS_MAX = 1_000
"""Rows that one request for trades or candles may return."""

_CLOCK_ERROR = -1021
_UNKNOWN_SYMBOL = -1121
_TOO_MANY_REQUESTS = frozenset({418, 429})
_SERVER_ERRORS_FROM = 500
_WEIGHT_HEADER = "X-MBX-USED-WEIGHT-1M"
_RETRY_AFTER_DEFAULT_S = 10.0
_WEIGHT_PAUSE = 5_000
"""Of the 6,000 that Binance allows in a minute; the rest is for others behind the same address."""

_MINUTE_S = 60
_BACKOFF_FIRST_S = 0.25
_BACKOFF_MAX_S = 30.0
_CLOCK_AGE_MAX_S = 600.0


class PriceRow(msgspec.Struct, frozen=True):
    """The last price of a symbol."""

    symbol: str
    price: str


class Candle(msgspec.Struct, frozen=True, array_like=True):
    """The beginning of a row of `klines`: open time, open, high, low and close price."""

    open_time: int
    open: str
    high: str
    low: str
    close: str


class AccountFlags(msgspec.Struct, frozen=True, rename="camel"):
    """What the exchange says that an account may do, from `account`."""

    can_trade: bool
    can_withdraw: bool
    permissions: tuple[str, ...] = ()


class BinanceRest:
    """Reads an account and the market over REST.

    Every method waits out rate limits (429, 418, with `Retry-After`) and tries again on network and server errors, for
    as long as it takes: a read that is repeated does no harm. What a person must clear is raised.

    Attributes:
        latency_ms: How long the last request took.
        weight_used: The request weight of the running minute, as the exchange counts it.
    """

    def __init__(self, *, rest_url: str, api_key: str, secret_key: str) -> None:
        """Prepare a client; it must be made inside a running event loop, and closed.

        Args:
            rest_url: Base address, such as `https://api.binance.com`.
            api_key: API key of the account.
            secret_key: Its secret (HMAC).
        """

        class Client(AsyncClient):  # type: ignore[misc]  # python-binance carries no types
            API_URL = f"{rest_url.rstrip('/')}/api"

        self.latency_ms = 0.0
        self.weight_used = 0
        self._rest_url = rest_url.rstrip("/")
        self._client: Any = Client(api_key, secret_key, loop=asyncio.get_running_loop(), time_unit="MICROSECOND")
        self._clock_read = -_CLOCK_AGE_MAX_S

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close_connection()

    def exchange_time_us(self) -> int:
        """The exchange's clock as last measured against this machine's."""
        return time.time_ns() // 1_000 + int(self._client.timestamp_offset) * 1_000

    def sign(self, params: dict[str, Any]) -> dict[str, Any]:
        """Add key, timestamp and signature to the parameters of a request over the WebSocket API."""
        client = self._client
        signed: dict[str, Any] = client._sign_ws_params(params, client._generate_ws_api_signature)  # noqa: SLF001 - python-binance signs for other sockets only here
        return signed

    async def measure_clock(self) -> None:
        """Measure how far this machine's clock is from the exchange's."""
        sent_ms = time.time_ns() / 1_000_000
        answer = await self._call("time", self._client.get_server_time)
        received_ms = time.time_ns() / 1_000_000
        try:
            server_ms = milliseconds(epoch_us(int(answer["serverTime"])))
        except (KeyError, TypeError, ValueError) as error:
            raise MalformedEvent(f"time cannot be read: {error!r}") from error
        self._client.timestamp_offset = round(server_ms - (sent_ms + received_ms) / 2)
        self._clock_read = time.monotonic()

    async def catalogue(self) -> Catalogue:
        """All instruments (weight 20)."""
        return decode_exchange_info(await self._call("exchangeInfo", self._client.get_exchange_info))

    async def prices(self) -> dict[str, str]:
        """The last price of every symbol (weight 4)."""
        rows = await self._call("ticker/price", self._client.get_all_tickers)
        return {row.symbol: row.price for row in _converted(rows, list[PriceRow], "ticker/price")}

    async def account(self) -> BalanceReport:
        """All balances, at the time of the account's last update (weight 20)."""
        await self._keep_clock()
        return decode_account(await self._call("account", self._client.get_account, omitZeroBalances="true"))

    async def account_flags(self) -> AccountFlags:
        """What the account may do (weight 20)."""
        await self._keep_clock()
        answer = await self._call("account", self._client.get_account, omitZeroBalances="true")
        try:
            return msgspec.convert(answer, AccountFlags)
        except msgspec.ValidationError as error:
            raise MalformedEvent(f"account cannot be read: {error}") from error

    async def trades(self, symbol: str, from_id: int, catalogue: Catalogue) -> list[Fill]:
        """Up to 1,000 trades of a symbol from an id on, in order of their id (weight 20)."""
        await self._keep_clock()
        try:
            rows = await self._call(
                "myTrades", self._client.get_my_trades, symbol=symbol, fromId=str(from_id), limit=str(ROWS_MAX)
            )
        except RequestRefused as error:
            if error.code != _UNKNOWN_SYMBOL:
                raise
            log.warning("%s is listed, but its trades cannot be asked for: %s", symbol, error)
            return []
        if not isinstance(rows, list):
            raise MalformedEvent("myTrades is no list")
        return [decode_trade(row, catalogue) for row in rows]

    async def read(self, path: str, **params: str) -> Any:  # noqa: ANN401 - whatever JSON the exchange answers
        """Read a signed path that has no method of its own here, such as `sapi/v1/asset/dribblet`; always by GET.

        Raises:
            RequestRefused: The exchange does not have it (a testnet has no `/sapi`), or refuses the parameters.
        """
        await self._keep_clock()

        async def request(**data: str) -> Any:  # noqa: ANN401 - as above
            # The client signs the dictionary that it is given, so each attempt needs one of its own.
            return await self._client._request("get", f"{self._rest_url}/{path}", signed=True, data=data)  # noqa: SLF001 - the only way to a path by its name

        return await self._call(path, request, **params)

    async def candles(self, symbol: str, interval: str, **when_ms: int) -> list[Candle]:
        """Up to 1,000 candles (weight 2); `startTime` and `endTime` in epoch milliseconds."""
        limit = when_ms.pop("limit", ROWS_MAX)
        rows = await self._call(
            "klines", self._client.get_klines, symbol=symbol, interval=interval, limit=limit, **when_ms
        )
        try:
            return [msgspec.convert(row[:5], Candle) for row in rows]
        except (msgspec.ValidationError, TypeError) as error:
            raise MalformedEvent(f"klines cannot be read: {error}") from error

    async def _keep_clock(self) -> None:
        if time.monotonic() - self._clock_read > _CLOCK_AGE_MAX_S:
            await self.measure_clock()

    async def _call(self, name: str, method: Callable[..., Awaitable[Any]], **params: object) -> Any:  # noqa: ANN401 - whatever JSON the exchange answers
        attempt = 0
        while True:
            await self._keep_budget()
            started = time.monotonic()
            try:
                answer = await method(**params)
            except BinanceAPIException as error:
                wait_s = await self._wait_after(name, error, attempt)
            except (aiohttp.ClientError, BinanceRequestException, TimeoutError, OSError) as error:
                wait_s = backoff_s(attempt, first_s=_BACKOFF_FIRST_S, longest_s=_BACKOFF_MAX_S)
                log.warning("%s: %r; next attempt in %.1f s", name, error, wait_s)
            else:
                self._note(name, started)
                return answer
            attempt += 1
            await asyncio.sleep(wait_s)

    async def _wait_after(self, name: str, error: BinanceAPIException, attempt: int) -> float:
        """How long to wait before asking again.

        Raises:
            KeyRefused: The key is at fault.
            RequestRefused: The request is at fault; asking again would not help.
        """
        if error.code in KEY_ERRORS:
            raise key_refused(error.code, error.message) from None
        if error.status_code in _TOO_MANY_REQUESTS:
            wait_s = _retry_after_s(error.response.headers.get("Retry-After"))
            log.warning("%s: rate limited (%s); waiting %.1f s as asked", name, error.status_code, wait_s)
            return wait_s
        if error.code == _CLOCK_ERROR and name != "time":
            await self.measure_clock()
            return backoff_s(attempt, first_s=_BACKOFF_FIRST_S, longest_s=_BACKOFF_MAX_S)
        if error.status_code >= _SERVER_ERRORS_FROM:
            wait_s = backoff_s(attempt, first_s=_BACKOFF_FIRST_S, longest_s=_BACKOFF_MAX_S)
            log.warning("%s: %s; next attempt in %.1f s", name, error, wait_s)
            return wait_s
        raise RequestRefused(name, error.code, error.message) from error

    async def _keep_budget(self) -> None:
        """Wait for the next minute of the exchange's clock when most of this one's weight is used."""
        if self.weight_used < _WEIGHT_PAUSE:
            return
        wait_s = _MINUTE_S - self.exchange_time_us() / 1_000_000 % _MINUTE_S
        log.info("request weight %d is used in this minute; waiting %.0f s", self.weight_used, wait_s)
        self.weight_used = 0
        await asyncio.sleep(wait_s)

    def _note(self, name: str, started: float) -> None:
        self.latency_ms = (time.monotonic() - started) * 1_000
        response = self._client.response
        weight = response.headers.get(_WEIGHT_HEADER, "") if response is not None else ""
        if weight.isdigit():
            self.weight_used = int(weight)
        log.debug("%s: %.1f ms, weight used %d", name, self.latency_ms, self.weight_used)


def _converted(rows: object, row_type: type[list[PriceRow]], name: str) -> list[PriceRow]:
    try:
        return msgspec.convert(rows, row_type)
    except (msgspec.ValidationError, PortfolioError) as error:
        raise MalformedEvent(f"{name} cannot be read: {error}") from error


def _retry_after_s(header: str | None) -> float:
    return float(header) if header is not None and header.isdigit() else _RETRY_AFTER_DEFAULT_S
