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
    TRANSFER = "transfer"
    CONVERT = "convert"
    DUST = "dust"
    EARN = "earn"
    REWARD = "reward"
    AIRDROP = "airdrop"
    REBATE = "rebate"


class OperationStatus(StrEnum):
    """How far a deposit or a withdrawal is; everything else is completed at once."""

    PENDING = "pending"
    APPLIED = "applied"
    PROCESSING = "processing"
    COMPLETED = "completed"
    REJECTED = "rejected"


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


class Flow(msgspec.Struct, frozen=True, tag_field="entry", tag="flow", omit_defaults=True):
    """Assets came in or went out.

    `quantity` is signed; `price` is the asset's price in USDT at that moment; `operation_id` is that of the operation
    that did it, 0 for none.
    """

    account: str
    flow_id: str
    asset: str
    quantity: Decimal
    kind: FlowKind
    price: Decimal
    time_us: int
    operation_id: int = 0


class DustPart(msgspec.Struct, frozen=True, array_like=True):
    """One asset that was turned into BNB: how much of it, the BNB received, the charge in BNB."""

    asset: str
    amount: Decimal
    received: Decimal
    charge: Decimal


class Operation(msgspec.Struct, frozen=True, tag_field="entry", tag="operation", omit_defaults=True):
    """Something that the histories list, as it stands since `time_us`; a later entry of its id replaces it.

    Attributes:
        amount: What came in or went out, without the fee; for dust, the BNB received.
        fee: What it cost besides, in the same asset.
        variant: What distinguishes it within its kind: type of transfer, product, reward or rebate, a text.
        begin_time_us: When it began.
    """

    account: str
    kind: FlowKind
    asset: str
    amount: Decimal
    operation_id: int = 0
    begin_time_us: int = 0
    time_us: int = 0
    status: OperationStatus = OperationStatus.COMPLETED
    fee: Decimal = ZERO
    to_asset: str = ""
    to_amount: Decimal = ZERO
    variant: str = ""
    parts: tuple[DustPart, ...] = ()


class Wiped(msgspec.Struct, frozen=True, tag_field="entry", tag="wipe"):
    """Everything of every account was forgotten."""

    time_us: int


Entry = OrderPlaced | Filled | OrderEnded | Flow | Operation


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
