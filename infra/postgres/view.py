"""A consistent view of the accounts: everything read through it is of the same log positions."""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, Final, Literal, NamedTuple, TypeAlias

import asyncpg

from infra.postgres import queries
from infra.postgres.accounts import AccountState
from infra.postgres.lines import (
    BalanceLine,
    EquityLine,
    FeeLine,
    FillLine,
    FlowLine,
    JournalSum,
    PositionLine,
    SymbolLine,
    ValuationLine,
    price_of,
    value_of,
)
from infra.postgres.pages import TIME_US_MAX, EventKey, Page, PositionKey, page_of
from portfolio.money import ZERO, exact_arithmetic

PositionFilter: TypeAlias = Literal["open", "closed", "all"]

_EVERY_MARK_SPAN_US: Final = 2 * 86_400_000_000


class View:
    """The accounts at one moment.

    Attributes:
        accounts: Name to state, in order of the name.
    """

    def __init__(self, connection: asyncpg.pool.PoolConnectionProxy, accounts: dict[str, AccountState]) -> None:
        self.accounts = accounts
        self._connection = connection
        self._names = list(accounts)
        self._seen: list[int] | None = None
        self._end_us = TIME_US_MAX

    @property
    def connection(self) -> asyncpg.pool.PoolConnectionProxy:
        """For questions of other modules to the same moment."""
        return self._connection

    @property
    def valued_time_us(self) -> int:
        """The time of the newest prices; 0 without an account."""
        return max((state.valued_time_us for state in self.accounts.values()), default=0)

    @property
    def seen(self) -> list[int] | None:
        """The last event of each account that a view of the past has seen; None: all of them."""
        return self._seen

    async def balances(self) -> list[BalanceLine]:
        """What is held, by the ledger or the exchange; most valuable first."""
        rows = await self._connection.fetch(queries.SELECT_BALANCES, self._names)
        lines = [_balance_line(self.accounts[row["account"]], row) for row in rows]
        return sorted(lines, key=lambda line: (-line.value, line.asset, line.account))

    async def positions(
        self,
        status: PositionFilter,
        *,
        symbol: str | None = None,
        limit: int,
        after: PositionKey | None = None,
    ) -> Page[PositionLine, PositionKey]:
        """Positions, newest first: a closed one by its end, an open one by its start."""
        lines = await self._position_lines(status, symbol, limit + 1, after)
        as_of_us = after.as_of_us if after else max((self._newest_us, *(line.place_us() for line in lines[:1])))
        return page_of(lines, limit, lambda line: PositionKey(as_of_us, line.place_us(as_of_us), line.id, line.account))

    async def _position_lines(
        self, status: PositionFilter, symbol: str | None, limit: int, after: PositionKey | None
    ) -> list[PositionLine]:
        rows = await self._connection.fetch(
            queries.SELECT_POSITIONS,
            self._names,
            None if status == "all" else status,
            symbol,
            limit,
            TIME_US_MAX if after is None else after.as_of_us,
            None if after is None else after.time_us,
            "" if after is None else after.id,
            "" if after is None else after.account,
            self._seen,
        )
        return [_position_line(self.accounts[row["account"]], row) for row in rows]

    async def count_open_positions(self) -> int:
        """How many positions are open."""
        count: int = await self._connection.fetchval(queries.COUNT_OPEN_POSITIONS, self._names)
        return count

    async def symbols(self) -> list[SymbolLine]:
        """PnL by symbol, over all accounts of the view; what earned most first.

        What is unrealized belongs to the symbol that opened the position; of an asset that opens none, to the asset
        against the reporting currency. So both columns add up to the account's own figures, exactly.
        """
        totals = await self._connection.fetch(queries.SELECT_SYMBOLS, self._names)
        opened = await self._connection.fetch(queries.SELECT_OPENERS, self._names)
        return symbol_lines(
            {row["symbol"]: SymbolTotal(*tuple(row)[1:]) for row in totals},
            await self.balances(),
            {(row["account"], row["asset"]): row["symbol"] for row in opened},
        )

    async def fills(self, *, symbol: str | None, limit: int, after: EventKey | None = None) -> Page[FillLine, EventKey]:
        """Fills, newest first."""
        place = (None, 0, "") if after is None else (after.time_us, after.sequence, after.account)
        rows = await self._connection.fetch(queries.SELECT_FILLS, self._names, symbol, limit + 1, *place, self._seen)
        lines = [FillLine(**dict(row)) for row in rows]
        return page_of(lines, limit, lambda line: EventKey(line.time_us, line.sequence, line.account))

    async def flows(self, *, limit: int, after: EventKey | None = None) -> Page[FlowLine, EventKey]:
        """What was paid in and out, newest first."""
        place = (None, 0, "", "") if after is None else (after.time_us, after.sequence, after.account, after.id)
        rows = await self._connection.fetch(queries.SELECT_FLOWS, self._names, limit + 1, *place, self._seen)
        lines = [FlowLine(**dict(row)) for row in rows]
        return page_of(lines, limit, lambda line: EventKey(line.time_us, line.sequence, line.account, line.id))

    async def fees(self) -> list[FeeLine]:
        """Fees by the asset that they were paid in, over all accounts of the view; the largest value first."""
        rows = await self._connection.fetch(queries.SELECT_FEES, self._names, self._seen)
        return [FeeLine(**dict(row)) for row in rows]

    async def equity(self, *, start_time_us: int, points_max: int) -> list[EquityLine]:
        """The equity curve since a time: the last point of each of `points_max` equal intervals, in order of time.

        Spans of up to two days are drawn from every mark, longer ones from the valuation points.
        """
        first_us = await self._connection.fetchval(queries.SELECT_FIRST_POINT, self._names, start_time_us, self._end_us)
        if first_us is None:
            return []
        span_us = max(self.valued_time_us - first_us, 1)
        rows = await self._connection.fetch(
            queries.SELECT_EQUITY,
            self._names,
            first_us,
            -(-span_us // points_max),
            span_us <= _EVERY_MARK_SPAN_US,
            self._end_us,
            self._seen,
        )
        return [EquityLine(**dict(row)) for row in rows]

    async def valuations(self, account: str, *, start_time_us: int) -> list[ValuationLine]:
        """The valuation points of an account since a time and the last one before it, in order."""
        rows = await self._connection.fetch(
            queries.SELECT_VALUATIONS, account, start_time_us, self.accounts[account].sequence
        )
        return [ValuationLine(**dict(row)) for row in rows]

    async def journal_after(self, account: str, sequence: int) -> JournalSum:
        """What the journal entries after an event add up to."""
        row = await self._connection.fetchrow(queries.SUM_JOURNAL, account, sequence, self.accounts[account].sequence)
        return JournalSum() if row is None else JournalSum(**dict(row))

    async def round_trips(self, *, start_time_us: int) -> list[Decimal]:
        """The gain of each position that was closed since a time.

        A position that is wholly a missing acquisition was never entered, so it is no round trip.
        """
        rows = await self._connection.fetch(queries.SELECT_ROUND_TRIPS, self._names, start_time_us, self._seen)
        return [row["realized"] for row in rows]

    async def count_warnings(self) -> int:
        """How many warnings the journal holds."""
        count: int = await self._connection.fetchval(queries.COUNT_WARNINGS, self._names, self._seen)
        return count

    @property
    def _newest_us(self) -> int:
        return max((state.event_time_us for state in self.accounts.values()), default=0)


def log_positions(accounts: Sequence[AccountState]) -> str:
    """Where in the log the accounts stand: `main@3:120`, account, partition and offset, comma-separated."""
    return ",".join(f"{state.account}@{state.log_partition}:{state.log_offset}" for state in accounts)


def books_version(accounts: Sequence[AccountState]) -> str:
    """What the books of accounts are: two answers that are made of the same version alone are the same.

    A log position alone does not say so: a time within a record ends between its events, and a trade correction or a
    rebuild by another version of the ledger counts the same events anew.
    """
    return ",".join(
        f"{each.account}@{each.log_partition}:{each.log_offset}:{each.sequence}:{each.revision}:{each.checksum}"
        for each in accounts
    )


class SymbolTotal(NamedTuple):
    """What the fills and flows of a symbol have come to; reporting currency."""

    realized: Decimal = ZERO
    fees: Decimal = ZERO
    volume: Decimal = ZERO
    fills: int = 0

    def plus(self, more: "SymbolTotal") -> "SymbolTotal":
        """Both together."""
        with exact_arithmetic():
            return SymbolTotal(
                self.realized + more.realized,
                self.fees + more.fees,
                self.volume + more.volume,
                self.fills + more.fills,
            )


def symbol_lines(
    totals: Mapping[str, SymbolTotal], balances: Sequence[BalanceLine], openers: Mapping[tuple[str, str], str]
) -> list[SymbolLine]:
    """PnL by symbol, what earned most first.

    Args:
        totals: What each symbol has come to.
        balances: What is held.
        openers: Account and asset to the symbol that opened the position in it.
    """
    unrealized: dict[str, Decimal] = {}
    with exact_arithmetic():
        for line in balances:
            if line.unrealized:
                symbol = openers.get((line.account, line.asset), f"{line.asset}{line.reporting}")
                unrealized[symbol] = unrealized.get(symbol, ZERO) + line.unrealized
        lines = [
            SymbolLine(symbol=symbol, **total._asdict(), unrealized=unrealized.get(symbol, ZERO))
            for symbol in {*totals, *unrealized}
            for total in (totals.get(symbol, SymbolTotal()),)
        ]
        return sorted(lines, key=lambda line: (-(line.realized + line.unrealized), line.symbol))


def _balance_line(account: AccountState, row: asyncpg.Record) -> BalanceLine:
    price = price_of(account, row["asset"])
    value, unrealized = value_of(row["quantity"], row["cost"], price)
    return BalanceLine(
        **dict(row),
        reporting=account.reporting,
        mark=price,
        value=value,
        unrealized=unrealized,
        valued_time_us=account.valued_time_us,
    )


def _position_line(account: AccountState, row: asyncpg.Record) -> PositionLine:
    values: dict[str, Any] = dict(row)
    price = price_of(account, row["asset"])
    cost = values.pop("cost")
    is_open = row["status"] == "open"
    values["symbols"] = tuple(values["symbols"])
    return PositionLine(
        **values,
        reporting=account.reporting,
        current_price=price,
        unrealized=value_of(row["quantity"], cost, price)[1] if is_open else ZERO,
    )
