"""The listed symbols and their filters, from `data/exchangeInfo.json`."""

import json
from collections.abc import Iterable, Mapping
from decimal import Decimal
from importlib import resources
from typing import Any, NamedTuple

from infra.exchange.decimals import ZERO
from infra.exchange.errors import ExchangeError, Refusal
from infra.exchange.records import OrderType, Side


class SymbolRules(NamedTuple):
    """What an order on a symbol must satisfy. Prices and notionals are in the quote asset."""

    symbol: str
    base: str
    quote: str
    minimum_price: Decimal
    maximum_price: Decimal
    tick: Decimal
    minimum_quantity: Decimal
    maximum_quantity: Decimal
    step: Decimal
    maximum_market_quantity: Decimal
    minimum_notional: Decimal
    maximum_notional: Decimal
    maximum_open_orders: int
    price_band: Mapping[Side, tuple[Decimal, Decimal]]

    def check_price(self, price: Decimal, side: Side, last_price: Decimal) -> None:
        """Refuse a limit price by PRICE_FILTER or PERCENT_PRICE_BY_SIDE.

        The exchange's own average of five minutes is here the last price.
        """
        if not self.minimum_price <= price <= self.maximum_price or price % self.tick:
            raise ExchangeError(Refusal.FILTER, "PRICE_FILTER")
        lowest, highest = self.price_band[side]
        if not last_price * lowest <= price <= last_price * highest:
            raise ExchangeError(Refusal.FILTER, "PERCENT_PRICE_BY_SIDE")

    def check_quantity(self, quantity: Decimal, order_type: OrderType) -> None:
        """Refuse a quantity by LOT_SIZE or MARKET_LOT_SIZE."""
        if not self.minimum_quantity <= quantity <= self.maximum_quantity or quantity % self.step:
            raise ExchangeError(Refusal.FILTER, "LOT_SIZE")
        if order_type is OrderType.MARKET and quantity > self.maximum_market_quantity:
            raise ExchangeError(Refusal.FILTER, "MARKET_LOT_SIZE")

    def check_notional(self, notional: Decimal, order_type: OrderType) -> None:
        """Refuse price x quantity by NOTIONAL; its upper bound does not apply to market orders."""
        too_much = order_type is not OrderType.MARKET and notional > self.maximum_notional
        if notional < self.minimum_notional or too_much:
            raise ExchangeError(Refusal.FILTER, "NOTIONAL")


class Listing:
    """All symbols of the exchange, as `exchangeInfo` shows them and as rules.

    Args:
        more: Entries of `exchangeInfo`, for symbols besides the recorded ones.
    """

    def __init__(self, more: Iterable[dict[str, Any]] = ()) -> None:
        text = resources.files("infra.exchange").joinpath("data/exchangeInfo.json").read_text("utf-8")
        self.exchange_info: dict[str, Any] = json.loads(text)
        self.exchange_info["symbols"].extend(more)
        self.rules = {entry["symbol"]: symbol_rules(entry) for entry in self.exchange_info["symbols"]}
        self.assets = sorted({asset for rules in self.rules.values() for asset in (rules.base, rules.quote)})
        self.weight_limit: int = next(
            limit["limit"] for limit in self.exchange_info["rateLimits"] if limit["rateLimitType"] == "REQUEST_WEIGHT"
        )

    def __getitem__(self, symbol: str) -> SymbolRules:
        """The rules of a symbol; an unknown one is refused with -1121."""
        try:
            return self.rules[symbol]
        except KeyError:
            raise ExchangeError(Refusal.BAD_SYMBOL) from None


def symbol_rules(entry: dict[str, Any]) -> SymbolRules:
    """Read the rules of a symbol from its entry in an `exchangeInfo` response."""
    filters = {each["filterType"]: each for each in entry["filters"]}
    price, lot, notional = filters["PRICE_FILTER"], filters["LOT_SIZE"], filters["NOTIONAL"]
    band = filters["PERCENT_PRICE_BY_SIDE"]
    return SymbolRules(
        symbol=entry["symbol"],
        base=entry["baseAsset"],
        quote=entry["quoteAsset"],
        minimum_price=Decimal(price["minPrice"]),
        maximum_price=Decimal(price["maxPrice"]),
        tick=Decimal(price["tickSize"]).normalize(),
        minimum_quantity=max(Decimal(lot["minQty"]), ZERO),
        maximum_quantity=Decimal(lot["maxQty"]),
        step=Decimal(lot["stepSize"]).normalize(),
        maximum_market_quantity=Decimal(filters["MARKET_LOT_SIZE"]["maxQty"]),
        minimum_notional=Decimal(notional["minNotional"]),
        maximum_notional=Decimal(notional["maxNotional"]),
        maximum_open_orders=int(filters["MAX_NUM_ORDERS"]["maxNumOrders"]),
        price_band={
            Side.BUY: (Decimal(band["bidMultiplierDown"]), Decimal(band["bidMultiplierUp"])),
            Side.SELL: (Decimal(band["askMultiplierDown"]), Decimal(band["askMultiplierUp"])),
        },
    )
