"""The row of an account, and how updates and marks move it on."""

from dataclasses import dataclass, replace
from decimal import Decimal

from infra.postgres.errors import JournalGap
from infra.postgres.rows import Row, decode_marks, encode_marks
from portfolio import LogPosition
from portfolio.snapshots import AccountSnapshot, LedgerUpdate

ACCOUNT_COLUMNS = (
    "account",
    "reporting",
    "sequence",
    "log_partition",
    "log_offset",
    "event_time_us",
    "valued_time_us",
    "net_flows",
    "realized",
    "fees",
    "twr_index",
    "drawdown",
    "max_drawdown",
    "duplicates",
    "conflicts",
    "book_marks",
    "marks",
    "revision",
    "checksum",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountState:
    """An account as it is stored: the book's totals at one log position, and the newest prices.

    Equity and unrealized PnL are not stored: a reader values the balances, which are of the same log position, at
    `marks`, so that no answer can mix two positions.

    Attributes:
        valued_time_us: The time of `marks`.
        book_marks: Asset to price, as the book knew it at this log position.
        marks: Asset to price, the newest known. Prices of assets that are no longer held may linger.
        revision: How many trade corrections the account takes into account.
        checksum: Of the encoded book at this log position.
    """

    account: str
    reporting: str
    sequence: int
    log_partition: int
    log_offset: int
    event_time_us: int
    valued_time_us: int
    net_flows: Decimal
    realized: Decimal
    fees: Decimal
    twr_index: Decimal
    drawdown: Decimal
    max_drawdown: Decimal
    duplicates: int
    conflicts: int
    book_marks: dict[str, Decimal]
    marks: dict[str, Decimal]
    revision: int = 0
    checksum: str = ""

    @classmethod
    def from_row(cls, row: Row) -> "AccountState":
        """From the columns in the order of `ACCOUNT_COLUMNS`."""
        values = dict(zip(ACCOUNT_COLUMNS, row, strict=True))
        return cls(
            **{**values, "book_marks": decode_marks(values["book_marks"]), "marks": decode_marks(values["marks"])}
        )

    def row(self) -> Row:
        """The columns in the order of `ACCOUNT_COLUMNS`."""
        values = {name: getattr(self, name) for name in ACCOUNT_COLUMNS}
        values |= {"book_marks": encode_marks(self.book_marks), "marks": encode_marks(self.marks)}
        return tuple(values.values())

    def has_seen(self, position: LogPosition) -> bool:
        """Whether what a record of the log did is stored already."""
        return position.offset <= self.log_offset


def after_update(state: AccountState | None, update: LedgerUpdate) -> AccountState:
    """The account after the next update of its journal.

    Raises:
        JournalGap: Updates between what is stored and this one are missing.
    """
    first = update.booked[0].sequence if update.booked else update.snapshot.sequence + 1
    require_sequence(state, update.account, first - 1)
    return after_restatement(state, update)


def after_restatement(state: AccountState | None, update: LedgerUpdate) -> AccountState:
    """The account after an update that may count its events anew."""
    snapshot = update.snapshot
    return AccountState(
        account=update.account,
        reporting=update.reporting,
        sequence=snapshot.sequence,
        log_partition=update.position.partition,
        log_offset=update.position.offset,
        event_time_us=snapshot.event_time_us,
        valued_time_us=max(snapshot.valued_time_us, 0 if state is None else state.valued_time_us),
        net_flows=snapshot.net_flows,
        realized=snapshot.realized,
        fees=snapshot.fees,
        twr_index=snapshot.twr_index,
        drawdown=snapshot.drawdown,
        max_drawdown=snapshot.max_drawdown,
        duplicates=update.duplicates + (0 if state is None else state.duplicates),
        conflicts=update.conflicts + (0 if state is None else state.conflicts),
        book_marks=snapshot.marks,
        marks=_merged_marks(state, snapshot),
        revision=snapshot.revision,
        checksum=snapshot.checksum,
    )


def after_marks(state: AccountState, snapshot: AccountSnapshot) -> AccountState:
    """The account at newer prices; older ones change nothing."""
    if snapshot.valued_time_us <= state.valued_time_us:
        return state
    return replace(state, valued_time_us=snapshot.valued_time_us, marks={**state.marks, **snapshot.marks})


def _merged_marks(state: AccountState | None, snapshot: AccountSnapshot) -> dict[str, Decimal]:
    """The book's prices where the update brought them; the live ones, which are newer, where it did not."""
    if state is None:
        return snapshot.marks
    if snapshot.valued_time_us < state.valued_time_us:
        return {**snapshot.marks, **state.marks}
    brought = {asset: mark for asset, mark in snapshot.marks.items() if state.book_marks.get(asset) != mark}
    return {**state.marks, **brought}


def require_sequence(state: AccountState | None, account: str, sequence: int) -> None:
    """Make sure that what is stored ends with an event.

    Raises:
        JournalGap: It does not.
    """
    stored = 0 if state is None else state.sequence
    if stored != sequence:
        raise JournalGap(account, expected=stored + 1, found=sequence + 1)
