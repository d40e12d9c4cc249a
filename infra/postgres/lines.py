"""What is read: stored rows, valued at the newest prices of their account."""

from dataclasses import dataclass
from decimal import Decimal

from infra.postgres.accounts import AccountState
from portfolio.money import ONE, ZERO, exact_arithmetic, ratio

HUNDRED = Decimal(100)


@dataclass(frozen=True, slots=True, kw_only=True)
class BalanceLine:
    """An asset of an account, ledger and exchange side by side; money in the reporting currency.

    Attributes:
        quantity: What the ledger holds.
        mark: The newest price; None when none was ever seen, and the value is then the cost.
        free: The exchange's own figure; None before it has told any.
        locked: Likewise.
        difference: Exchange less ledger.
    """

    account: str
    reporting: str
    asset: str
    quantity: Decimal
    cost: Decimal
    average_cost: Decimal | None
    mark: Decimal | None
    free: Decimal | None
    locked: Decimal | None
    exchange_time_us: int | None
    difference: Decimal
    reason: str
    value: Decimal
    unrealized: Decimal
    valued_time_us: int

    @property
    def total(self) -> Decimal:
        """Free and locked together; what the ledger holds, where the exchange has told nothing."""
        with exact_arithmetic():
            return self.quantity if self.free is None else self.free + (self.locked or ZERO)


@dataclass(frozen=True, slots=True, kw_only=True)
class PositionLine:
    """A position; prices and money in the reporting currency."""

    account: str
    reporting: str
    id: str
    asset: str
    symbol: str
    symbols: tuple[str, ...]
    side: str
    status: str
    quantity: Decimal
    peak_quantity: Decimal
    entry_price: Decimal | None
    exit_price: Decimal | None
    current_price: Decimal | None
    realized: Decimal
    unrealized: Decimal
    fees: Decimal
    fills: int
    missing_quantity: Decimal
    open_time_us: int
    close_time_us: int | None
    revision: int = 0

    def place_us(self, as_of_us: int | None = None) -> int:
        """What orders the position among others: its end, if it had closed by then; else its start."""
        has_closed = self.close_time_us is not None and (as_of_us is None or self.close_time_us <= as_of_us)
        return self.close_time_us if self.close_time_us is not None and has_closed else self.open_time_us

    @property
    def pnl(self) -> Decimal:
        """Realized and unrealized together."""
        with exact_arithmetic():
            return self.realized + self.unrealized

    @property
    def pnl_percent(self) -> Decimal | None:
        """The pnl in percent of the capital at its peak: entry price x largest quantity held."""
        with exact_arithmetic():
            capital = (self.entry_price or ZERO) * self.peak_quantity
            return ratio(self.pnl * HUNDRED, capital) if capital else None


@dataclass(frozen=True, slots=True, kw_only=True)
class SymbolLine:
    """What trading a symbol has come to, and what is open of it; reporting currency."""

    symbol: str
    realized: Decimal
    unrealized: Decimal
    fees: Decimal
    volume: Decimal
    fills: int

    @classmethod
    def nothing(cls, symbol: str) -> "SymbolLine":
        """A symbol that has come to nothing."""
        return cls(symbol=symbol, realized=ZERO, unrealized=ZERO, fees=ZERO, volume=ZERO, fills=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class FillLine:
    """A fill as it was booked. `value`, `realized` and `fee_value` are in the reporting currency."""

    account: str
    symbol: str
    execution: str
    trade_id: int
    order_id: int
    time_us: int
    sequence: int
    side: str
    price: Decimal
    quantity: Decimal
    quote_quantity: Decimal
    value: Decimal
    realized: Decimal
    fee: Decimal
    fee_asset: str
    fee_value: Decimal
    maker: bool
    strategy: str
    cycle_id: str
    revision: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class FlowLine:
    """What was paid in or out. `value` is at market and negative for what went out; reporting currency."""

    account: str
    id: str
    time_us: int
    sequence: int
    asset: str
    quantity: Decimal
    kind: str
    value: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class FeeLine:
    """The fees of fills that were paid in one asset, and their market value when paid; reporting currency."""

    asset: str
    quantity: Decimal
    value: Decimal
    fills: int


@dataclass(frozen=True, slots=True, kw_only=True)
class EquityLine:
    """A point of the equity curve of an account."""

    account: str
    time_us: int
    equity: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class ValuationLine:
    """A valuation point of an account, with its place in the journal."""

    account: str
    time_us: int
    sequence: int
    equity: Decimal
    inflow: Decimal
    outflow: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalSum:
    """What the entries after some point of the journal add up to.

    Attributes:
        flow: Change of the net flows.
        realized: Change of the realized PnL.
        inflow: Paid in.
        outflow: Paid out, as a positive number.
    """

    flow: Decimal = ZERO
    realized: Decimal = ZERO
    inflow: Decimal = ZERO
    outflow: Decimal = ZERO


def price_of(account: AccountState, asset: str) -> Decimal | None:
    """The newest price of an asset in the account's reporting currency."""
    return ONE if asset == account.reporting else account.marks.get(asset)


def value_of(quantity: Decimal, cost: Decimal, price: Decimal | None) -> tuple[Decimal, Decimal]:
    """Value and unrealized PnL of a holding; without a price it is worth what it cost."""
    with exact_arithmetic():
        value = cost if price is None else quantity * price
        return value, value - cost
