"""Rows of the signed REST API become domain events: executions and balances, as the stream tells them too.

What the wire does not say is left open: a `Fill` from here carries no rates and no dust limit yet.
"""

from decimal import Decimal
from typing import Any, Final

import msgspec

from infra.binance.catalogue import Catalogue
from infra.binance.errors import MalformedEvent
from infra.binance.times import epoch_us
from portfolio.errors import PortfolioError
from portfolio.events import Balance, BalanceReport, ExecutionKind, Fill, Side

TRANSFER: Final = "TRANSFER"
"""The mode of self-trade prevention that moves balances."""

MISREAD: Final = (
    msgspec.DecodeError,
    msgspec.ValidationError,
    PortfolioError,
    ArithmeticError,
    RecursionError,
    UnicodeDecodeError,
)
"""What reading a message of an unexpected shape may raise; it becomes a `MalformedEvent` that names the message."""


class _Executed(msgspec.Struct, kw_only=True, rename="camel"):
    symbol: str
    order_id: int
    price: Decimal
    qty: Decimal
    quote_qty: Decimal
    commission: Decimal
    commission_asset: str
    time: int
    is_buyer: bool
    is_maker: bool = False


class _Trade(_Executed, rename="camel"):
    id: int


class _Allocation(_Executed, rename="camel"):
    allocation_id: int


class _PreventedMatch(msgspec.Struct, rename="camel"):
    symbol: str
    prevented_match_id: int
    taker_order_id: int
    maker_order_id: int
    self_trade_prevention_mode: str
    price: Decimal
    transact_time: int
    taker_prevented_quantity: Decimal | None = None
    maker_prevented_quantity: Decimal | None = None


class PreventedOrder(msgspec.Struct, frozen=True, rename="camel"):
    """An order of `GET /api/v3/allOrders`, as far as a prevented match needs it."""

    symbol: str
    order_id: int
    side: Side
    prevented_match_id: int | None = None
    self_trade_prevention_mode: str = TRANSFER
    client_order_id: str = ""

    @property
    def may_have_transferred(self) -> bool:
        """Whether a prevented match of it may have moved money: both orders must have asked for that."""
        return self.prevented_match_id is not None and self.self_trade_prevention_mode == TRANSFER


class _Account(msgspec.Struct, rename="camel"):
    balances: list[dict[str, Any]]
    update_time: int = 0


def decode_trade(row: object, catalogue: Catalogue) -> Fill:
    """Read one row of `GET /api/v3/myTrades`.

    Raises:
        MalformedEvent: It is no such row.
        UnknownSymbol: A symbol that the catalogue does not list.
    """
    try:
        trade = msgspec.convert(row, _Trade)
        return _fill(trade, trade.id, ExecutionKind.TRADE, catalogue)
    except MISREAD as error:
        raise MalformedEvent(f"row of myTrades cannot be read: {error}") from error


def decode_allocation(row: object, catalogue: Catalogue) -> Fill:
    """Read one row of `GET /api/v3/myAllocations`: an execution by smart order routing, which `myTrades` lacks.

    Raises:
        MalformedEvent: It is no such row.
        UnknownSymbol: A symbol that the catalogue does not list.
    """
    try:
        found = msgspec.convert(row, _Allocation)
        return _fill(found, found.allocation_id, ExecutionKind.ALLOCATION, catalogue)
    except MISREAD as error:
        raise MalformedEvent(f"row of myAllocations cannot be read: {error}") from error


def _fill(row: _Executed, trade_id: int, execution: ExecutionKind, catalogue: Catalogue) -> Fill:
    instrument = catalogue.instrument(row.symbol)
    return Fill(
        time_us=epoch_us(row.time),
        symbol=row.symbol,
        base=instrument.base,
        quote=instrument.quote,
        side=Side.BUY if row.is_buyer else Side.SELL,
        price=row.price,
        quantity=row.qty,
        quote_quantity=row.quote_qty,
        trade_id=trade_id,
        order_id=row.order_id,
        fee=row.commission,
        fee_asset=row.commission_asset if row.commission else "",
        execution=execution,
        maker=row.is_maker,
    )


def decode_prevented_match(row: object, order: PreventedOrder, catalogue: Catalogue) -> Fill | None:
    """Read one row of `GET /api/v3/myPreventedMatches`, asked for by one of the account's orders.

    Only the mode `TRANSFER` moves balances: the quantity by which both orders were reduced, and its notional.

    Returns:
        The execution; None where nothing was transferred.

    Raises:
        MalformedEvent: It is no such row.
        UnknownSymbol: A symbol that the catalogue does not list.
    """
    try:
        found = msgspec.convert(row, _PreventedMatch)
        reduced = [found.taker_prevented_quantity, found.maker_prevented_quantity]
        quantities = [quantity for quantity in reduced if quantity is not None]
        if found.self_trade_prevention_mode != TRANSFER or not quantities:
            return None
        instrument = catalogue.instrument(found.symbol)
        return Fill(
            time_us=epoch_us(found.transact_time),
            symbol=found.symbol,
            base=instrument.base,
            quote=instrument.quote,
            side=order.side,
            price=found.price,
            quantity=min(quantities),
            trade_id=found.prevented_match_id,
            order_id=order.order_id,
            execution=ExecutionKind.PREVENTION,
            maker=order.order_id == found.maker_order_id,
            client_order_id=order.client_order_id,
        )
    except MISREAD as error:
        raise MalformedEvent(f"row of myPreventedMatches cannot be read: {error}") from error


def decode_account(answer: object) -> BalanceReport:
    """Read the answer of `GET /api/v3/account`: all balances, at the time of the account's last update.

    Raises:
        MalformedEvent: It is no such answer.
    """
    try:
        account = msgspec.convert(answer, _Account)
        balances = {
            str(row["asset"]): Balance(Decimal(row["free"]), Decimal(row["locked"])) for row in account.balances
        }
        return BalanceReport(
            time_us=epoch_us(account.update_time),
            balances={asset: balance for asset, balance in balances.items() if balance.total},
            complete=True,
        )
    except (*MISREAD, KeyError, TypeError) as error:
        raise MalformedEvent(f"account cannot be read: {error!r}") from error
