"""What an event is worth in the reporting currency, from the rates that it carries.

An event prices itself where one of its assets is the reporting currency; otherwise its `rates` do. As a last resort
the book's own last known price serves, and a warning says so.
"""

from collections.abc import Mapping
from decimal import Decimal
from typing import NamedTuple

from portfolio.book import Book
from portfolio.errors import InvalidAmount, InvalidEvent, MissingRate
from portfolio.events import Fill, Flow
from portfolio.money import ONE, ZERO, derived_rate, plain, ratio


class FillPrices(NamedTuple):
    """A fill in the reporting currency."""

    quote_quantity: Decimal
    """What moved of the quote asset, in the quote asset."""
    value: Decimal
    """Market value of each side of the trade."""
    fee_value: Decimal
    rates: dict[str, Decimal]
    """Every price that the fill shows or carries: asset to the reporting currency."""
    warnings: tuple[str, ...]


def price_fill(fill: Fill, book: Book) -> FillPrices:
    """Value a fill and its fee.

    Raises:
        MissingRate: Neither the fill nor the book knows a rate for an asset that needs one.
    """
    quote_quantity = fill.price * fill.quantity if fill.quote_quantity is None else fill.quote_quantity
    value, rates, warnings = _price_legs(fill, quote_quantity, book)
    fee_value = ZERO
    if fill.fee:
        rate, warning = _rate(fill.fee_asset, rates, book, f"the fee of fill {fill.trade_id} of {fill.symbol}")
        fee_value = fill.fee * rate
        warnings = (*warnings, *warning)
    return FillPrices(quote_quantity, value, fee_value, rates, warnings)


def price_flow(flow: Flow, book: Book) -> tuple[Decimal, tuple[str, ...]]:
    """Market value of a flow (never negative), with warnings.

    Raises:
        MissingRate: Neither the flow nor the book knows the asset's rate.
    """
    rate, warnings = _rate(flow.asset, flow.rates, book, f"flow {flow.id}")
    return abs(flow.quantity) * rate, warnings


def _price_legs(fill: Fill, quote_quantity: Decimal, book: Book) -> tuple[Decimal, dict[str, Decimal], tuple[str, ...]]:
    if fill.quote == book.reporting:
        return quote_quantity, {**fill.rates, fill.base: fill.price}, ()
    if fill.base == book.reporting:
        return fill.quantity, {**fill.rates, fill.quote: ratio(ONE, fill.price)}, ()
    if fill.quote not in fill.rates and fill.base in fill.rates:
        base_rate = fill.rates[fill.base]
        return fill.quantity * base_rate, {**fill.rates, fill.quote: ratio(base_rate, fill.price)}, ()
    what = f"fill {fill.trade_id} of {fill.symbol}"
    quote_rate, warnings = _rate(fill.quote, fill.rates, book, what)
    rates = {**fill.rates, fill.quote: quote_rate}
    if fill.base not in rates:
        # Rounded here, or a chain of fills that price one another would grow by 24 places with each.
        rates[fill.base] = _base_rate(fill.price, quote_rate, what)
    return quote_quantity * quote_rate, rates, warnings


def _base_rate(price: Decimal, quote_rate: Decimal, what: str) -> Decimal:
    try:
        return derived_rate(price, quote_rate)
    except InvalidAmount as error:
        raise InvalidEvent(f"{what}: price times rate of the quote asset is no rate: {error}") from error


def _rate(asset: str, rates: Mapping[str, Decimal], book: Book, what: str) -> tuple[Decimal, tuple[str, ...]]:
    if asset == book.reporting:
        return ONE, ()
    if asset in rates:
        return rates[asset], ()
    known = book.rate(asset)
    if known is None:
        raise MissingRate(asset, book.reporting, what)
    return known, (
        f"{what} carries no rate of {asset}: valued at the last known price, {plain(known)} {book.reporting}",
    )
