"""What is told about a book: the account, its positions, its balances, at one log position.

Snapshots are derived from a book and its marks, never edited, and each carries the log position it is true at. Money
is in the reporting currency unless an asset is named.
"""

from collections.abc import Iterable, Mapping
from decimal import Decimal
from enum import StrEnum

import msgspec

from portfolio.book import Book, LogPosition, book_checksum, encode_book
from portfolio.journal import Booked
from portfolio.ledger import Outcome
from portfolio.money import ZERO, exact_arithmetic
from portfolio.positions import Position
from portfolio.reconciliation import Difference, reconcile
from portfolio.valuation import AccountValue, HoldingValue, value_book

CHECKPOINT_EVENTS = 5_000
"""A checkpoint is made after the first record, and where the number of events passes a multiple of this."""


class PositionStatus(StrEnum):
    """Whether the round trip has ended."""

    OPEN = "open"
    CLOSED = "closed"


class AccountSnapshot(msgspec.Struct, frozen=True, kw_only=True):
    """An account, whole: `equity == net_flows + realized + unrealized`, exactly."""

    account: str
    reporting: str
    sequence: int
    """Events applied; grows by one with each."""
    position: LogPosition | None
    event_time_us: int
    """The newest event that was applied."""
    valued_time_us: int
    """The time of the marks; the event's own where no newer ones were known."""
    equity: Decimal
    net_flows: Decimal
    realized: Decimal
    unrealized: Decimal
    total_pnl: Decimal
    fees: Decimal
    twr_index: Decimal
    """Time-weighted return index at the last valuation point, 1 at the start."""
    drawdown: Decimal
    max_drawdown: Decimal
    marks: dict[str, Decimal]
    """The price at which each holding is valued."""
    revision: int = 0
    """How many trade corrections it takes into account: what was told at a lower one may be restated."""
    checksum: str = ""
    """Of the encoded book at this log position; empty where only the marks moved."""


class PositionSnapshot(msgspec.Struct, frozen=True, kw_only=True):
    """A position, open or closed."""

    account: str
    reporting: str
    id: str
    asset: str
    symbol: str
    symbols: tuple[str, ...]
    side: str
    status: PositionStatus
    quantity: Decimal
    peak_quantity: Decimal
    entry_price: Decimal | None
    exit_price: Decimal | None
    cost: Decimal
    """Cost basis of what is held; zero once closed."""
    mark: Decimal | None
    unrealized: Decimal
    realized: Decimal
    fees: Decimal
    fills: int
    missing_quantity: Decimal
    open_time_us: int
    close_time_us: int | None
    sequence: int
    position: LogPosition | None
    revision: int = 0
    """The newest trade correction that restated it; 0: none did."""


class BalanceSnapshot(msgspec.Struct, frozen=True, kw_only=True):
    """An asset, with ledger and exchange side by side. A `quantity` of zero means it is held no more."""

    account: str
    reporting: str
    asset: str
    quantity: Decimal
    """What the ledger holds."""
    cost: Decimal
    average_cost: Decimal | None
    mark: Decimal | None
    value: Decimal
    unrealized: Decimal
    free: Decimal | None
    """The exchange's own figures; None before it has told any."""
    locked: Decimal | None
    exchange_time_us: int | None
    difference: Decimal
    """Exchange less ledger; zero when they agree."""
    reason: str
    """What the difference looks like; empty when they agree."""
    sequence: int
    position: LogPosition | None


class Restatement(msgspec.Struct, frozen=True, kw_only=True):
    """A trade correction changed the past: everything from an event on is told again, page by page.

    A page tells of one record of the log as the correction left it; the last one is of the correction's own record.
    Whoever keeps a copy puts all of them in the place of what it has from `first_sequence` on, at once, when it has the
    last.
    """

    correction_id: str
    position: LogPosition
    """Where the correction stands in the log."""
    first_sequence: int
    """The first event that is told again."""
    previous_sequence: int
    """The account's last event before the correction, as it was counted until then."""
    page: int
    """Counted from 0."""
    is_last: bool


class LedgerUpdate(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that one record of the log changed in an account. Applied whole, in order, it keeps any copy right."""

    account: str
    reporting: str
    position: LogPosition
    booked: tuple[Booked, ...]
    duplicates: int
    conflicts: int
    snapshot: AccountSnapshot
    positions: tuple[PositionSnapshot, ...]
    """Positions that opened, changed or closed."""
    balances: tuple[BalanceSnapshot, ...]
    """Assets whose holding or exchange balance changed."""
    checkpoint: bytes | None = None
    """The whole book after it, every few thousand events: where folding the past anew may begin."""
    restatement: Restatement | None = None
    """Set where it takes the place of what was told before."""

    @property
    def is_past(self) -> bool:
        """Whether it tells again of a state that the account has left behind since."""
        return self.restatement is not None and not self.restatement.is_last


def describe_update(
    outcome: Outcome, position: LogPosition, *, encoded: bytes | None = None, restatement: Restatement | None = None
) -> LedgerUpdate:
    """Tell what folding one record of the log came to.

    Args:
        outcome: What it came to.
        position: Where the record is.
        encoded: The book of the outcome, where it was encoded already.
        restatement: Set where this takes the place of what was told before.
    """
    book = outcome.book
    encoded = encode_book(book) if encoded is None else encoded
    value = value_book(book)
    revision = max((booked.revision for booked in outcome.booked), default=0)
    return LedgerUpdate(
        account=book.account,
        reporting=book.reporting,
        position=position,
        booked=outcome.booked,
        duplicates=outcome.duplicates,
        conflicts=len(outcome.conflicts),
        snapshot=msgspec.structs.replace(
            describe_account(book, value, valued_time_us=book.event_time_us), checksum=book_checksum(encoded)
        ),
        positions=tuple(
            msgspec.structs.replace(snapshot, revision=revision) if revision else snapshot
            for snapshot in (
                *describe_closed(book, outcome.booked),
                *describe_open(book, value, outcome.touched),
            )
        ),
        balances=describe_balances(book, value, outcome.touched),
        checkpoint=encoded if _passes_checkpoint(outcome) else None,
        restatement=restatement,
    )


def _passes_checkpoint(outcome: Outcome) -> bool:
    before = outcome.book.sequence - len(outcome.booked)
    return (
        before == 0 and outcome.book.sequence > 0
    ) or before // CHECKPOINT_EVENTS != outcome.book.sequence // CHECKPOINT_EVENTS


def describe_account(book: Book, value: AccountValue, *, valued_time_us: int) -> AccountSnapshot:
    """The account at the marks that `value` was made with, which were seen at `valued_time_us`."""
    return AccountSnapshot(
        account=book.account,
        reporting=book.reporting,
        sequence=book.sequence,
        position=book.position,
        event_time_us=book.event_time_us,
        valued_time_us=valued_time_us,
        equity=value.equity,
        net_flows=value.net_flows,
        realized=value.realized,
        unrealized=value.unrealized,
        total_pnl=value.total_pnl,
        fees=value.fees,
        twr_index=book.returns.index,
        drawdown=book.returns.drawdown,
        max_drawdown=book.returns.max_drawdown,
        marks={line.asset: line.mark for line in value.holdings if line.mark is not None},
        revision=book.revision,
    )


def describe_open(book: Book, value: AccountValue, assets: Iterable[str] | None = None) -> tuple[PositionSnapshot, ...]:
    """The open positions of the given assets, or all."""
    lines = {line.asset: line for line in value.holdings}
    snapshots = []
    for asset in lines if assets is None else assets:
        holding = book.holdings.get(asset)
        if holding is not None and holding.position is not None:
            snapshots.append(_describe_position(book, holding.position, lines[asset]))
    return tuple(snapshots)


def describe_closed(book: Book, booked: Iterable[Booked]) -> tuple[PositionSnapshot, ...]:
    """The positions that the booked events closed."""
    return tuple(_describe_position(book, closed, None) for event in booked for closed in event.closed)


def describe_balances(
    book: Book, value: AccountValue, assets: Iterable[str] | None = None
) -> tuple[BalanceSnapshot, ...]:
    """The balances of the given assets, or of every asset that the ledger or the exchange holds."""
    lines = {line.asset: line for line in value.holdings}
    differences = {difference.asset: difference for difference in reconcile(book)}
    names = dict.fromkeys((*lines, *book.exchange)) if assets is None else assets
    return tuple(_describe_balance(book, asset, lines.get(asset), differences) for asset in names)


def _describe_position(book: Book, position: Position, line: HoldingValue | None) -> PositionSnapshot:
    cost = ZERO if line is None else line.cost
    with exact_arithmetic():
        entry_price = position.entry_price(cost)
    return PositionSnapshot(
        account=book.account,
        reporting=book.reporting,
        id=position.id,
        asset=position.asset,
        symbol=position.symbol,
        symbols=position.symbols,
        side=position.side,
        status=PositionStatus.OPEN if position.is_open else PositionStatus.CLOSED,
        quantity=position.quantity,
        peak_quantity=position.peak_quantity,
        entry_price=entry_price,
        exit_price=position.exit_price,
        cost=cost,
        mark=book.rate(position.asset) if line is None else line.mark,
        unrealized=ZERO if line is None else line.unrealized,
        realized=position.realized,
        fees=position.fees,
        fills=position.fills,
        missing_quantity=position.missing_quantity,
        open_time_us=position.open_time_us,
        close_time_us=position.close_time_us,
        sequence=book.sequence,
        position=book.position,
    )


def _describe_balance(
    book: Book, asset: str, line: HoldingValue | None, differences: Mapping[str, Difference]
) -> BalanceSnapshot:
    told = book.exchange.get(asset)
    difference = differences.get(asset)
    return BalanceSnapshot(
        account=book.account,
        reporting=book.reporting,
        asset=asset,
        quantity=ZERO if line is None else line.quantity,
        cost=ZERO if line is None else line.cost,
        average_cost=None if line is None else line.average_cost,
        mark=book.rate(asset) if line is None else line.mark,
        value=ZERO if line is None else line.value,
        unrealized=ZERO if line is None else line.unrealized,
        free=None if told is None else told.free,
        locked=None if told is None else told.locked,
        exchange_time_us=None if told is None else told.time_us,
        difference=ZERO if difference is None else difference.difference,
        reason="" if difference is None else difference.reason.value,
        sequence=book.sequence,
        position=book.position,
    )
