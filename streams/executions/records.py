"""The records of executions that bots announced, and of what does not fit the exchange's fills."""

from decimal import Decimal
from typing import Annotated, Literal

import msgspec

from portfolio.errors import InvalidEvent
from portfolio.events import TIME_US_MAX, TIME_US_MIN, Side
from portfolio.money import ZERO, checked, plain
from streams.records import Codec

AccountName = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._@-]{0,99}\Z")]
Word = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
Number = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
Text = Annotated[str, msgspec.Meta(max_length=200)]


class ExecutionRecord(msgspec.Struct, frozen=True, kw_only=True):
    """`portfolio.executions`: an execution as a trading bot announced it; the exchange's own word is on the log.

    Attributes:
        account: Name of the account, which is also the key.
        symbol: Instrument, in the exchange's spelling.
        side: BUY or SELL.
        price: Of one unit of the base asset, in the quote asset.
        quantity: Of the base asset.
        fee: What was paid, of `fee_asset`; negative: a rebate. None: the bot does not know.
        fee_asset: Asset of the fee.
        trade_id: The exchange's number of the trade; None: the bot does not know.
        order_id: The exchange's number of the order; None: the bot does not know.
        client_order_id: The bot's own name of the order.
        strategy: The strategy that traded.
        cycle_id: The bot's round of orders that belong together.
        event_time_us: When it was executed, epoch microseconds.
        source: Where it was announced: `redis:` and the stream or channel.
    """

    schema: Literal["execution"] = "execution"
    version: int = 1
    account: AccountName
    symbol: Word
    side: Side
    price: Decimal
    quantity: Decimal
    fee: Decimal | None = None
    fee_asset: Text = ""
    trade_id: Number | None = None
    order_id: Number | None = None
    client_order_id: Text = ""
    strategy: Text = ""
    cycle_id: Text = ""
    event_time_us: Annotated[int, msgspec.Meta(ge=TIME_US_MIN, le=TIME_US_MAX)]
    source: Text = ""

    def __post_init__(self) -> None:
        if checked(self.price) <= ZERO or checked(self.quantity) <= ZERO:
            raise InvalidEvent("price and quantity must be positive")
        if self.fee is not None and checked(self.fee) and not self.fee_asset:
            raise InvalidEvent("the fee needs a fee_asset")

    @property
    def identity(self) -> str:
        """What two announcements of one execution have in common, within an account.

        The exchange's trade and order id where the bot knows the trade; else all that it says of the execution.
        """
        if self.trade_id is not None:
            return f"{self.symbol} trade {self.trade_id} {'' if self.order_id is None else self.order_id}"
        numbers = f"{self.side} {plain(self.price)} {plain(self.quantity)} {self.event_time_us}"
        return f"{self.symbol} order {self.order_id} {self.client_order_id} {numbers}"


class FindingRecord(msgspec.Struct, frozen=True, kw_only=True):
    """`portfolio.execution-findings`: what does not fit between bots and exchange, and again when it fits after all.

    Attributes:
        account: Name of the account, which is also the key.
        identity: What names the execution, or the fill, within the account; the last record of one counts.
        symbol: Instrument.
        finding: An execution without its fill, a fill without its execution, or two that differ.
        trade_id: The exchange's number of the trade, as far as it is known.
        order_id: Likewise of the order.
        strategy: The strategy that announced it; empty for a fill that nobody announced.
        cycle_id: Likewise.
        detail: What does not fit, in words.
        found_time_us: When it was found; epoch microseconds.
        cleared_time_us: When it was found to fit after all; None while it does not.
    """

    schema: Literal["execution-finding"] = "execution-finding"
    version: int = 1
    account: str
    identity: str
    symbol: str
    finding: Literal["missing-fill", "unannounced-fill", "different"]
    trade_id: int | None
    order_id: int | None
    strategy: str
    cycle_id: str
    detail: str
    found_time_us: int
    cleared_time_us: int | None


execution_records = Codec(ExecutionRecord)
finding_records = Codec(FindingRecord)
