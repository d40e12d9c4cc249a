"""The instruments of the exchange, from `exchangeInfo`."""

from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any

import msgspec

from infra.binance.errors import MalformedEvent, UnknownSymbol
from portfolio.errors import InvalidAmount
from portfolio.money import ZERO, amount, ratio


class Instrument(msgspec.Struct, frozen=True, kw_only=True):
    """A symbol: what it trades, and in what steps."""

    symbol: str
    base: str
    quote: str
    is_trading: bool = True
    lot_step: Decimal = ZERO
    """Smallest step of a quantity (filter `LOT_SIZE`), in the base asset."""
    minimum_notional: Decimal = ZERO
    """Smallest value of an order (filter `NOTIONAL` or `MIN_NOTIONAL`), in the quote asset."""

    def dust_limit(self, price: Decimal) -> Decimal:
        """The quantity of the base asset below which it cannot be sold at this price.

        The larger of the lot step and the minimum notional divided by the price.
        """
        return max(self.lot_step, ratio(self.minimum_notional, price)) if price > ZERO else self.lot_step


class _RateLimit(msgspec.Struct, rename="camel"):
    rate_limit_type: str
    interval: str
    interval_num: int
    limit: int

    @property
    def a_minute(self) -> int:
        seconds = _INTERVALS_S.get(self.interval, 0) * self.interval_num
        return self.limit * _MINUTE_S // seconds if seconds else 0


_MINUTE_S = 60
_INTERVALS_S = {"SECOND": 1, "MINUTE": 60, "HOUR": 3_600, "DAY": 86_400}


class Catalogue:
    """All instruments of the exchange, by symbol.

    Attributes:
        weight_limit: The request weight that an address may use in a minute; None where it was not told.
        version: Grows with every change.
    """

    def __init__(self, instruments: Mapping[str, Instrument], weight_limit: int | None = None) -> None:
        self._instruments = dict(instruments)
        self.weight_limit = weight_limit
        self.version = 0

    def __iter__(self) -> Iterator[Instrument]:
        return iter(self._instruments.values())

    def __len__(self) -> int:
        return len(self._instruments)

    def instrument(self, symbol: str) -> Instrument:
        """The instrument of a symbol.

        Raises:
            UnknownSymbol: It is not listed.
        """
        try:
            return self._instruments[symbol]
        except KeyError:
            raise UnknownSymbol(symbol) from None

    def follow(self, newer: "Catalogue") -> None:
        """Become what was read later; an instrument that it does not list any more is kept as one that does not trade.

        So an asset whose last market was delisted keeps the path to its last price.
        """
        gone = {
            symbol: msgspec.structs.replace(instrument, is_trading=False)
            for symbol, instrument in self._instruments.items()
            if symbol not in newer._instruments  # noqa: SLF001 - of its own kind
        }
        instruments = {**newer._instruments, **gone}  # noqa: SLF001
        if instruments != self._instruments:
            self._instruments = instruments
            self.version += 1
        self.weight_limit = newer.weight_limit

    def lists_asset(self, asset: str) -> bool:
        """Whether any symbol trades the asset."""
        return any(asset in (instrument.base, instrument.quote) for instrument in self)


def decode_exchange_info(answer: Mapping[str, Any]) -> Catalogue:
    """Read the catalogue from the answer of `GET /api/v3/exchangeInfo`.

    Raises:
        MalformedEvent: It is not such an answer.
    """
    try:
        rows = [_decode_symbol(row) for row in answer["symbols"]]
    except (KeyError, TypeError, AttributeError, InvalidAmount) as error:
        raise MalformedEvent(f"exchangeInfo cannot be read: {error!r}") from error
    return Catalogue({row.symbol: row for row in rows}, _decode_weight_limit(answer.get("rateLimits")))


def _decode_symbol(row: Mapping[str, Any]) -> Instrument:
    filters = {entry["filterType"]: entry for entry in row.get("filters", ())}
    notional = filters.get("NOTIONAL") or filters.get("MIN_NOTIONAL") or {}
    return Instrument(
        symbol=row["symbol"],
        base=row["baseAsset"],
        quote=row["quoteAsset"],
        is_trading=row.get("status", "TRADING") == "TRADING",
        lot_step=amount(filters.get("LOT_SIZE", {}).get("stepSize", "0")),
        minimum_notional=amount(notional.get("minNotional", "0")),
    )


def _decode_weight_limit(limits: object) -> int | None:
    """The smallest weight a minute that is named; the limit of raw requests cannot be reached before it."""
    try:
        known = msgspec.convert(limits, list[_RateLimit])
    except msgspec.ValidationError:
        return None
    weights = [each.a_minute for each in known if each.rate_limit_type == "REQUEST_WEIGHT" and each.a_minute > 0]
    return min(weights, default=None)
