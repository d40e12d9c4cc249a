"""User data events, as Binance's `user-data-stream.md` has them."""

from enum import Enum

from infra.exchange.decimals import ZERO, wire
from infra.exchange.ledger import Account
from infra.exchange.records import (
    Filled,
    Flow,
    Order,
    OrderEnded,
    OrderList,
    OrderPlaced,
    OrderStatus,
    OrderWorking,
    Prevented,
)

Event = dict[str, object]
_EVENT_TIMES = {
    "executionReport": ("E", "T", "O", "W"),
    "listStatus": ("E", "T"),
    "outboundAccountPosition": ("E", "u"),
    "balanceUpdate": ("E", "T"),
    "eventStreamTerminated": ("E",),
    "serverShutdown": ("E",),
}


class TimeUnit(Enum):
    """The unit of times on the wire: milliseconds, or microseconds when asked for."""

    MILLISECOND = 1_000
    MICROSECOND = 1

    def stamp(self, time_us: int) -> int:
        """A time in this unit."""
        return time_us // self.value


def in_unit(event: Event, unit: TimeUnit) -> Event:
    """A user data event with its times, which are microseconds, in another unit."""
    times = _EVENT_TIMES[str(event["e"])]
    return {
        key: unit.stamp(value) if key in times and isinstance(value, int) else value for key, value in event.items()
    }


ReportedEntry = OrderPlaced | OrderWorking | Prevented | Filled | OrderEnded


def execution_report(order: Order, entry: ReportedEntry, execution_id: int) -> Event:
    """The `executionReport` of an order right after an entry was applied to it."""
    placed = order.placed
    fill = entry if isinstance(entry, Filled) else None
    ended = entry if isinstance(entry, OrderEnded) else None
    cancelled = ended is not None and ended.status is OrderStatus.CANCELED
    event: Event = {
        "e": "executionReport",
        "E": entry.time_us,
        "s": placed.symbol,
        "c": ended.cancel_client_order_id if ended and cancelled else placed.client_order_id,
        "S": placed.side,
        "o": placed.type,
        "f": placed.time_in_force,
        "q": wire(placed.quantity),
        "p": wire(placed.price),
        "P": wire(placed.stop_price),
        "F": wire(ZERO),
        "g": placed.order_list_id,
        "C": placed.client_order_id if cancelled else "",
        "x": _execution_type(entry),
        "X": order.status,
        "r": "NONE",
        "i": placed.order_id,
        "l": wire(fill.quantity if fill else ZERO),
        "z": wire(order.executed),
        "L": wire(fill.price if fill else ZERO),
        "n": wire(fill.commission) if fill else "0",
        "N": fill.commission_asset if fill else None,
        "T": entry.time_us,
        "t": fill.trade_id if fill else -1,
        "I": execution_id,
        "w": order.is_open and order.is_working,
        "m": entry.is_maker if isinstance(entry, Filled | Prevented) else False,
        "M": fill is not None,
        "O": placed.time_us,
        "Z": wire(order.executed_quote),
        "Y": wire(fill.quote_quantity if fill else ZERO),
        "Q": wire(placed.quote_order_quantity),
        "V": placed.prevention,
    }
    optional: Event = {
        "W": order.working_time_us,
        "j": placed.strategy_id,
        "J": placed.strategy_type,
        "eR": order.reason or None,
        "a": fill.allocation_id if fill else None,
        "b": "ONE_PARTY_TRADE_REPORT" if fill and fill.allocation_id is not None else None,
        "k": "SOR" if placed.uses_sor else None,
        "uS": placed.uses_sor or None,
    }
    if isinstance(entry, Prevented):
        optional |= _prevention(order, entry)
    return event | {key: value for key, value in optional.items() if value is not None}


def _prevention(order: Order, prevented: Prevented) -> Event:
    """What would have been traded, whatever the mode: `pl`, `pL`, `pY`; and what became of it."""
    return {
        "v": prevented.match_id,
        "A": wire(order.prevented),
        "B": wire(prevented.expired),
        "u": prevented.trade_group,
        "U": prevented.counter_order_id,
        "Cs": prevented.symbol,
        "pl": wire(prevented.quantity),
        "pL": wire(prevented.price),
        "pY": wire(prevented.quote_quantity),
    }


def list_status(order_list: OrderList, time_us: int) -> Event:
    """The `listStatus` of a list as it is now."""
    listed, state = order_list.listed, "EXECUTING" if order_list.is_open else "ALL_DONE"
    return {
        "e": "listStatus",
        "E": time_us,
        "s": listed.symbol,
        "g": listed.order_list_id,
        "c": listed.contingency,
        "l": "EXEC_STARTED" if order_list.is_open else "ALL_DONE",
        "L": state,
        "r": "NONE",
        "C": listed.client_order_id,
        "T": time_us,
        "O": [
            {"s": listed.symbol, "i": order_id, "c": client_order_id}
            for order_id, client_order_id in zip(listed.order_ids, listed.client_order_ids, strict=True)
        ],
    }


def account_position(account: Account, assets: frozenset[str], time_us: int) -> Event:
    """The `outboundAccountPosition` of the assets that may have changed."""
    balances = [
        {"a": asset, "f": wire(account.balances[asset].free), "l": wire(account.balances[asset].locked)}
        for asset in sorted(assets)
    ]
    return {"e": "outboundAccountPosition", "E": time_us, "u": time_us, "B": balances}


def balance_update(flow: Flow) -> Event:
    """The `balanceUpdate` of a deposit or a withdrawal."""
    return {
        "e": "balanceUpdate",
        "E": flow.time_us,
        "a": flow.asset,
        "d": wire(flow.quantity),
        "T": flow.time_us,
    }


def _execution_type(entry: ReportedEntry) -> str:
    match entry:
        case OrderPlaced() | OrderWorking():
            return "NEW"
        case Filled():
            return "TRADE"
        case Prevented():
            return "TRADE_PREVENTION"
        case OrderEnded():
            return str(entry.status)
