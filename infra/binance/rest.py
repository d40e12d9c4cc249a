"""What is read of Binance over REST: the clock, the catalogue, prices, candles, the account, its trades, its key."""

import logging
from typing import Any, TypeVar

import msgspec

from infra.binance.account_rows import decode_account, decode_trade
from infra.binance.budget import Priority
from infra.binance.catalogue import Catalogue, decode_exchange_info
from infra.binance.errors import MalformedEvent, RequestRefused
from infra.binance.keys import SigningKey
from infra.binance.transport import Transport
from infra.binance.venue import Venue
from portfolio.errors import PortfolioError
from portfolio.events import BalanceReport, Fill

log = logging.getLogger(__name__)

ROWS_MAX = 1_000
"""Rows that one request for trades or candles may return."""

_UNKNOWN_SYMBOL = -1121


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


class KeyRestrictions(msgspec.Struct, frozen=True, rename="camel"):
    """What the exchange lets an API key do, from `/sapi/v1/account/apiRestrictions`."""

    enable_reading: bool = True
    enable_spot_and_margin_trading: bool = False
    enable_withdrawals: bool = False
    enable_internal_transfer: bool = False
    permits_universal_transfer: bool = False
    enable_margin: bool = False
    enable_futures: bool = False
    enable_vanilla_options: bool = False
    enable_portfolio_margin_trading: bool = False
    enable_fix_api_trade: bool = False
    ip_restrict: bool = False


class BinanceRest:
    """Reads an account and the market over REST.

    Every method waits until its request may be sent, waits out rate limits, and tries again on network and server
    errors, for as long as it takes. What a person must clear is raised.

    Attributes:
        venue: The clock and the budgets, shared with other clients of the exchange.
        key: What signs; None where only what is public is read.
    """

    def __init__(
        self, *, rest_url: str, api_key: str, secret_key: str, passphrase: str = "", venue: Venue | None = None
    ) -> None:
        """Prepare a client; it must be made inside a running event loop, and closed.

        Args:
            rest_url: Base address, such as `https://api.binance.com`.
            api_key: API key of the account; empty: only what is public is read.
            secret_key: Its HMAC secret, or its RSA or Ed25519 private key as PEM or the name of a `.pem` file.
            passphrase: Of the private key, where it has one.
            venue: What is shared with other clients of the exchange; none: nothing is.

        Raises:
            RemediableError: The secret is no key.
        """
        self.venue = venue or Venue()
        self.key = SigningKey(api_key, secret_key, passphrase) if api_key and secret_key else None
        self._transport = Transport(rest_url, self.key, self.venue)

    async def close(self) -> None:
        """Close the connections."""
        await self._transport.close()

    @property
    def latency_ms(self) -> float:
        """How long the last request took."""
        return self._transport.latency_ms

    @property
    def weight_used(self) -> int:
        """The request weight of the running minute, as the exchange counts it."""
        return self.venue.weights.used

    def exchange_time_us(self) -> int:
        """The exchange's clock as last measured against this machine's."""
        return self.venue.clock.now_us()

    async def measure_clock(self) -> None:
        """Measure how far this machine's clock is from the exchange's (weight 1)."""
        await self._transport.measure_clock()

    async def catalogue(self) -> Catalogue:
        """All instruments (weight 20); the limits that come with them are obeyed from now on."""
        answer = await self._transport.get("api/v3/exchangeInfo", {"showPermissionSets": "false"})
        catalogue = decode_exchange_info(answer)
        if catalogue.weight_limit is not None:
            self.venue.weights.set_limit(catalogue.weight_limit)
        return catalogue

    async def prices(self) -> dict[str, str]:
        """The last price of every symbol (weight 4)."""
        rows = await self._transport.get("api/v3/ticker/price")
        return {row.symbol: row.price for row in _converted(rows, list[PriceRow], "ticker/price")}

    async def account(self) -> BalanceReport:
        """All balances, at the time of the account's last update (weight 20)."""
        return decode_account(await self._account())

    async def account_flags(self) -> AccountFlags:
        """What the account may do (weight 20)."""
        return _converted(await self._account(), AccountFlags, "account")

    async def key_restrictions(self) -> KeyRestrictions:
        """What the key may do.

        Raises:
            RequestRefused: The exchange does not tell; the testnet has no `/sapi`.
        """
        answer = await self.read("sapi/v1/account/apiRestrictions")
        return _converted(answer, KeyRestrictions, "account/apiRestrictions")

    async def read(self, path: str, **params: str) -> Any:  # noqa: ANN401 - whatever JSON the exchange answers
        """Read a signed path that has no method of its own here, such as `sapi/v1/asset/dribblet`; always by GET.

        Raises:
            KeyError: Its weight is not known (`infra.binance.weights`).
            RequestRefused: The exchange does not have it (a testnet has no `/sapi`), or refuses the parameters, or,
                under `/sapi`, the key may not ask it.
        """
        return await self._transport.get(path, params, is_signed=True)

    async def trades(
        self, symbol: str, from_id: int, catalogue: Catalogue, priority: Priority = Priority.BACKFILL
    ) -> list[Fill]:
        """Up to 1,000 trades of a symbol from an id on, in order of their id (weight 20)."""
        params = {"symbol": symbol, "fromId": str(from_id), "limit": str(ROWS_MAX)}
        try:
            rows = await self._transport.get("api/v3/myTrades", params, is_signed=True, priority=priority)
        except RequestRefused as error:
            if error.code != _UNKNOWN_SYMBOL:
                raise
            log.warning("%s is listed, but its trades cannot be asked for: %s", symbol, error)
            return []
        if not isinstance(rows, list):
            raise MalformedEvent("myTrades is no list")
        return [decode_trade(row, catalogue) for row in rows]

    async def candles(self, symbol: str, interval: str, *, limit: int = ROWS_MAX, **when_ms: int) -> list[Candle]:
        """Up to 1,000 candles (weight 2); `startTime` and `endTime` in epoch milliseconds."""
        params = {"symbol": symbol, "interval": interval, "limit": str(limit)}
        params |= {name: str(time_ms) for name, time_ms in when_ms.items()}
        rows = await self._transport.get("api/v3/klines", params, priority=Priority.BACKFILL)
        try:
            return [msgspec.convert(row[:5], Candle) for row in rows]
        except (msgspec.ValidationError, TypeError) as error:
            raise MalformedEvent(f"klines cannot be read: {error}") from error

    async def _account(self) -> Any:  # noqa: ANN401 - whatever JSON the exchange answers
        return await self._transport.get("api/v3/account", {"omitZeroBalances": "true"}, is_signed=True)


_Converted = TypeVar("_Converted")


def _converted(answer: object, expected: type[_Converted], name: str) -> _Converted:
    try:
        return msgspec.convert(answer, expected)
    except (msgspec.ValidationError, PortfolioError) as error:
        raise MalformedEvent(f"{name} cannot be read: {error}") from error
