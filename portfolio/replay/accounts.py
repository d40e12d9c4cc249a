"""Fold the lines of a file into the books of its accounts."""

from collections.abc import Iterable, Iterator

from portfolio.book import Book, SymbolTotals, new_book
from portfolio.duplicates import Novelty, fingerprint
from portfolio.errors import InvalidEvent
from portfolio.events import ExecutionKind, Fill, Marks
from portfolio.journal import Booked
from portfolio.ledger import fold
from portfolio.positions import Position
from portfolio.replay.lines import InvalidLine, Line

_PAGE = 1_000

_Identity = tuple[str, ExecutionKind, int, int]


class AccountReplay:
    """One account of the file: its book so far, and what its journal said on the way.

    A file may be out of the order of trade ids, which the stream never is, so every fill of the file is remembered.
    """

    def __init__(self, book: Book, *, keep_journal: bool) -> None:
        self.book = book
        self.journal: list[Booked] = []
        """What every event did, where it was asked to be kept."""
        self.closed: list[Position] = []
        self.warnings: list[str] = []
        self.duplicates = 0
        self._keep_journal = keep_journal
        self._pending: list[Line] = []
        self._seen: dict[_Identity, int] = {}

    def add(self, line: Line) -> None:
        """Take the next event; it is folded with its page.

        Raises:
            InvalidLine: An event of the page cannot be booked.
        """
        self._pending.append(line)
        if len(self._pending) >= _PAGE:
            self.flush()

    def flush(self) -> None:
        """Fold what is pending.

        Raises:
            InvalidLine: An event cannot be booked, or contradicts one that was booked under the same identifier.
        """
        page, self._pending = self._pending, []
        try:
            outcome = fold(self.book, (line.event for line in page), classify=self._classify)
        except InvalidEvent as error:
            raise InvalidLine(page[error.index or 0].number, str(error)) from error
        for conflict in outcome.conflicts:
            number = next(line.number for line in page if line.event is conflict)
            raise InvalidLine(number, "this identifier was booked before, with other content")
        self.book = outcome.book
        self.duplicates += outcome.duplicates
        self.warnings.extend(outcome.warnings)
        if self._keep_journal:
            self.journal.extend(outcome.booked)
        self.closed.extend(position for booked in outcome.booked for position in booked.closed)

    def _classify(self, fill: Fill, _totals: SymbolTotals) -> Novelty:
        identity = (fill.symbol, fill.execution, fill.trade_id, fill.order_id)
        content = fingerprint(fill)
        known = self._seen.get(identity)
        if known is None:
            self._seen[identity] = content
            return Novelty.NEW
        return Novelty.DUPLICATE if known == content else Novelty.CONFLICT


class Replay:
    """The books of every account in a file, in order of appearance."""

    def __init__(self, reporting: str, cash_assets: Iterable[str], *, keep_journal: bool = False) -> None:
        self._keep_journal = keep_journal
        self._reporting = reporting
        self._cash_assets = tuple(cash_assets)
        self._accounts: dict[str, AccountReplay] = {}
        self._marks: list[Line] = []

    def read(self, lines: Iterable[Line]) -> Iterator[int]:
        """Fold lines, in order; yields the number of each, for progress.

        Raises:
            InvalidLine: A line is malformed or cannot be booked.
        """
        for line in lines:
            if line.account is not None:
                self._account(line.account).add(line)
            elif isinstance(line.event, Marks):
                self._marks.append(line)
                for account in self._accounts.values():
                    account.add(line)
            yield line.number
        for account in self._accounts.values():
            account.flush()

    @property
    def accounts(self) -> tuple[AccountReplay, ...]:
        """The accounts, in order of appearance."""
        return tuple(self._accounts.values())

    def _account(self, name: str) -> AccountReplay:
        if name not in self._accounts:
            account = AccountReplay(new_book(name, self._reporting, self._cash_assets), keep_journal=self._keep_journal)
            for marks in self._marks:
                account.add(marks)
            self._accounts[name] = account
        return self._accounts[name]
