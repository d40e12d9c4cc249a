"""The book of one account: everything that its past events leave behind.

A book is a value. `portfolio.ledger.fold` takes a book and events and returns a new book; nothing else changes one.
The invariant that every event keeps, exactly: the sum of all cost bases equals net flows plus realized. With each
holding valued at its mark, equity equals net flows plus realized plus unrealized.
"""

from collections.abc import Iterable
from decimal import Decimal
from hashlib import blake2b

import msgspec

from portfolio.errors import InvalidBook
from portfolio.events import ExecutionKind, Flow, FlowKind, TradeCorrection
from portfolio.money import ONE, ZERO, exact_arithmetic, ratio
from portfolio.positions import Holding

DEFAULT_CASH_ASSETS = frozenset({"USDT", "USDC", "FDUSD", "TUSD", "USDP", "DAI", "BUSD"})
"""Assets that have cost and gain but open no position, unless a setting says otherwise."""


class LogPosition(msgspec.Struct, frozen=True, order=True):
    """Where in the log of record a book stands: the last record that it has seen."""

    partition: int
    offset: int


class Cursor(msgspec.Struct, frozen=True, omit_defaults=True):
    """The last execution of a symbol, by kind; what is not after it was seen before.

    Executions come in order of their id. Self-trades share one id between two orders, so the orders (with a
    fingerprint of what was booked) are kept for the last id.
    """

    last_id: int
    orders: dict[int, int]


class SymbolTotals(msgspec.Struct, frozen=True, omit_defaults=True):
    """What trading one symbol has come to, in the reporting currency."""

    realized: Decimal = ZERO
    fees: Decimal = ZERO
    volume: Decimal = ZERO
    fills: int = 0
    cursors: dict[ExecutionKind, Cursor] = {}


class Mark(msgspec.Struct, frozen=True):
    """The price of one unit of an asset in the reporting currency, and when it was seen."""

    rate: Decimal
    time_us: int


class ExchangeBalance(msgspec.Struct, frozen=True, omit_defaults=True):
    """The exchange's own figure for an asset, and when it was true."""

    free: Decimal
    locked: Decimal
    time_us: int

    @property
    def total(self) -> Decimal:
        """Free and locked together."""
        with exact_arithmetic():
            return self.free + self.locked


class BookedFlow(msgspec.Struct, frozen=True):
    """What is remembered of a flow: enough to refuse it twice and to reclassify it."""

    time_us: int
    asset: str
    quantity: Decimal
    kind: FlowKind
    value: Decimal
    """Market value when it was booked; negative for what went out."""

    def is_of(self, flow: Flow) -> bool:
        """Whether this is the booking of the same flow."""
        return (self.asset, self.quantity) == (flow.asset, flow.quantity)


class BookedCorrection(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A trade correction, and what of the account's history it restated."""

    correction: TradeCorrection
    position: LogPosition
    """Where the correction stands in the log."""
    revision: int
    """1 for the account's first correction, 2 for the next."""
    first_sequence: int = 0
    """The first event that is booked in another way because of it; 0: the log has none before it."""
    sequence: int = 0
    """The correction's own sequence; 0 while a fold that knows it has not come to its place."""


class ReturnState(msgspec.Struct, frozen=True, omit_defaults=True):
    """The running time-weighted return. The index starts at 1."""

    index: Decimal = ONE
    peak: Decimal = ONE
    max_drawdown: Decimal = ZERO
    """The deepest fall of the index from a peak: a negative fraction, or zero."""
    last_equity: Decimal = ZERO
    last_time_us: int = 0
    inflow: Decimal = ZERO
    """Paid in since the last valuation point."""
    outflow: Decimal = ZERO
    """Paid out since the last valuation point, as a positive number."""

    @property
    def drawdown(self) -> Decimal:
        """How far the index is below its peak now: a negative fraction, or zero."""
        return ratio(self.index, self.peak) - ONE


class Book(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One account, in one reporting currency."""

    account: str
    reporting: str
    cash_assets: tuple[str, ...] = ()
    sequence: int = 0
    """Events applied."""
    event_time_us: int = 0
    """The newest event time seen."""
    position: LogPosition | None = None
    net_flows: Decimal = ZERO
    """Paid in less paid out, at market value."""
    realized: Decimal = ZERO
    """Gains and income taken, less fees."""
    fees: Decimal = ZERO
    """Fees paid, at their market value when paid; already inside `realized`."""
    fees_by_asset: dict[str, Decimal] = {}
    holdings: dict[str, Holding] = {}
    symbols: dict[str, SymbolTotals] = {}
    marks: dict[str, Mark] = {}
    exchange: dict[str, ExchangeBalance] = {}
    flows: dict[str, BookedFlow] = {}
    adjustments: dict[str, int] = {}
    """Identifiers of adjustments and reclassifications that were booked, with a checksum of their content."""
    corrections: dict[str, BookedCorrection] = {}
    """Trade corrections by identifier."""
    returns: ReturnState = ReturnState()

    def rate(self, asset: str) -> Decimal | None:
        """The last known price of one unit of an asset in the reporting currency."""
        if asset == self.reporting:
            return ONE
        mark = self.marks.get(asset)
        return None if mark is None else mark.rate

    def opens_position(self, asset: str) -> bool:
        """Whether a holding of the asset is a position, rather than cash."""
        return asset != self.reporting and asset not in self.cash_assets

    def has_seen(self, position: LogPosition) -> bool:
        """Whether the record at a position of the log is in the book already. Partitions are logs of their own."""
        known = self.position
        return known is not None and known.partition == position.partition and known.offset >= position.offset

    @property
    def revision(self) -> int:
        """How many trade corrections the book takes into account."""
        return sum(1 for booked in self.corrections.values() if booked.sequence)

    def copy(self) -> "Book":
        """A copy that may be changed: the values inside are immutable, the dictionaries are new."""
        return msgspec.structs.replace(
            self,
            fees_by_asset=dict(self.fees_by_asset),
            holdings=dict(self.holdings),
            symbols=dict(self.symbols),
            marks=dict(self.marks),
            exchange=dict(self.exchange),
            flows=dict(self.flows),
            adjustments=dict(self.adjustments),
            corrections=dict(self.corrections),
        )


def flow_symbol(asset: str, reporting: str) -> str:
    """The symbol under which a flow of an asset is kept: the asset against the reporting currency."""
    return asset if asset == reporting else f"{asset}{reporting}"


def new_book(account: str, reporting: str, cash_assets: Iterable[str] = DEFAULT_CASH_ASSETS) -> Book:
    """An empty book.

    Args:
        account: Name of the account.
        reporting: Currency in which costs, gains and equity are kept.
        cash_assets: Assets that have cost and gain but open no position; the reporting currency is one anyway.
    """
    return Book(account=account, reporting=reporting, cash_assets=tuple(sorted(set(cash_assets) - {reporting})))


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Book)


def encode_book(book: Book) -> bytes:
    """The book as MessagePack: the same events give the same bytes."""
    return _encoder.encode(book)


def book_checksum(encoded: bytes) -> str:
    """A checksum of an encoded book: two copies of one log position are the same where these are.

    Returns:
        BLAKE2b of 128 bits, in hex.
    """
    return blake2b(encoded, digest_size=16).hexdigest()


def decode_book(data: bytes) -> Book:
    """The inverse of `encode_book`.

    Raises:
        InvalidBook: The bytes are no book.
    """
    try:
        return _decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidBook(f"these {len(data)} bytes are not a book: {error}") from error
