"""The records on the wire: JSON, decimals as strings, times in epoch microseconds.

Every record names its `schema` and `version`. Unknown fields are ignored, so that an older reader understands a newer
writer; a field that is added has a default, so that a newer reader understands an older log. The events and snapshots
inside are the core's own structs: there is one definition of each.
"""

import re
from decimal import Decimal
from typing import Final, Generic, Literal, TypeVar

import msgspec

from portfolio.book import LogPosition
from portfolio.errors import InvalidEvent, PortfolioError
from portfolio.events import TIME_US_MAX, TIME_US_MIN, Event, Name, Text
from portfolio.journal import Booked
from portfolio.money import ZERO, checked
from portfolio.snapshots import AccountSnapshot, BalanceSnapshot, LedgerUpdate, PositionSnapshot

EVENTS_PER_PAGE_MAX = 1_000

RecordType = TypeVar("RecordType", bound=msgspec.Struct)


class AccountEvents(msgspec.Struct, frozen=True, kw_only=True):
    """`portfolio.account-events`: one event or a page of them, in the order the exchange reported them.

    `reporting` and `cash_assets` make the book when this is the account's first record; afterwards they must agree.
    Without `cash_assets` the record goes by those of the book, which begins with the default ones.
    """

    schema: Literal["account-events"] = "account-events"
    version: int = 1
    account: str
    reporting: Name
    cash_assets: tuple[Name, ...] | None = None
    source: Text = "binance"
    events: tuple[Event, ...]


class MarksPage(msgspec.Struct, frozen=True, kw_only=True):
    """`portfolio.marks`: conflated mark prices; the same page goes to every partition.

    `rates` maps a reporting currency to the price of one unit of each asset in it.
    """

    schema: Literal["marks"] = "marks"
    version: int = 1
    time_us: int
    rates: dict[Name, dict[Name, Decimal]]
    stale: dict[Name, dict[Name, int]] = {}
    """By reporting currency, the assets whose price does not move, since a market on their path is halted or delisted,
    and the time that it was made; zero where nobody knows it. An asset that has no market at all is named only here."""

    def __post_init__(self) -> None:
        if not TIME_US_MIN <= self.time_us <= TIME_US_MAX:
            raise InvalidEvent(f"time {self.time_us} is not an epoch time in microseconds from 2009 to 2100")
        for rates in self.rates.values():
            for asset, rate in rates.items():
                if checked(rate) < ZERO:
                    raise InvalidEvent(f"the rate of {asset} is negative")


class PnlRecord(msgspec.Struct, frozen=True, kw_only=True):
    """`portfolio.pnl`: an account, after its book changed (`cause` book) or its marks moved (`cause` marks)."""

    schema: Literal["pnl"] = "pnl"
    version: int = 1
    cause: Literal["book", "marks"]
    snapshot: AccountSnapshot
    stale_marks: dict[Name, int] = {}
    """Of what is held, the assets whose mark does not move, since their market is halted or delisted, and the time that
    it was made (zero: nobody knows). Told with `cause` marks."""


class PositionRecord(msgspec.Struct, frozen=True, kw_only=True):
    """`portfolio.positions`: a position opened, changed or closed."""

    schema: Literal["position"] = "position"
    version: int = 1
    snapshot: PositionSnapshot


class BalanceRecord(msgspec.Struct, frozen=True, kw_only=True):
    """`portfolio.balances`: a balance, with ledger and exchange side by side."""

    schema: Literal["balance"] = "balance"
    version: int = 1
    snapshot: BalanceSnapshot


class TradeRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A fill as it was booked, on the live feed."""

    schema: Literal["trade"] = "trade"
    version: int = 1
    account: str
    reporting: str
    position: LogPosition
    booked: Booked


class JournalRecord(msgspec.Struct, frozen=True, kw_only=True):
    """`portfolio.journal`: everything that one record of the log changed, for whoever keeps a copy."""

    schema: Literal["journal"] = "journal"
    version: int = 1
    update: LedgerUpdate


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True):
    """`portfolio.dead-letters`: what could not be read, as it came, with the reason and where it came from."""

    schema: Literal["dead-letter"] = "dead-letter"
    version: int = 1
    topic: str
    partition: int
    offset: int
    reason: str
    time_us: int
    key: bytes | None
    value: bytes | None


class UnreadableRecord(PortfolioError, ValueError):
    """Bytes that are not a record of the expected schema."""


_NUL: Final = rb"\u0000"
_ESCAPED_NUL: Final = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")


class Codec(Generic[RecordType]):
    """JSON to a record and back.

    A text with the character NUL is refused: Postgres cannot keep it, and a record that got so far would hold up
    everything behind it.
    """

    def __init__(self, record_type: type[RecordType], *, refuses_nul: bool = True) -> None:
        """A codec of one type.

        Args:
            record_type: The struct.
            refuses_nul: False for what never goes to Postgres.
        """
        self._refuses_nul = refuses_nul
        self._decoder = msgspec.json.Decoder(record_type)
        self._encoder = msgspec.json.Encoder(decimal_format="string")

    def encode(self, record: RecordType) -> bytes:
        """The record as JSON."""
        return self._encoder.encode(record)

    def decode(self, data: bytes | None) -> RecordType:
        """The inverse of `encode`.

        Raises:
            UnreadableRecord: The bytes are no JSON, or JSON of another shape; the message says where.
        """
        if data is None:
            raise UnreadableRecord("the record has no value (a tombstone)")
        if self._refuses_nul and _NUL in data and _ESCAPED_NUL.search(data):
            raise UnreadableRecord("a text has the character NUL, which no database keeps")
        try:
            return self._decoder.decode(data)
        except (msgspec.MsgspecError, UnicodeDecodeError, PortfolioError, RecursionError) as error:
            # Bytes that are no UTF-8 within a text leave msgspec as what they are.
            raise UnreadableRecord(str(error)) from error


account_events = Codec(AccountEvents)
marks_pages = Codec(MarksPage)
pnl_records = Codec(PnlRecord)
position_records = Codec(PositionRecord)
balance_records = Codec(BalanceRecord)
journal_records = Codec(JournalRecord)
trade_records = Codec(TradeRecord)
dead_letters = Codec(DeadLetter, refuses_nul=False)
