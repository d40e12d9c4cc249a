"""What the API answers.

Money, quantities and prices are JSON strings in plain notation: a JSON number is read as a binary float by most
clients, and a float cannot hold `0.1`. Ratios and statistics, which are floats to begin with, are JSON numbers; one
that the data do not determine is null. Times are RFC 3339 in UTC, with microseconds.
"""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, PlainSerializer, WithJsonSchema

from portfolio.money import plain

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def rfc3339(time_us: int) -> str:
    """A time as text: `2026-01-01T00:00:00.000000Z`."""
    return f"{_EPOCH + timedelta(microseconds=time_us):%Y-%m-%dT%H:%M:%S.%f}Z"


def instant_us(text: str) -> int:
    """The inverse of `rfc3339`, for any offset from UTC.

    Raises:
        ValueError: The text is no time, or one without an offset.
    """
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"{text!r} has no offset from UTC")
    return (moment - _EPOCH) // timedelta(microseconds=1)


Money = Annotated[
    Decimal,
    PlainSerializer(plain, return_type=str),
    WithJsonSchema({"type": "string", "pattern": r"^-?[0-9]+(\.[0-9]*[1-9])?$", "description": "An exact decimal."}),
]
Instant = Annotated[
    int,
    PlainSerializer(rfc3339, return_type=str),
    WithJsonSchema({"type": "string", "format": "date-time"}),
]


class Answer(BaseModel):
    """Base of what is answered."""

    model_config = ConfigDict(frozen=True)


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


class Metrics(Answer):
    """What was earned in a period, and at what risk. Fractions, but for `roi_percent`."""

    period: str
    accounts: list[str]
    reporting: str
    timestamp: Instant | None = Field(description="The end of the period: the newest prices in the books.")
    start: Instant | None = Field(description="First valuation point that counts.")
    total_pnl: Money = Field(description="Earned in the period: equity at its end, less at its start, less flows.")
    realized_pnl: Money
    unrealized_pnl: Money = Field(description="Its change in the period.")
    roi_percent: float | None = Field(description="total_pnl in percent of the invested capital (Modified Dietz).")
    time_weighted_return: float | None
    money_weighted_return: float | None = Field(description="XIRR, a rate a year.")
    cagr: float | None
    volatility: float | None = Field(description="Of daily returns, annualised with 365 days.")
    sharpe_ratio: float | None
    sortino_ratio: float | None
    calmar_ratio: float | None
    max_drawdown: float | None = Field(description="Of the time-weighted index: 0 or a negative fraction.")
    win_rate: float | None = Field(description="Closed round trips with a gain over all; 0.6 is 60 %.")
    profit_factor: float | None
    expectancy: float | None = Field(description="Mean gain of a closed round trip, reporting currency.")
    closed_round_trips: int
    undefined: dict[str, str] = Field(description="Name of each statistic that is null to the reason.")


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


class EquityPoint(Answer):
    """A point of the equity curve."""

    time: Instant
    equity: Money


class Health(Answer):
    """Whether the process answers, and is of use."""

    status: Literal["ok"] = "ok"


Connection = Literal["connected", "disconnected", "unknown"]


SyncStatus = Literal["live", "syncing", "stale", "failed", "unknown"]


class AccountStatus(Answer):
    """The state of one account."""

    account: str
    sync_status: SyncStatus
    gateway_state: str | None = Field(description="What the gateway says of it.")
    sync_lag_seconds: float | None = Field(description="Age of the newest prices in its book.")


class Status(Answer):
    """The state of the pipeline, part by part."""

    account: str = Field(description="The account that is told of; of several, the one that is worst off.")
    accounts: list[AccountStatus] = Field(description="Every account that was asked for.")
    sync_status: SyncStatus = Field(
        description="live: events arrive and prices are fresh, in every account; syncing: the gateway is catching up; "
        "stale: prices are older than they should be; failed: a person must clear something; unknown: nobody has told."
    )
    gateway_state: str | None = Field(description="What the gateway says of itself.")
    last_sync: Instant | None = Field(description="Last full comparison with the exchange.")
    last_event: Instant | None = Field(description="The newest event in the books.")
    last_valuation: Instant | None = Field(description="The time of the newest prices in the books.")
    sync_lag_seconds: float | None = Field(description="Age of the newest prices in the books.")
    sync_errors: int | None
    api_response_time_ms: float | None = Field(description="The exchange's REST API, as the gateway last measured.")
    database_connection: Connection
    database_response_time_ms: float | None
    redis_connection: Connection
    redis_response_time_ms: float | None
    kafka_connection: Connection
    binance_connection: Connection = Field(description="As the gateway says.")
    log_position: str | None = Field(description="account@partition:offset of the log of record.")
    duplicates: int = Field(description="Events that were refused because they had been applied.")
    conflicts: int = Field(description="Events that were refused because they contradict what had been applied.")
    problems: list[str] = Field(description="What is wrong, each with its remedy.")


class Problem(Answer):
    """What went wrong (RFC 9457), as `application/problem+json`."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str = Field(description="What is wrong, and what to do about it.")
    instance: str = Field(description="The path that was asked for.")
