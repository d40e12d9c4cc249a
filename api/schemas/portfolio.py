"""What the books say."""

from typing import Literal

from pydantic import Field

from api.schemas.base import Answer, Instant, Money


class Balance(Answer):
    """An asset of an account, as the exchange and as the ledger have it."""

    account: str
    asset: str
    free: Money | None = Field(description="The exchange's figure; null before it has told any.")
    locked: Money | None = Field(description="In open orders, likewise.")
    total: Money = Field(description="free + locked; the ledger's quantity where the exchange has told nothing.")
    ledger_quantity: Money = Field(description="What the ledger holds; cost and value are of this.")
    difference: Money = Field(description="Exchange less ledger; 0 when they agree.")
    difference_reason: str = Field(description="What the difference looks like; empty when they agree.")
    price: Money | None = Field(description="Newest price in the reporting currency; null when none was seen.")
    usd_value: Money = Field(
        description="Ledger quantity x price, in the account's reporting currency (USDT unless set otherwise)."
    )
    cost: Money = Field(description="Cost basis.")
    average_cost: Money | None
    unrealized_pnl: Money
    reporting: str = Field(description="The reporting currency.")
    timestamp: Instant = Field(description="The time of the prices.")


class Overview(Answer):
    """The accounts as a whole: `equity = net_flows + realized_pnl + unrealized_pnl`, exactly."""

    accounts: list[str]
    reporting: str = Field(description="The currency of every figure.")
    timestamp: Instant | None = Field(description="The time of the prices; null while there is no account.")
    last_event: Instant | None = Field(description="The newest event in the books.")
    sequence: int = Field(description="Events applied, over all accounts.")
    equity: Money
    net_flows: Money = Field(description="Paid in less paid out, at market value.")
    total_pnl: Money = Field(description="realized_pnl + unrealized_pnl.")
    realized_pnl: Money = Field(description="Gains and income taken, less fees.")
    unrealized_pnl: Money
    fees: Money = Field(description="Fees at market value when paid; inside realized_pnl already.")
    twr: float | None = Field(
        description="Time-weighted return at the last valuation point, a fraction; null for several accounts."
    )
    drawdown: float | None = Field(description="Of the time-weighted index from its peak: 0 or a negative fraction.")
    max_drawdown: float | None = Field(description="The deepest so far.")
    balances: list[Balance]
    active_positions: int
    differences: int = Field(description="Assets on which ledger and exchange disagree.")
    warnings: int = Field(description="Warnings in the journal, missing acquisitions for instance.")
    hint: str | None = Field(description="What to do, while there is nothing to show.")


class Position(Answer):
    """A round trip in an asset, from zero back to zero. Prices and money are in the reporting currency."""

    account: str
    id: str
    asset: str
    symbol: str = Field(description="The symbol that opened it.")
    symbols: list[str] = Field(description="Every symbol that traded it.")
    side: str = Field(description="LONG: spot never goes short.")
    quantity: Money = Field(description="Held now; dust that was left, once closed.")
    peak_quantity: Money
    entry_price: Money | None
    exit_price: Money | None = Field(description="Average of all exits so far.")
    current_price: Money | None = Field(description="Newest price of the asset, also for a closed position.")
    pnl: Money = Field(description="realized + unrealized.")
    pnl_percent: float | None = Field(description="pnl in percent of entry_price x peak_quantity.")
    realized: Money = Field(description="Gains taken, less the fees that the position bore.")
    unrealized: Money
    fees: Money
    fills: int
    missing_quantity: Money = Field(description="Sold without an acquisition that explains it.")
    status: Literal["open", "closed"]
    open_time: Instant
    close_time: Instant | None
    reporting: str
    revision: int = Field(description="The last correction of a trade, counted from 1, that restated it; 0: none did.")


class SymbolPnl(Answer):
    """What trading a symbol has come to. The columns add up to the figures of the overview."""

    symbol: str
    realized_pnl: Money
    unrealized_pnl: Money = Field(description="Of the open position that this symbol opened.")
    total_pnl: Money
    fees: Money
    volume: Money = Field(description="Market value of all fills.")
    fills: int
    reporting: str


class SymbolPosition(Answer):
    """Everything about one symbol: its open positions, the last that closed, and what it has earned."""

    symbol: str
    earned: SymbolPnl = Field(description="Over all accounts that were asked for.")
    open_positions: list[Position]
    closed_positions: list[Position] = Field(description="The last ones, newest first; `/portfolio/positions` has all.")


class Trade(Answer):
    """A fill."""

    account: str
    time: Instant
    symbol: str
    side: Literal["BUY", "SELL"]
    price: Money = Field(description="In the quote asset of the symbol.")
    quantity: Money
    quote_quantity: Money
    value: Money = Field(description="Market value in the reporting currency.")
    fee: Money
    fee_asset: str
    fee_value: Money = Field(description="The fee in the reporting currency.")
    realized_pnl: Money = Field(description="What the fill realized, after its fee; reporting currency.")
    execution: str = Field(description="trade, allocation (SOR) or prevention (STP).")
    trade_id: int
    order_id: int
    maker: bool
    strategy: str
    cycle_id: str
    sequence: int
    revision: int = Field(description="The last correction of a trade, counted from 1, that restated it; 0: none did.")


class Account(Answer):
    """One account, in its own reporting currency."""

    account: str
    reporting: str
    timestamp: Instant = Field(description="The time of the prices.")
    last_event: Instant = Field(description="The newest event in the books.")
    sequence: int = Field(description="Events applied.")
    log_position: str = Field(description="account@partition:offset of the log of record.")
    equity: Money
    net_flows: Money
    realized_pnl: Money
    unrealized_pnl: Money
    fees: Money


class CashFlow(Answer):
    """What was paid in, or out where quantity and value are negative."""

    account: str
    id: str
    time: Instant
    kind: str = Field(description="deposit, withdrawal, reward, ...; opening: sold without an acquisition.")
    asset: str
    quantity: Money
    value: Money = Field(description="Market value at its time; the account's reporting currency.")
    sequence: int


class AssetFees(Answer):
    """The fees of fills that were paid in one asset."""

    asset: str
    quantity: Money = Field(description="Of the asset.")
    value: Money = Field(description="Market value when paid; reporting currency.")
    fills: int


class SymbolFees(Answer):
    """The fees of one symbol."""

    symbol: str
    fees: Money


class Fees(Answer):
    """Fees, in two ways that each add up to `fees`, which is the figure of the overview."""

    reporting: str
    fees: Money
    by_asset: list[AssetFees]
    by_symbol: list[SymbolFees]


class Reconciliation(Answer):
    """The ledger against the exchange."""

    agrees: bool = Field(description="Whether they agree to the last digit on every asset.")
    timestamp: Instant | None = Field(description="The newest balance that the exchange has told; null before any.")
    compared: int = Field(description="Assets of which the exchange has told its balance.")
    differences: list[Balance]
