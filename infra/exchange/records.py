"""The vocabulary of the exchange: orders, and the entries of its journal.

An entry is a fact. The state of all accounts is the fold of the entries, in order (`ledger.py`), so a journal that
is read again gives the same accounts. Times are wall-clock microseconds.
"""

from decimal import Decimal
from enum import StrEnum

import msgspec

from infra.exchange.decimals import ZERO


class Side(StrEnum):
    """Side of an order, on Binance's wire."""

    BUY = "BUY"
    SELL = "SELL"


class OrderType(StrEnum):
    """Order types that this exchange matches."""

    LIMIT = "LIMIT"
    LIMIT_MAKER = "LIMIT_MAKER"
    MARKET = "MARKET"


class TimeInForce(StrEnum):
    """How long an order stays."""

    GTC = "GTC"
    IOC = "IOC"
    FOK = "FOK"


class OrderStatus(StrEnum):
    """Status of an order, on Binance's wire."""

    NEW = "NEW"
    PARTIALLY_FILLED = "PARTIALLY_FILLED"
    FILLED = "FILLED"
    CANCELED = "CANCELED"
    EXPIRED = "EXPIRED"


class FlowKind(StrEnum):
    """Why a balance changed without a trade."""

    INITIAL = "initial"
    DEPOSIT = "deposit"
    WITHDRAWAL = "withdrawal"


class OrderPlaced(msgspec.Struct, frozen=True, tag_field="entry", tag="order", omit_defaults=True):
    """An order was accepted; a limit order locks what it may give."""

    account: str
    order_id: int
    client_order_id: str
    symbol: str
    side: Side
    type: OrderType
    time_in_force: TimeInForce
    quantity: Decimal
    price: Decimal
    quote_order_quantity: Decimal
    time_us: int
    strategy_id: int | None = None
    strategy_type: int | None = None


class Filled(msgspec.Struct, frozen=True, tag_field="entry", tag="fill"):
    """A trade of an order. `quote_quantity` is price x quantity, cut to eight places."""

    account: str
    symbol: str
    order_id: int
    trade_id: int
    price: Decimal
    quantity: Decimal
    quote_quantity: Decimal
    commission: Decimal
    commission_asset: str
    is_maker: bool
    time_us: int


class OrderEnded(msgspec.Struct, frozen=True, tag_field="entry", tag="end", omit_defaults=True):
    """An order left the book unfilled: cancelled by its owner, or expired for `reason`."""

    account: str
    order_id: int
    status: OrderStatus
    time_us: int
    cancel_client_order_id: str = ""
    reason: str = ""


class Flow(msgspec.Struct, frozen=True, tag_field="entry", tag="flow"):
    """Assets came in or went out. `quantity` is signed; `price` is the asset's price in USDT at that moment."""

    account: str
    flow_id: str
    asset: str
    quantity: Decimal
    kind: FlowKind
    price: Decimal
    time_us: int


class Wiped(msgspec.Struct, frozen=True, tag_field="entry", tag="wipe"):
    """Everything of every account was forgotten."""

    time_us: int


Entry = OrderPlaced | Filled | OrderEnded | Flow


class Transaction(msgspec.Struct, frozen=True):
    """Entries that hold together or not at all: one line of the journal."""

    time_us: int
    entries: tuple[Entry | Wiped, ...]


class Order(msgspec.Struct):
    """An order as it stands now."""

    placed: OrderPlaced
    status: OrderStatus
    update_time_us: int
    executed: Decimal = ZERO
    executed_quote: Decimal = ZERO
    locked: Decimal = ZERO
    reason: str = ""

    @property
    def is_open(self) -> bool:
        """Whether the order still rests on the book."""
        return self.status in {OrderStatus.NEW, OrderStatus.PARTIALLY_FILLED}

    @property
    def remaining(self) -> Decimal:
        """What is left to fill, in the base asset."""
        return self.placed.quantity - self.executed
