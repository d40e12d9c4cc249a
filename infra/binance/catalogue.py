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


class Catalogue:
    """All instruments of the exchange, by symbol."""

    def __init__(self, instruments: Mapping[str, Instrument]) -> None:
        self._instruments = dict(instruments)

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
    return Catalogue({row.symbol: row for row in rows})


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
