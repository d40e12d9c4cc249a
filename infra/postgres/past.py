"""The past: each account as it was at a moment, folded anew from its events by the ledger's own rules.

The nearest checkpoint before the moment keeps the fold short. Lists are read from the same tables as those of the
present, up to the event at which the books stood.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Final

import asyncpg

from infra.postgres import queries
from infra.postgres.accounts import AccountState
from infra.postgres.lines import BalanceLine, PositionLine, SymbolLine
from infra.postgres.pages import TIME_US_MAX, Page, PositionKey, page_of
from infra.postgres.rows import decode_events
from infra.postgres.view import PositionFilter, SymbolTotal, View, symbol_lines
from portfolio import Book, Event, LogPosition, decode_book, fold, new_book
from portfolio.book import book_checksum, encode_book
from portfolio.snapshots import BalanceSnapshot, PositionSnapshot, describe_account, describe_balances, describe_open
from portfolio.valuation import value_book

_PAGES_AT_ONCE: Final = 200


@dataclass(frozen=True, slots=True)
class Moment:
    """When to look: a time, or a position in the log of each account that is looked at.

    Attributes:
        time_us: Epoch microseconds: the books before the first event of the log that is later. None: `offsets`.
        offsets: Account to partition and offset of the last record of the log that counts.
    """

    time_us: int | None = None
    offsets: Mapping[str, LogPosition] | None = None

    def includes(self, account: str) -> bool:
        """Whether the account is looked at."""
        return self.offsets is None or account in self.offsets


class PastView(View):
    """The accounts at a moment of the past."""

    def __init__(
        self,
        connection: asyncpg.pool.PoolConnectionProxy,
        present: Mapping[str, AccountState],
        books: Mapping[str, Book],
    ) -> None:
        """Look at accounts as they were.

        Args:
            connection: In a transaction that sees one state of the database.
            present: The accounts as they are.
            books: The accounts as they were; those that had not begun are left out.
        """
        super().__init__(connection, {name: _state_of(present[name], book) for name, book in books.items()})
        self._books = books
        self._seen = [book.sequence for book in books.values()]
        self._end_us = self._newest_us

    async def balances(self) -> list[BalanceLine]:
        """What was held, by the ledger or the exchange; most valuable first."""
        lines = [
            _balance_line(told, book.event_time_us)
            for book in self._books.values()
            for told in describe_balances(book, value_book(book))
            if told.quantity or told.cost or told.free or told.locked or told.difference
        ]
        return sorted(lines, key=lambda line: (-line.value, line.asset, line.account))

    async def positions(
        self, status: PositionFilter, *, symbol: str | None = None, limit: int, after: PositionKey | None = None
    ) -> Page[PositionLine, PositionKey]:
        """Positions, newest first: one that had closed by its end, one that was open by its start."""
        lines = [] if status == "open" else await self._position_lines("closed", symbol, limit + 1, after)
        if status != "closed":
            lines += [line for line in self._open() if symbol is None or symbol in line.symbols]
        keys = {_key(line): line for line in lines}
        order = sorted(keys, key=_place, reverse=True)
        following = [keys[key] for key in order if after is None or _place(key) < _place(after)]
        return page_of(following, limit, _key)

    async def count_open_positions(self) -> int:
        """How many positions were open."""
        return sum(holding.position is not None for book in self._books.values() for holding in book.holdings.values())

    async def symbols(self) -> list[SymbolLine]:
        """PnL by symbol, over all accounts of the view; what had earned most first."""
        totals: dict[str, SymbolTotal] = {}
        for book in self._books.values():
            for symbol, told in book.symbols.items():
                more = SymbolTotal(told.realized, told.fees, told.volume, told.fills)
                totals[symbol] = totals.get(symbol, SymbolTotal()).plus(more)
        openers = {(line.account, line.asset): line.symbol for line in self._open()}
        return symbol_lines(totals, await self.balances(), openers)

    def _open(self) -> list[PositionLine]:
        return [_position_line(told) for book in self._books.values() for told in describe_open(book, value_book(book))]


async def books_at(
    connection: asyncpg.pool.PoolConnectionProxy, present: Mapping[str, AccountState], moment: Moment
) -> dict[str, Book]:
    """The books at a moment, of the accounts that had begun by then."""
    books = {name: await book_at(connection, state, moment) for name, state in present.items() if moment.includes(name)}
    return {name: book for name, book in books.items() if book.sequence}


async def book_at(connection: asyncpg.pool.PoolConnectionProxy, state: AccountState, moment: Moment) -> Book:
    """The book of an account at a moment; an empty one, if the account had not begun."""
    last_sequence = await _last_sequence(connection, state, moment)
    row = await connection.fetchrow(queries.SELECT_CHECKPOINT, state.account, last_sequence)
    if row is None:
        return new_book(state.account, state.reporting)
    book = decode_book(row["book"])
    if row["sequence"] > last_sequence:
        book = new_book(state.account, state.reporting, book.cash_assets)
    while book.sequence < last_sequence:
        pages = await connection.fetch(
            queries.SELECT_PAGES, state.account, book.sequence, last_sequence, _PAGES_AT_ONCE
        )
        if not pages:
            break
        book = await asyncio.to_thread(_folded, book, pages, last_sequence)
    return book


def _folded(book: Book, pages: list[asyncpg.Record], last_sequence: int) -> Book:
    for page in pages:
        events: tuple[Event, ...] = decode_events(page["events"])
        counting = events[: last_sequence - page["first_sequence"] + 1]
        book = fold(book, counting, position=LogPosition(page["log_partition"], page["log_offset"])).book
    return book


async def _last_sequence(connection: asyncpg.pool.PoolConnectionProxy, state: AccountState, moment: Moment) -> int:
    """The last event of an account that counts."""
    if moment.offsets is not None:
        position = moment.offsets[state.account]
        found = await connection.fetchval(queries.SELECT_SEQUENCE_AT, state.account, position.offset)
        return int(found or 0)
    row = await connection.fetchrow(queries.SELECT_PAGE_AFTER, state.account, moment.time_us)
    if row is None:
        return state.sequence
    events = decode_events(row["events"])
    earlier = next(number for number, event in enumerate(events) if event.time_us > (moment.time_us or 0))
    return int(row["first_sequence"]) + earlier - 1


def _state_of(present: AccountState, book: Book) -> AccountState:
    position = book.position
    marks = {asset: mark.rate for asset, mark in book.marks.items()}
    told = describe_account(book, value_book(book), valued_time_us=book.event_time_us)
    return replace(
        present,
        sequence=book.sequence,
        log_partition=present.log_partition if position is None else position.partition,
        log_offset=present.log_offset if position is None else position.offset,
        event_time_us=book.event_time_us,
        valued_time_us=book.event_time_us,
        net_flows=told.net_flows,
        realized=told.realized,
        fees=told.fees,
        twr_index=told.twr_index,
        drawdown=told.drawdown,
        max_drawdown=told.max_drawdown,
        book_marks=marks,
        marks=marks,
        checksum=book_checksum(encode_book(book)),
    )


def _balance_line(told: BalanceSnapshot, valued_time_us: int) -> BalanceLine:
    values = {name: getattr(told, name) for name in _BALANCE_FIELDS}
    return BalanceLine(**values, valued_time_us=valued_time_us)


def _position_line(told: PositionSnapshot) -> PositionLine:
    values = {name: getattr(told, name) for name in _POSITION_FIELDS}
    return PositionLine(**values, status=told.status.value, current_price=told.mark)


_BALANCE_FIELDS: Final = {field.name for field in fields(BalanceLine)} - {"valued_time_us"}
_POSITION_FIELDS: Final = {field.name for field in fields(PositionLine)} - {"status", "current_price"}


def _key(line: PositionLine) -> PositionKey:
    return PositionKey(TIME_US_MAX, line.place_us(), line.id, line.account)


def _place(key: PositionKey) -> tuple[int, str, str]:
    return key.time_us, key.id, key.account
