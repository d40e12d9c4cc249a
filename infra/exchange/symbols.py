"""The listed symbols and their filters, from `data/exchangeInfo.json`."""

import json
from collections.abc import Iterable, Mapping
from decimal import Decimal
from importlib import resources
from typing import Any, NamedTuple

from infra.exchange.decimals import ZERO
from infra.exchange.errors import ExchangeError, Refusal
from infra.exchange.records import OrderType, PreventionMode, Side

_INTERCHANGEABLE = ("USDT", "USDC", "FDUSD")


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
    maximum_contingent_orders: int
    default_prevention: PreventionMode
    prevention_modes: frozenset[PreventionMode]
    price_band: Mapping[Side, tuple[Decimal, Decimal]]

    def check_price(self, price: Decimal, side: Side, last_price: Decimal) -> None:
        """Refuse a limit price by PRICE_FILTER or PERCENT_PRICE_BY_SIDE.

        The exchange's own average of five minutes is here the last price.
        """
        self.check_tick(price)
        lowest, highest = self.price_band[side]
        if not last_price * lowest <= price <= last_price * highest:
            raise ExchangeError(Refusal.FILTER, "PERCENT_PRICE_BY_SIDE")

    def check_tick(self, price: Decimal) -> None:
        """Refuse a limit or stop price by PRICE_FILTER."""
        if not self.minimum_price <= price <= self.maximum_price or price % self.tick:
            raise ExchangeError(Refusal.FILTER, "PRICE_FILTER")

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

    Attributes:
        exchange_info: What `exchangeInfo` says besides the symbols.
        entries: What it says of each symbol.
        rules: What an order on each must satisfy.
        assets: Every asset of a symbol.
    """

    def __init__(self, more: Iterable[dict[str, Any]] = ()) -> None:
        text = resources.files("infra.exchange").joinpath("data/exchangeInfo.json").read_text("utf-8")
        self.exchange_info: dict[str, Any] = json.loads(text)
        self.entries: dict[str, dict[str, Any]] = {}
        self.rules: dict[str, SymbolRules] = {}
        self.assets: list[str] = []
        self.add([*self.exchange_info.pop("symbols"), *more])
        (self.weight_limit,) = self.limits("REQUEST_WEIGHT").values()

    def add(self, entries: Iterable[dict[str, Any]]) -> None:
        """List more symbols."""
        for entry in entries:
            self.entries[entry["symbol"]] = entry
            self.rules[entry["symbol"]] = symbol_rules(entry)
        self.assets = sorted({asset for rules in self.rules.values() for asset in (rules.base, rules.quote)})

    def limits(self, kind: str) -> dict[tuple[str, int], int]:
        """The limits of a `rateLimitType`, by interval and its number."""
        return {
            (each["interval"], each["intervalNum"]): each["limit"]
            for each in self.exchange_info["rateLimits"]
            if each["rateLimitType"] == kind
        }

    def sor_symbols(self, symbol: str) -> list[str]:
        """The symbols whose books an order on one may take from: same base asset, interchangeable quote assets.

        Only the symbol itself when there is no other one.
        """
        wanted = self[symbol]
        if wanted.quote not in _INTERCHANGEABLE:
            return [symbol]
        return [
            rules.symbol
            for rules in self.rules.values()
            if rules.base == wanted.base and rules.quote in _INTERCHANGEABLE
        ]

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
        maximum_contingent_orders=int(filters["MAX_NUM_ALGO_ORDERS"]["maxNumAlgoOrders"]),
        default_prevention=PreventionMode(entry["defaultSelfTradePreventionMode"]),
        prevention_modes=frozenset(map(PreventionMode, entry["allowedSelfTradePreventionModes"])),
        price_band={
            Side.BUY: (Decimal(band["bidMultiplierDown"]), Decimal(band["bidMultiplierUp"])),
            Side.SELL: (Decimal(band["askMultiplierDown"]), Decimal(band["askMultiplierUp"])),
        },
    )
