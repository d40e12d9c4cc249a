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
    STOP_LOSS = "STOP_LOSS"
    STOP_LOSS_LIMIT = "STOP_LOSS_LIMIT"
    TAKE_PROFIT = "TAKE_PROFIT"
    TAKE_PROFIT_LIMIT = "TAKE_PROFIT_LIMIT"

    @property
    def has_limit(self) -> bool:
        """Whether the order has a price of its own, and so can rest."""
        return self not in {OrderType.MARKET, OrderType.STOP_LOSS, OrderType.TAKE_PROFIT}

    @property
    def is_contingent(self) -> bool:
        """Whether the order waits for a stop price."""
        return self.is_stop_loss or self in {OrderType.TAKE_PROFIT, OrderType.TAKE_PROFIT_LIMIT}

    @property
    def is_stop_loss(self) -> bool:
        """Whether the order waits for the market to go against it."""
        return self in {OrderType.STOP_LOSS, OrderType.STOP_LOSS_LIMIT}


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
    EXPIRED_IN_MATCH = "EXPIRED_IN_MATCH"
    PENDING_NEW = "PENDING_NEW"


class PreventionMode(StrEnum):
    """What happens when an order meets one of its own account or trade group."""

    NONE = "NONE"
    EXPIRE_TAKER = "EXPIRE_TAKER"
    EXPIRE_MAKER = "EXPIRE_MAKER"
    EXPIRE_BOTH = "EXPIRE_BOTH"
    DECREMENT = "DECREMENT"
    TRANSFER = "TRANSFER"


class Contingency(StrEnum):
    """How the orders of a list depend on each other."""

    OCO = "OCO"
    OTO = "OTO"


class SymbolStatus(StrEnum):
    """What a symbol does, on Binance's wire; a delisted one is not there any more."""

    TRADING = "TRADING"
    HALT = "HALT"
    BREAK = "BREAK"
    DELISTED = "DELISTED"


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
    BUST = "bust"
    """A trade was taken back, which no interface of Binance says: neither an event nor a history."""


class OperationStatus(StrEnum):
    """How far a deposit or a withdrawal is; everything else is completed at once."""

    PENDING = "pending"
    APPLIED = "applied"
    PROCESSING = "processing"
    COMPLETED = "completed"
    REJECTED = "rejected"


class OrderPlaced(msgspec.Struct, frozen=True, tag_field="entry", tag="order", omit_defaults=True):
    """An order was accepted; one that may rest locks what it may give.

    Attributes:
        stop_price: The last price at which a contingent order begins to work.
        order_list_id: The list that it belongs to, -1 for none.
        is_pending: Whether it waits for the working order of its list, and locks nothing until then.
        uses_sor: Whether it takes from all books of its base asset.
    """

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
    stop_price: Decimal = ZERO
    order_list_id: int = -1
    is_pending: bool = False
    prevention: PreventionMode = PreventionMode.NONE
    uses_sor: bool = False


class OrderListed(msgspec.Struct, frozen=True, tag_field="entry", tag="list", omit_defaults=True):
    """Orders that depend on each other were accepted; the working order of an OTO is the first."""

    account: str
    order_list_id: int
    client_order_id: str
    symbol: str
    contingency: Contingency
    order_ids: tuple[int, ...]
    client_order_ids: tuple[str, ...]
    time_us: int


class OrderWorking(msgspec.Struct, frozen=True, tag_field="entry", tag="working"):
    """An order went to the book: its stop price was reached, or the working order of its list was filled."""

    account: str
    order_id: int
    time_us: int
    triggered: bool


class Prevented(msgspec.Struct, frozen=True, tag_field="entry", tag="prevented"):
    """An order met one of its own account or trade group, and did not trade with it.

    Attributes:
        mode: What was done about it.
        price: At which they would have traded.
        quantity: How much they would have traded, in the base asset.
        expired: How much of this order is prevented by it.
        taker_expired: How much of the taker is, likewise `maker_expired`; zero for none.
        transferred: Whether quantity and notional changed owner after all, without commission.
        trade_group: The trade group, -1 when it is the same account's.
    """

    account: str
    symbol: str
    match_id: int
    order_id: int
    counter_order_id: int
    is_maker: bool
    mode: PreventionMode
    price: Decimal
    quantity: Decimal
    quote_quantity: Decimal
    expired: Decimal
    taker_expired: Decimal
    maker_expired: Decimal
    transferred: bool
    trade_group: int
    time_us: int


class Filled(msgspec.Struct, frozen=True, tag_field="entry", tag="fill", omit_defaults=True):
    """A trade of an order. `quote_quantity` is price x quantity, cut to eight places.

    One that smart order routing allocated has the trade id -1 and an allocation id.
    """

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
    allocation_id: int | None = None


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
        variant: What distinguishes it within its kind: type of transfer, product, reward or rebate, a text, a trade.
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


class SymbolChanged(msgspec.Struct, frozen=True, tag_field="entry", tag="symbol"):
    """A symbol was listed, halted, delisted, or trades again."""

    symbol: str
    status: "SymbolStatus"
    time_us: int


Entry = OrderPlaced | OrderListed | OrderWorking | Prevented | Filled | OrderEnded | Flow | Operation


class Transaction(msgspec.Struct, frozen=True):
    """Entries that hold together or not at all: one line of the journal."""

    time_us: int
    entries: tuple[Entry | Wiped | SymbolChanged, ...]


class Order(msgspec.Struct):
    """An order as it stands now.

    Attributes:
        prevented: How much self-trade prevention took away.
        prevented_match_id: The last match that was prevented; none for none.
        working_time_us: When it went to the book; none while it waits.
    """

    placed: OrderPlaced
    status: OrderStatus
    update_time_us: int
    executed: Decimal = ZERO
    executed_quote: Decimal = ZERO
    prevented: Decimal = ZERO
    prevented_match_id: int | None = None
    locked: Decimal = ZERO
    reason: str = ""
    working_time_us: int | None = None

    @property
    def is_open(self) -> bool:
        """Whether the order may still be filled."""
        return self.status in {OrderStatus.NEW, OrderStatus.PARTIALLY_FILLED, OrderStatus.PENDING_NEW}

    @property
    def is_working(self) -> bool:
        """Whether the order is, or was, on the book."""
        return self.working_time_us is not None

    @property
    def remaining(self) -> Decimal:
        """What is left to fill, in the base asset."""
        return self.placed.quantity - self.executed - self.prevented


class OrderList(msgspec.Struct):
    """A list of orders as it stands now."""

    listed: OrderListed
    is_open: bool = True
    update_time_us: int = 0
