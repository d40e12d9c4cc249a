"""What can happen to an account: the events of the log of record, in the order the exchange reported them.

Every event carries whatever the ledger needs to book it: amounts in their own asset, and the rates to the reporting
currency at the event's own time (`rates`: asset to the price of one unit in the reporting currency). The reporting
currency itself never needs a rate. Times are epoch microseconds.
"""

from decimal import Decimal
from enum import StrEnum
from typing import Annotated, TypeAlias

import msgspec

from portfolio.errors import InvalidEvent
from portfolio.money import ZERO, checked, exact_arithmetic

_IDENTIFIER_MAX = 2**63 - 1

Name: TypeAlias = Annotated[str, msgspec.Meta(max_length=100)]
"""The name of a symbol or an asset. Longer ones, and longer texts, are refused when a record is read: they are no
names, and databases refuse them later, where nobody can act on it."""

Text: TypeAlias = Annotated[str, msgspec.Meta(max_length=500)]
"""An identifier, or a few words of a person."""

TIME_US_MIN = 1_230_768_000_000_000  # 2009-01-01, before Bitcoin: an earlier time was given in the wrong unit
TIME_US_MAX = 4_102_444_800_000_000  # 2100-01-01: past it, a time was given in the wrong unit


class Side(StrEnum):
    """Which way the base asset of a symbol went."""

    BUY = "BUY"
    SELL = "SELL"


class ExecutionKind(StrEnum):
    """What moved the balances; each kind has a sequence of identifiers of its own within a symbol."""

    TRADE = "trade"
    ALLOCATION = "allocation"
    """Smart order routing: filled from another venue's book; Binance gives trade id -1 and an allocation id."""
    PREVENTION = "prevention"
    """Self-trade prevention with transfer: balances move without a trade; the id is the prevented match's."""


class FlowKind(StrEnum):
    """Why an asset came in or went out other than by a fill."""

    DEPOSIT = "deposit"
    WITHDRAWAL = "withdrawal"
    TRANSFER = "transfer"
    CONVERT = "convert"
    DUST = "dust"
    EARN = "earn"
    REWARD = "reward"
    AIRDROP = "airdrop"
    REBATE = "rebate"
    ADJUSTMENT = "adjustment"
    OPENING = "opening"
    """Held before the log began, or sold without an acquisition that explains it."""
    UNCLASSIFIED = "unclassified"
    """The exchange gave no reason; a `Reclassification` names it later."""

    @property
    def is_income(self) -> bool:
        """Whether it is earned (part of realized) rather than paid in or out (part of net flows)."""
        return self in {FlowKind.REWARD, FlowKind.AIRDROP, FlowKind.REBATE}


class CostTarget(StrEnum):
    """What a cost adjustment changes besides the net flows."""

    HOLDING = "holding"
    """The cost basis of what is still held."""
    REALIZED = "realized"
    """The gain of what was sold already."""


class _Event(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="type"):
    """What every event has."""

    time_us: int
    """When it happened at the exchange, epoch microseconds."""

    def __post_init__(self) -> None:
        if not 0 <= self.time_us <= TIME_US_MAX:
            raise InvalidEvent(f"time {self.time_us} is not an epoch time in microseconds before the year 2100")


class Fill(_Event, frozen=True, kw_only=True, omit_defaults=True, tag="fill"):
    """One execution of an order.

    `quote_quantity` is what the exchange moved of the quote asset; without it, price times quantity. `dust_limit` is
    the quantity of the base asset below which it can no longer be sold (lot step or minimum notional).
    """

    symbol: Name
    base: Name
    quote: Name
    side: Side
    price: Decimal
    quantity: Decimal
    trade_id: int
    order_id: int
    fee: Decimal = ZERO
    fee_asset: Name = ""
    quote_quantity: Decimal | None = None
    execution: ExecutionKind = ExecutionKind.TRADE
    rates: dict[Name, Decimal] = {}
    dust_limit: Decimal = ZERO
    maker: bool = False
    client_order_id: Text = ""
    strategy: Text = ""
    cycle_id: Text = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.symbol or not self.base or not self.quote or self.base == self.quote:
            raise InvalidEvent(
                f"fill {self.trade_id} of {self.symbol!r}: symbol, base and quote must be named, and differ"
            )
        if max(abs(self.trade_id), abs(self.order_id)) > _IDENTIFIER_MAX:
            raise InvalidEvent(f"fill {self.trade_id} of {self.symbol}: trade and order ids are integers of 64 bits")
        _positive("price", self.price)
        _positive("quantity", self.quantity)
        if checked(self.fee) < ZERO or checked(self.dust_limit) < ZERO:
            raise InvalidEvent(f"fill {self.trade_id} of {self.symbol}: fee and dust_limit are never negative")
        if self.fee and not self.fee_asset:
            raise InvalidEvent(f"fill {self.trade_id} of {self.symbol}: the fee needs a fee_asset")
        if self.quote_quantity is not None and checked(self.quote_quantity) < ZERO:
            raise InvalidEvent(f"fill {self.trade_id} of {self.symbol}: quote_quantity is never negative")
        _check_rates(self.rates)


class Flow(_Event, frozen=True, kw_only=True, omit_defaults=True, tag="flow"):
    """An asset that came in (positive quantity) or went out (negative) other than by a fill.

    `id` is unique within the account: a flow with an id that was booked before is a duplicate.
    """

    id: Text
    asset: Name
    quantity: Decimal
    kind: FlowKind
    rates: dict[Name, Decimal] = {}
    dust_limit: Decimal = ZERO
    author: Text = ""
    """Who booked it by hand; empty for what the exchange reported."""
    reason: Text = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.id or not self.asset:
            raise InvalidEvent("a flow needs an id and an asset")
        if checked(self.quantity) == ZERO:
            raise InvalidEvent(f"flow {self.id} of {self.asset}: the quantity is zero")
        if checked(self.dust_limit) < ZERO:
            raise InvalidEvent(f"flow {self.id} of {self.asset}: dust_limit is never negative")
        _check_rates(self.rates)


class Balance(msgspec.Struct, frozen=True):
    """What the exchange says it holds of an asset: free to trade, and locked in orders."""

    free: Decimal
    locked: Decimal = ZERO

    def __post_init__(self) -> None:
        if checked(self.free) < ZERO or checked(self.locked) < ZERO:
            raise InvalidEvent("a balance is never negative")

    @property
    def total(self) -> Decimal:
        """Free and locked together."""
        with exact_arithmetic():
            return self.free + self.locked


class BalanceReport(_Event, frozen=True, kw_only=True, omit_defaults=True, tag="balances"):
    """What the exchange says it holds, at one moment. `complete`: an asset that is not listed is zero."""

    balances: dict[Name, Balance]
    complete: bool = False


class ValuationPoint(_Event, frozen=True, kw_only=True, omit_defaults=True, tag="valuation"):
    """The rates of everything held, at one moment; closes a period of the time-weighted return."""

    rates: dict[Name, Decimal]

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_rates(self.rates)


class Marks(_Event, frozen=True, kw_only=True, omit_defaults=True, tag="marks"):
    """New mark prices; they move the unrealized PnL and close no period."""

    rates: dict[Name, Decimal]

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_rates(self.rates)


class CostAdjustment(_Event, frozen=True, kw_only=True, omit_defaults=True, tag="cost_adjustment"):
    """The true cost of something whose acquisition was valued at the market.

    `amount` (reporting currency) is true cost less booked cost. It changes the net flows, and either the cost basis
    of what is held or, for what was sold already, the realized gain.
    """

    id: Text
    asset: Name
    amount: Decimal
    target: CostTarget
    author: Text
    reason: Text

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.id or not self.asset or not self.author or not self.reason:
            raise InvalidEvent("a cost adjustment needs an id, an asset, an author and a reason")
        if checked(self.amount) == ZERO:
            raise InvalidEvent(f"cost adjustment {self.id}: the amount is zero")


class Reclassification(_Event, frozen=True, kw_only=True, omit_defaults=True, tag="reclassification"):
    """The kind of a flow, known now: a new event, never an edit of the old one."""

    id: Text
    flow_id: Text
    kind: FlowKind
    author: Text
    reason: Text = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.id or not self.flow_id or not self.author:
            raise InvalidEvent("a reclassification needs an id, a flow_id and an author")


class TradeCorrection(_Event, frozen=True, kw_only=True, omit_defaults=True, tag="trade_correction"):
    """What a fill that stands before it in the log really was: another fill, or nothing.

    It is no entry at its own time: the account's history is folded anew with the fill as it is corrected. Of several
    corrections of one fill the last counts, so one that states the fill as it first came withdraws those before it.
    """

    id: Text
    symbol: Name
    trade_id: int
    order_id: int
    author: Text
    reason: Text
    execution: ExecutionKind = ExecutionKind.TRADE
    replacement: Fill | None = None
    """The fill as it should have been, with the same identifiers; None: there was none, the trade was cancelled."""
    flows: tuple[str, ...] = ()
    """Flows that were booked for want of this correction, such as the balances that a cancelled trade gave back.
    They are taken as nothing."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.id or not self.symbol or not self.author or not self.reason:
            raise InvalidEvent("a trade correction needs an id, a symbol, an author and a reason")
        if max(abs(self.trade_id), abs(self.order_id)) > _IDENTIFIER_MAX:
            raise InvalidEvent(f"trade correction {self.id}: trade and order ids are integers of 64 bits")
        if self.replacement is not None and fill_key(self.replacement) != self.fill_key:
            raise InvalidEvent(
                f"trade correction {self.id}: the replacement is fill {self.replacement.trade_id} of "
                f"{self.replacement.symbol}; symbol, kind of execution, trade id and order id must stay the same"
            )

    @property
    def fill_key(self) -> "FillKey":
        """The fill that it is about."""
        return self.symbol, self.execution, self.trade_id, self.order_id


FillKey: TypeAlias = tuple[str, ExecutionKind, int, int]
"""Symbol, kind of execution, trade id and order id: what no two fills of an account share."""


def fill_key(fill: Fill) -> FillKey:
    """What identifies a fill within its account."""
    return fill.symbol, fill.execution, fill.trade_id, fill.order_id


Event: TypeAlias = (
    Fill | Flow | BalanceReport | ValuationPoint | Marks | CostAdjustment | Reclassification | TradeCorrection
)


def _positive(name: str, number: Decimal) -> None:
    if checked(number) <= ZERO:
        raise InvalidEvent(f"{name} must be above zero, not {number}")


def _check_rates(rates: dict[str, Decimal]) -> None:
    for asset, rate in rates.items():
        if checked(rate) < ZERO:
            raise InvalidEvent(f"the rate of {asset} is negative")
