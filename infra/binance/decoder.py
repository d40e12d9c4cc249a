"""Frames of the user data stream become domain events; the one-letter fields of the wire end here.

What the wire does not say is left open: a `Fill` or a `Flow` from here carries no rates and no dust limit yet.
"""

from decimal import Decimal
from enum import StrEnum
from typing import TypeAlias

import msgspec

from infra.binance.account_rows import MISREAD, TRANSFER
from infra.binance.catalogue import Catalogue
from infra.binance.errors import MalformedEvent
from infra.binance.times import epoch_us
from portfolio.events import Balance, BalanceReport, ExecutionKind, Fill, Flow, FlowKind, Side
from portfolio.money import ZERO


class NoticeKind(StrEnum):
    """What an event that moves no balance is about."""

    ORDER = "order"
    """An order was placed, cancelled, expired or rejected."""
    ORDER_LIST = "order_list"
    EXTERNAL_LOCK = "external_lock"
    """Another system locked or unlocked part of a balance."""
    SERVER_SHUTDOWN = "server_shutdown"
    """The server is about to close the connection: connect again."""
    STREAM_TERMINATED = "stream_terminated"
    """The subscription has ended: connect again."""
    UNKNOWN = "unknown"
    """An event that the documentation of this version does not name; kept raw."""


class ReportedFill(msgspec.Struct, frozen=True):
    """An execution of an order."""

    event_time_us: int
    fill: Fill


class ReportedFlow(msgspec.Struct, frozen=True):
    """A balance changed other than by an execution."""

    event_time_us: int
    flow: Flow


class ReportedBalances(msgspec.Struct, frozen=True):
    """The balances after an event; `report.time_us` is the time of the account's last update."""

    event_time_us: int
    report: BalanceReport


class Notice(msgspec.Struct, frozen=True):
    """Something that moves no balance."""

    event_time_us: int
    kind: NoticeKind
    name: str
    raw: str


UserEvent: TypeAlias = ReportedFill | ReportedFlow | ReportedBalances | Notice


class _Envelope(msgspec.Struct):
    event: msgspec.Raw


class _Head(msgspec.Struct):
    e: str
    E: int = 0


class _ExecutionReport(msgspec.Struct, rename={"client_order_id": "c", "side": "S", "symbol": "s"}):
    symbol: str
    side: Side
    client_order_id: str
    execution_type: str = msgspec.field(name="x")
    order_id: int = msgspec.field(name="i")
    transaction_time: int = msgspec.field(name="T")
    last_quantity: Decimal = msgspec.field(name="l", default=ZERO)
    last_price: Decimal = msgspec.field(name="L", default=ZERO)
    last_quote_quantity: Decimal | None = msgspec.field(name="Y", default=None)
    commission: Decimal = msgspec.field(name="n", default=ZERO)
    commission_asset: str | None = msgspec.field(name="N", default=None)
    trade_id: int = msgspec.field(name="t", default=-1)
    allocation_id: int | None = msgspec.field(name="a", default=None)
    prevented_match_id: int | None = msgspec.field(name="v", default=None)
    prevented_quantity: Decimal | None = msgspec.field(name="pl", default=None)
    prevented_price: Decimal | None = msgspec.field(name="pL", default=None)
    prevented_quote_quantity: Decimal | None = msgspec.field(name="pY", default=None)
    prevention_mode: str = msgspec.field(name="V", default="")
    is_maker: bool = msgspec.field(name="m", default=False)


class _AssetBalance(msgspec.Struct):
    asset: str = msgspec.field(name="a")
    free: Decimal = msgspec.field(name="f")
    locked: Decimal = msgspec.field(name="l")


class _AccountPosition(msgspec.Struct):
    event_time: int = msgspec.field(name="E")
    update_time: int = msgspec.field(name="u")
    balances: list[_AssetBalance] = msgspec.field(name="B")


class _BalanceUpdate(msgspec.Struct):
    event_time: int = msgspec.field(name="E")
    asset: str = msgspec.field(name="a")
    delta: Decimal = msgspec.field(name="d")


_NOTICES = {
    "listStatus": NoticeKind.ORDER_LIST,
    "externalLockUpdate": NoticeKind.EXTERNAL_LOCK,
    "serverShutdown": NoticeKind.SERVER_SHUTDOWN,
    "eventStreamTerminated": NoticeKind.STREAM_TERMINATED,
}


def decode_user_event(frame: str | bytes, catalogue: Catalogue) -> UserEvent:
    """Read one frame of the user data stream: `{"subscriptionId": 0, "event": {...}}`.

    Raises:
        MalformedEvent: It is no such frame, or a documented event without what the documentation says.
        UnknownSymbol: An execution of a symbol that the catalogue does not list.
    """
    try:
        event = msgspec.json.decode(frame, type=_Envelope).event
        head = msgspec.json.decode(event, type=_Head)
        return _decode_named(head, bytes(event), catalogue)
    except MISREAD as error:
        raise MalformedEvent(f"user event cannot be read: {error}") from error


def _decode_named(head: _Head, event: bytes, catalogue: Catalogue) -> UserEvent:
    match head.e:
        case "executionReport":
            return _decode_execution(head, event, catalogue)
        case "outboundAccountPosition":
            position = msgspec.json.decode(event, type=_AccountPosition)
            balances = {row.asset: Balance(row.free, row.locked) for row in position.balances}
            report = BalanceReport(time_us=epoch_us(position.update_time), balances=balances)
            return ReportedBalances(epoch_us(position.event_time), report)
        case "balanceUpdate":
            update = msgspec.json.decode(event, type=_BalanceUpdate)
            return ReportedFlow(epoch_us(update.event_time), _flow_of(update))
        case name:
            kind = _NOTICES.get(name, NoticeKind.UNKNOWN)
            return Notice(epoch_us(head.E), kind, name, event.decode())


def _flow_of(update: _BalanceUpdate) -> Flow:
    time_us = epoch_us(update.event_time)
    return Flow(
        time_us=time_us,
        # The event has no identifier: its time, asset and amount together tell it from every other.
        id=f"balance-update:{time_us}:{update.asset}:{update.delta}",
        asset=update.asset,
        quantity=update.delta,
        kind=FlowKind.UNCLASSIFIED,
    )


def _decode_execution(head: _Head, event: bytes, catalogue: Catalogue) -> UserEvent:
    report = msgspec.json.decode(event, type=_ExecutionReport)
    match report.execution_type:
        case "TRADE":
            return ReportedFill(epoch_us(head.E), _executed(report, catalogue))
        # Every mode tells what would have been traded, but only this one lets it change hands.
        case "TRADE_PREVENTION" if report.prevention_mode == TRANSFER and report.prevented_quantity is not None:
            return ReportedFill(epoch_us(head.E), _prevented(report, catalogue))
        case _:
            return Notice(epoch_us(head.E), NoticeKind.ORDER, report.execution_type, event.decode())


def _executed(report: _ExecutionReport, catalogue: Catalogue) -> Fill:
    instrument = catalogue.instrument(report.symbol)
    is_allocation = report.trade_id < 0
    if is_allocation and report.allocation_id is None:
        raise MalformedEvent(f"execution of order {report.order_id} has neither a trade id nor an allocation id")
    trade_id = report.allocation_id if is_allocation and report.allocation_id is not None else report.trade_id
    return Fill(
        time_us=epoch_us(report.transaction_time),
        symbol=report.symbol,
        base=instrument.base,
        quote=instrument.quote,
        side=report.side,
        price=report.last_price,
        quantity=report.last_quantity,
        quote_quantity=report.last_quote_quantity,
        trade_id=trade_id,
        order_id=report.order_id,
        fee=report.commission,
        fee_asset=(report.commission_asset or "") if report.commission else "",
        execution=ExecutionKind.ALLOCATION if is_allocation else ExecutionKind.TRADE,
        maker=report.is_maker,
        client_order_id=report.client_order_id,
    )


def _prevented(report: _ExecutionReport, catalogue: Catalogue) -> Fill:
    instrument = catalogue.instrument(report.symbol)
    if report.prevented_match_id is None or report.prevented_price is None or report.prevented_quantity is None:
        raise MalformedEvent(f"prevented execution of order {report.order_id} lacks its match id, price or quantity")
    return Fill(
        time_us=epoch_us(report.transaction_time),
        symbol=report.symbol,
        base=instrument.base,
        quote=instrument.quote,
        side=report.side,
        price=report.prevented_price,
        quantity=report.prevented_quantity,
        quote_quantity=report.prevented_quote_quantity,
        trade_id=report.prevented_match_id,
        order_id=report.order_id,
        execution=ExecutionKind.PREVENTION,
        maker=report.is_maker,
        client_order_id=report.client_order_id,
    )
