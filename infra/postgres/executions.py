"""What bots announced, beside the fills of the journal: stored, compared, attributed."""

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import astuple, dataclass, fields
from decimal import Decimal
from typing import Any, Final, Literal

from infra.postgres.connection import LazyPool
from infra.postgres.errors import translated_errors

_POOL_SIZE_MAX: Final = 3
_COMMAND_TIMEOUT_S: Final = 30.0

FindingKind = Literal["missing-fill", "unannounced-fill", "different"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Announced:
    """An execution as a bot announced it first.

    Attributes:
        identity: What two announcements of one execution have in common, within the account.
        log_offset: Where its first announcement is in `portfolio.executions`.
        arrived_time_us: When that was stored.
    """

    account: str
    identity: str
    symbol: str
    side: str
    price: Decimal
    quantity: Decimal
    fee: Decimal | None
    fee_asset: str
    trade_id: int | None
    order_id: int | None
    client_order_id: str
    strategy: str
    cycle_id: str
    event_time_us: int
    source: str
    log_offset: int
    arrived_time_us: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BookedFill:
    """A fill of the journal, as far as it can be compared."""

    account: str
    symbol: str
    trade_id: int
    order_id: int
    side: str
    price: Decimal
    quantity: Decimal
    time_us: int
    sequence: int

    @property
    def identity(self) -> str:
        """What names the fill among the findings."""
        return f"fill {self.symbol} {self.trade_id} {self.order_id}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What does not fit: an execution without its fill, a fill without its execution, or two that differ.

    Attributes:
        cleared_time_us: When it was found to fit after all; None while it does not.
    """

    account: str
    identity: str
    symbol: str
    finding: str
    trade_id: int | None
    order_id: int | None
    strategy: str
    cycle_id: str
    detail: str
    found_time_us: int
    cleared_time_us: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Open:
    """An execution that has not been found to fit yet, and how far the account's log has come."""

    execution: Announced
    verdict: str
    log_time_us: int
    """Time of the newest event in the account's books."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """Up to which fill of an account it was looked whether a bot announced it."""

    account: str
    fill_time_us: int
    fill_sequence: int


class ExecutionStore:
    """Writes executions and what a comparison with the fills found."""

    def __init__(self, dsn: str) -> None:
        """Make a store; it connects when it is first used.

        Args:
            dsn: postgresql://user:password@host:port/name.
        """
        self._pool = LazyPool(
            dsn, name="portfolio-executions", size_max=_POOL_SIZE_MAX, command_timeout_s=_COMMAND_TIMEOUT_S
        )

    async def close(self) -> None:
        """Close the connections."""
        await self._pool.close()

    async def write(self, executions: Sequence[Announced]) -> None:
        """Store executions; one that is known changes nothing, but may name the strategy and the cycle at last.

        Raises:
            DatabaseUnavailable: Nothing is stored; write the same again later.
            SchemaOutdated: The database was not migrated.
        """
        starts: dict[str, int] = {}
        for each in executions:
            starts[each.account] = min(starts.get(each.account, each.event_time_us), each.event_time_us)
        async with self._transaction() as connection:
            await connection.executemany(_INSERT_EXECUTION, [astuple(each) for each in executions])
            await connection.executemany(_INSERT_PROGRESS, [(name, time_us - 1, 0) for name, time_us in starts.items()])

    @asynccontextmanager
    async def checking(self) -> AsyncIterator["Check | None"]:
        """One comparison, in one transaction; None while another process is at it.

        Raises:
            DatabaseUnavailable: Nothing is stored; compare again later.
            SchemaOutdated: The database was not migrated.
        """
        async with self._transaction() as connection:
            has_lock = await connection.fetchval("SELECT pg_try_advisory_xact_lock($1)", _LOCK_KEY)
            yield Check(connection) if has_lock else None

    async def unpublished(self, limit: int) -> list[Finding]:
        """Findings that nobody was told of, or whose last change nobody was.

        Raises:
            DatabaseUnavailable: It does not answer.
        """
        async with self._transaction() as connection:
            rows = await connection.fetch(_SELECT_UNPUBLISHED, limit)
        return [Finding(**row) for row in rows]

    async def mark_published(self, findings: Iterable[Finding]) -> None:
        """Note that findings were told as they are here; one that has changed since is told again.

        Raises:
            DatabaseUnavailable: It does not answer.
        """
        rows = [(each.account, each.identity, each.found_time_us, each.cleared_time_us) for each in findings]
        async with self._transaction() as connection:
            await connection.executemany(_MARK_PUBLISHED, rows)

    async def findings(self, limit: int) -> list[Finding]:
        """What does not fit now, the newest first.

        Raises:
            DatabaseUnavailable: It does not answer.
            SchemaOutdated: The database was not migrated.
        """
        async with self._transaction() as connection:
            rows = await connection.fetch(_SELECT_OPEN_FINDINGS, limit)
        return [Finding(**row) for row in rows]

    @asynccontextmanager
    async def _transaction(self) -> AsyncIterator[Any]:
        with translated_errors():
            async with self._pool.acquired() as connection, connection.transaction():
                yield connection


class Check:
    """The transaction of one comparison; made by `ExecutionStore.checking`."""

    def __init__(self, connection: Any) -> None:  # noqa: ANN401 - asyncpg's proxy is not typed
        self._connection = connection

    async def open_executions(self, *, since_us: int, again_before_us: int, limit: int) -> list[Open]:
        """Executions that have not been found to fit, those looked at longest ago first.

        Args:
            since_us: Those that arrived earlier are given up.
            again_before_us: Those found not to fit are looked at again when the last look is older than this.
            limit: How many at most.
        """
        rows = await self._connection.fetch(_SELECT_OPEN, since_us, again_before_us, limit)
        return [
            Open(
                execution=Announced(**{name: row[name] for name in _ANNOUNCED}),
                verdict=row["verdict"],
                log_time_us=row["log_time_us"],
            )
            for row in rows
        ]

    async def fills_of_trades(self, wanted: Sequence[tuple[Announced, int]]) -> Mapping[str, list[BookedFill]]:
        """The fills with given trade ids, by the identity of the execution that they are wanted for."""
        return await self._fills("f.trade_id = w.number", wanted)

    async def fills_of_orders(self, wanted: Sequence[tuple[Announced, int]]) -> Mapping[str, list[BookedFill]]:
        """The fills of given orders, likewise."""
        return await self._fills("f.order_id = w.number", wanted)

    async def fills_of_client_orders(self, executions: Sequence[Announced]) -> Mapping[str, list[BookedFill]]:
        """The fills of orders by the bot's own names of them, likewise."""
        wanted = [(each, 0) for each in executions]
        return await self._fills("f.client_order_id = w.client_order_id", wanted)

    async def progress(self) -> list[Progress]:
        """How far the fills of each account with announcements have been looked at."""
        rows = await self._connection.fetch("SELECT account, fill_time_us, fill_sequence FROM execution_progress")
        return [Progress(**row) for row in rows]

    async def next_fills(self, progress: Progress, *, until_us: int, limit: int) -> list[tuple[BookedFill, bool]]:
        """The fills of an account that come next, each with whether a bot announced it."""
        rows = await self._connection.fetch(
            _SELECT_NEXT_FILLS, progress.account, progress.fill_time_us, progress.fill_sequence, until_us, limit
        )
        return [(_fill(row), row["is_announced"]) for row in rows]

    async def advance(self, progress: Progress) -> None:
        """Note how far it was looked."""
        await self._connection.execute(
            "UPDATE execution_progress SET fill_time_us = $2, fill_sequence = $3 WHERE account = $1",
            progress.account, progress.fill_time_us, progress.fill_sequence,
        )  # fmt: skip

    async def settle(self, verdicts: Iterable[tuple[Announced, str]], now_us: int) -> None:
        """Note what came of executions."""
        rows = [(each.account, each.identity, verdict, now_us) for each, verdict in verdicts]
        await self._connection.executemany(
            "UPDATE executions SET verdict = $3, checked_time_us = $4 WHERE account = $1 AND identity = $2", rows
        )

    async def attribute(self, matches: Iterable[tuple[Announced, BookedFill]], now_us: int) -> None:
        """Note whose fills they are; that nobody had announced one is cleared."""
        pairs = list(matches)
        rows = [
            (f.account, f.symbol, f.trade_id, f.order_id, each.strategy, each.cycle_id, each.identity)
            for each, f in pairs
        ]
        await self._connection.executemany(_UPSERT_ATTRIBUTION, rows)
        await self.clear([(fill.account, fill.identity) for _, fill in pairs], now_us)

    async def find(self, findings: Iterable[Finding]) -> None:
        """Note what does not fit; what is known already is not told again."""
        await self._connection.executemany(_UPSERT_FINDING, [astuple(each)[:-1] for each in findings])

    async def clear(self, names: Iterable[tuple[str, str]], now_us: int) -> None:
        """Note that what did not fit does so now; by account and identity."""
        await self._connection.executemany(_CLEAR_FINDING, [(account, name, now_us) for account, name in names])

    async def _fills(self, condition: str, wanted: Sequence[tuple[Announced, int]]) -> dict[str, list[BookedFill]]:
        found: dict[str, list[BookedFill]] = {}
        if not wanted:
            return found
        columns = zip(
            *((each.identity, each.account, each.symbol, each.client_order_id, number) for each, number in wanted),
            strict=True,
        )
        rows = await self._connection.fetch(
            _SELECT_FILLS.format(condition=condition), *(list(each) for each in columns)
        )
        for row in rows:
            found.setdefault(f"{row['account']} {row['wanted_for']}", []).append(_fill(row))
        return found


def wanted_for(execution: Announced) -> str:
    """The key of an execution in what `Check` returns: identities are unique within an account only."""
    return f"{execution.account} {execution.identity}"


def _fill(row: Any) -> BookedFill:  # noqa: ANN401 - asyncpg's record is not typed
    return BookedFill(**{name: row[name] for name in _FILL})


_LOCK_KEY: Final = 0x706F7274657865  # "portexe"
_ANNOUNCED: Final = tuple(each.name for each in fields(Announced))
_FILL: Final = tuple(each.name for each in fields(BookedFill))
_FINDING: Final = tuple(each.name for each in fields(Finding))


def _numbers(count: int) -> str:
    return ", ".join(f"${number}" for number in range(1, count + 1))


# Only names that are written in this file go into these statements.
_INSERT_EXECUTION: Final = f"""
    INSERT INTO executions ({", ".join(_ANNOUNCED)}) VALUES ({_numbers(len(_ANNOUNCED))})
    ON CONFLICT (account, identity) DO UPDATE SET
        strategy = excluded.strategy, cycle_id = excluded.cycle_id, verdict = 'pending', checked_time_us = 0
    WHERE executions.strategy = '' AND executions.cycle_id = ''
        AND (excluded.strategy <> '' OR excluded.cycle_id <> '')
"""  # noqa: S608
_INSERT_PROGRESS: Final = """
    INSERT INTO execution_progress (account, fill_time_us, fill_sequence) VALUES ($1, $2, $3)
    ON CONFLICT (account) DO UPDATE SET fill_time_us = least(execution_progress.fill_time_us, excluded.fill_time_us)
    WHERE execution_progress.fill_sequence = 0
"""
_SELECT_OPEN: Final = f"""
    SELECT {", ".join(f"e.{name}" for name in _ANNOUNCED)}, e.verdict, coalesce(a.event_time_us, 0) AS log_time_us
    FROM executions e LEFT JOIN accounts a ON a.account = e.account
    WHERE e.verdict <> 'matched' AND e.arrived_time_us >= $1
        AND (e.verdict = 'pending' OR e.checked_time_us < $2)
    ORDER BY e.checked_time_us LIMIT $3
"""  # noqa: S608
_SELECT_FILLS: Final = f"""
    SELECT w.identity AS wanted_for, {", ".join(f"f.{name}" for name in _FILL)}
    FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::bigint[])
        AS w (identity, account, symbol, client_order_id, number)
    JOIN fills f ON f.account = w.account AND f.symbol = w.symbol AND f.execution = 'trade' AND {{condition}}
    ORDER BY f.trade_id
"""  # noqa: S608
_SELECT_NEXT_FILLS: Final = f"""
    SELECT {", ".join(f"f.{name}" for name in _FILL)}, g.account IS NOT NULL AS is_announced
    FROM fills f LEFT JOIN fill_attributions g
        ON g.account = f.account AND g.symbol = f.symbol AND g.trade_id = f.trade_id AND g.order_id = f.order_id
    WHERE f.account = $1 AND (f.time_us, f.sequence) > ($2, $3) AND f.time_us <= $4 AND f.execution = 'trade'
    ORDER BY f.time_us, f.sequence LIMIT $5
"""  # noqa: S608
_UPSERT_ATTRIBUTION: Final = """
    INSERT INTO fill_attributions (account, symbol, trade_id, order_id, strategy, cycle_id, identity)
    VALUES ($1, $2, $3, $4, $5, $6, $7)
    ON CONFLICT (account, symbol, trade_id, order_id) DO UPDATE SET
        strategy = excluded.strategy, cycle_id = excluded.cycle_id, identity = excluded.identity
"""
_UPSERT_FINDING: Final = f"""
    INSERT INTO execution_findings ({", ".join(_FINDING[:-1])}) VALUES ({_numbers(len(_FINDING) - 1)})
    ON CONFLICT (account, identity) DO UPDATE SET
        finding = excluded.finding, detail = excluded.detail, found_time_us = excluded.found_time_us,
        cleared_time_us = NULL, is_published = false
    WHERE execution_findings.cleared_time_us IS NOT NULL OR execution_findings.finding <> excluded.finding
        OR execution_findings.detail <> excluded.detail
"""  # noqa: S608
_CLEAR_FINDING: Final = """
    UPDATE execution_findings SET cleared_time_us = $3, is_published = false
    WHERE account = $1 AND identity = $2 AND cleared_time_us IS NULL
"""
_SELECT_UNPUBLISHED: Final = f"""
    SELECT {", ".join(_FINDING)} FROM execution_findings WHERE NOT is_published ORDER BY found_time_us LIMIT $1
"""  # noqa: S608
_MARK_PUBLISHED: Final = """
    UPDATE execution_findings SET is_published = true
    WHERE account = $1 AND identity = $2 AND found_time_us = $3 AND cleared_time_us IS NOT DISTINCT FROM $4
"""
_SELECT_OPEN_FINDINGS: Final = f"""
    SELECT {", ".join(_FINDING)} FROM execution_findings WHERE cleared_time_us IS NULL
    ORDER BY found_time_us DESC LIMIT $1
"""  # noqa: S608
