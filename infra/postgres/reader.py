"""The reader: answers from one consistent snapshot of the database, and never writes."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Any, Final, Literal, TypeAlias

import asyncpg

from infra.postgres import queries
from infra.postgres.accounts import AccountState
from infra.postgres.errors import SchemaOutdated, translated_errors
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
from infra.postgres.revisions import current_revision, newest_revision
from portfolio.money import ZERO, exact_arithmetic

PositionFilter: TypeAlias = Literal["open", "closed", "all"]

_ACQUIRE_TIMEOUT_S: Final = 3.0
_CONNECT_TIMEOUT_S: Final = 3.0
_COMMAND_TIMEOUT_S: Final = 5.0
_EVERY_MARK_SPAN_US: Final = 2 * 86_400_000_000


class Reader:
    """Reads the books. It connects when it is first asked, so it can start before the database."""

    def __init__(self, dsn: str, *, pool_size_max: int = 10) -> None:
        """Make a reader.

        Args:
            dsn: postgresql://user:password@host:port/name.
            pool_size_max: Connections at most; who comes then waits for one, three seconds at most.
        """
        self._dsn = dsn
        self._pool_size_max = pool_size_max
        self._pool: asyncpg.Pool | None = None

    async def close(self) -> None:
        """Close the connections."""
        if self._pool is not None:
            pool, self._pool = self._pool, None
            await pool.close()

    async def check(self) -> None:
        """Return if the database answers and has the tables of this version.

        Raises:
            DatabaseUnavailable: It does not answer.
            SchemaOutdated: It was not migrated.
        """
        with translated_errors():
            async with self._connection() as connection:
                revision = await current_revision(connection)
        if revision != newest_revision():
            raise SchemaOutdated(
                f"the database is at revision {revision or 'none'}, this version needs {newest_revision()}; "
                "run `portfolio migrate`"
            )

    @asynccontextmanager
    async def view(self, account: str | None = None) -> AsyncIterator["View"]:
        """Open a consistent view: everything read through it is of the same log positions.

        Args:
            account: The one account that is looked at; None: all of them.

        Raises:
            DatabaseUnavailable: The database does not answer, or not in time.
            SchemaOutdated: The database was not migrated.
        """
        with translated_errors():
            async with (
                self._connection() as connection,
                connection.transaction(isolation="repeatable_read", readonly=True),
            ):
                rows = await connection.fetch(queries.SELECT_ACCOUNTS, account)
                yield View(connection, {row["account"]: AccountState.from_row(tuple(row)) for row in rows})

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[asyncpg.pool.PoolConnectionProxy]:
        if self._pool is None:
            self._pool = await asyncpg.create_pool(
                self._dsn,
                min_size=0,
                max_size=self._pool_size_max,
                timeout=_CONNECT_TIMEOUT_S,
                command_timeout=_COMMAND_TIMEOUT_S,
                server_settings={
                    "application_name": "portfolio-reader",
                    "default_transaction_read_only": "on",
                    "timezone": "UTC",
                },
            )
        async with self._pool.acquire(timeout=_ACQUIRE_TIMEOUT_S) as connection:
            yield connection


class View:
    """The accounts at one moment.

    Attributes:
        accounts: Name to state, in order of the name.
    """

    def __init__(self, connection: asyncpg.pool.PoolConnectionProxy, accounts: dict[str, AccountState]) -> None:
        self.accounts = accounts
        self._connection = connection
        self._names = list(accounts)

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
        rows = await self._connection.fetch(
            queries.SELECT_POSITIONS,
            self._names,
            None if status == "all" else status,
            symbol,
            limit + 1,
            TIME_US_MAX if after is None else after.as_of_us,
            None if after is None else after.time_us,
            "" if after is None else after.id,
            "" if after is None else after.account,
        )
        lines = [_position_line(self.accounts[row["account"]], row) for row in rows]
        as_of_us = after.as_of_us if after else max((self._newest_us, *(line.place_us() for line in lines[:1])))
        return page_of(lines, limit, lambda line: PositionKey(as_of_us, line.place_us(as_of_us), line.id, line.account))

    async def count_open_positions(self) -> int:
        """How many positions are open."""
        count: int = await self._connection.fetchval(
            "SELECT count(*) FROM positions WHERE account = ANY($1) AND status = 'open'", self._names
        )
        return count

    async def symbols(self) -> list[SymbolLine]:
        """PnL by symbol, over all accounts of the view; what earned most first.

        What is unrealized belongs to the symbol that opened the position; of an asset that opens none, to the asset
        against the reporting currency. So both columns add up to the account's own figures, exactly.
        """
        totals = await self._connection.fetch(queries.SELECT_SYMBOLS, self._names)
        unrealized = await self._unrealized_by_symbol()
        lines = {row["symbol"]: dict(row) for row in totals}
        for symbol in unrealized:
            lines.setdefault(symbol, {"symbol": symbol, "realized": ZERO, "fees": ZERO, "volume": ZERO, "fills": 0})
        told = [SymbolLine(**values, unrealized=unrealized.get(symbol, ZERO)) for symbol, values in lines.items()]
        with exact_arithmetic():
            return sorted(told, key=lambda line: (-(line.realized + line.unrealized), line.symbol))

    async def fills(self, *, symbol: str | None, limit: int, after: EventKey | None = None) -> Page[FillLine, EventKey]:
        """Fills, newest first."""
        place = (None, 0, "") if after is None else (after.time_us, after.sequence, after.account)
        rows = await self._connection.fetch(queries.SELECT_FILLS, self._names, symbol, limit + 1, *place)
        lines = [FillLine(**dict(row)) for row in rows]
        return page_of(lines, limit, lambda line: EventKey(line.time_us, line.sequence, line.account))

    async def flows(self, *, limit: int, after: EventKey | None = None) -> Page[FlowLine, EventKey]:
        """What was paid in and out, newest first."""
        place = (None, 0, "", "") if after is None else (after.time_us, after.sequence, after.account, after.id)
        rows = await self._connection.fetch(queries.SELECT_FLOWS, self._names, limit + 1, *place)
        lines = [FlowLine(**dict(row)) for row in rows]
        return page_of(lines, limit, lambda line: EventKey(line.time_us, line.sequence, line.account, line.id))

    async def fees(self) -> list[FeeLine]:
        """Fees by the asset that they were paid in, over all accounts of the view; the largest value first."""
        rows = await self._connection.fetch(queries.SELECT_FEES, self._names)
        return [FeeLine(**dict(row)) for row in rows]

    async def equity(self, *, start_time_us: int, points_max: int) -> list[EquityLine]:
        """The equity curve since a time: the last point of each of `points_max` equal intervals, in order of time.

        Spans of up to two days are drawn from every mark, longer ones from the valuation points.
        """
        end_us = max((state.valued_time_us for state in self.accounts.values()), default=0)
        first_us = await self._connection.fetchval(queries.SELECT_FIRST_POINT, self._names, start_time_us)
        if first_us is None:
            return []
        span_us = max(end_us - first_us, 1)
        rows = await self._connection.fetch(
            queries.SELECT_EQUITY, self._names, first_us, -(-span_us // points_max), span_us <= _EVERY_MARK_SPAN_US
        )
        return [EquityLine(**dict(row)) for row in rows]

    async def valuations(self, account: str, *, start_time_us: int) -> list[ValuationLine]:
        """The valuation points of an account since a time and the last one before it, in order."""
        rows = await self._connection.fetch(queries.SELECT_VALUATIONS, account, start_time_us)
        return [ValuationLine(**dict(row)) for row in rows]

    async def journal_after(self, account: str, sequence: int) -> JournalSum:
        """What the journal entries after an event add up to."""
        row = await self._connection.fetchrow(queries.SUM_JOURNAL, account, sequence)
        return JournalSum() if row is None else JournalSum(**dict(row))

    async def round_trips(self, *, start_time_us: int) -> list[Decimal]:
        """The gain of each position that was closed since a time.

        A position that is wholly a missing acquisition was never entered, so it is no round trip.
        """
        rows = await self._connection.fetch(queries.SELECT_ROUND_TRIPS, self._names, start_time_us)
        return [row["realized"] for row in rows]

    async def count_warnings(self) -> int:
        """How many warnings the journal holds."""
        count: int = await self._connection.fetchval(
            "SELECT count(*) FROM warnings WHERE account = ANY($1)", self._names
        )
        return count

    @property
    def _newest_us(self) -> int:
        return max((state.event_time_us for state in self.accounts.values()), default=0)

    async def _unrealized_by_symbol(self) -> dict[str, Decimal]:
        opened = await self._connection.fetch(
            "SELECT account, asset, symbol FROM positions WHERE account = ANY($1) AND status = 'open'", self._names
        )
        symbols = {(row["account"], row["asset"]): row["symbol"] for row in opened}
        sums: dict[str, Decimal] = {}
        with exact_arithmetic():
            for line in await self.balances():
                if line.unrealized:
                    symbol = symbols.get((line.account, line.asset), f"{line.asset}{line.reporting}")
                    sums[symbol] = sums.get(symbol, ZERO) + line.unrealized
        return sums


def log_positions(accounts: Sequence[AccountState]) -> str:
    """Where in the log the accounts stand: `main@3:120`, account, partition and offset, comma-separated."""
    return ",".join(f"{state.account}@{state.log_partition}:{state.log_offset}" for state in accounts)


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
