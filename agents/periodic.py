"""What is told at regular times, whether or not anything happened: open positions, and performance figures.

Events drive everything else. This is for those who look now and then rather than follow, and who want to tell a quiet
account from a dead pipeline. A worker tells of the accounts of its own partitions. A page of a worker that lost its
partitions without knowing yet is harmless: the next page, of whoever has them, replaces it.
"""

import logging
import time
from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal

from aiokafka.errors import KafkaError
from faust.exceptions import ProducerSendError
from mode import Service

from agents.valuation import valuer
from infra.postgres.errors import DatabaseError
from infra.postgres.performance import performance_of
from infra.postgres.reader import Reader
from infra.settings import load_settings
from portfolio import Book, InvalidBook, PortfolioError, value_book
from portfolio.performance import PERIODS
from portfolio.snapshots import describe_open
from streams import topics
from streams.app import app, book_view
from streams.periodic import OpenPositions, PerformanceRecord, open_positions, performance_records
from streams.publishing import Output, send_all

logger = logging.getLogger(__name__)

_TICK_S = 1.0
_RETRY_S = 60.0


class Timetable:
    """When each account's turn is: at once when it is first seen, then at regular intervals."""

    def __init__(self, interval_s: float) -> None:
        """Start with nobody.

        Args:
            interval_s: Seconds between two turns.
        """
        self._interval_s = interval_s
        self._next_s: dict[str, float] = {}

    def due(self, accounts: Iterable[str], now_s: float) -> list[str]:
        """The accounts whose turn it is; those that are not named any more are forgotten."""
        named = set(accounts)
        self._next_s = {account: at_s for account, at_s in self._next_s.items() if account in named}
        due = sorted(account for account in named if self._next_s.get(account, now_s) <= now_s)
        for account in due:
            self._next_s[account] = now_s + self._interval_s
        return due

    def put_off(self, account: str, now_s: float, wait_s: float) -> None:
        """An account's turn came to nothing: it comes again sooner."""
        self._next_s[account] = now_s + min(wait_s, self._interval_s)


def tell_positions(book: Book, marks: Mapping[str, Decimal], *, valued_time_us: int, now_us: int) -> OpenPositions:
    """All open positions of an account at the newest marks.

    Raises:
        PortfolioError: A value has more digits than exact arithmetic keeps.
        ArithmeticError: Likewise.
    """
    held = {asset: marks[asset] for asset in book.holdings if asset in marks and asset != book.reporting}
    return OpenPositions(
        account=book.account,
        reporting=book.reporting,
        time_us=now_us,
        valued_time_us=valued_time_us,
        sequence=book.sequence,
        positions=describe_open(book, value_book(book, held)),
    )


@app.service
class PeriodicWork(Service):
    """Tells of the accounts of this worker's partitions."""

    @Service.task
    async def _tell_positions(self) -> None:
        """Open positions, every `PORTFOLIO_POSITION_INTERVAL_S`."""
        timetable = Timetable(load_settings().position_interval_s)
        while not self.should_stop:
            await self.sleep(_TICK_S)
            books = dict(_own_books())
            outputs = []
            for account in timetable.due(books, time.monotonic()):
                book = books[account]
                marks, valued_time_us = valuer.newest(book.reporting)
                try:
                    record = tell_positions(book, marks, valued_time_us=valued_time_us, now_us=_now_us())
                except (PortfolioError, ArithmeticError) as error:
                    logger.warning("the positions of account %s cannot be valued: %s", account, error)
                    continue
                outputs.append(Output(topics.OPEN_POSITIONS.name, account.encode(), open_positions.encode(record)))
            await _send(outputs)

    @Service.task
    async def _measure_performance(self) -> None:
        """Performance figures, every `PORTFOLIO_PERFORMANCE_INTERVAL_S`, from what Postgres has of the account."""
        settings = load_settings()
        timetable = Timetable(settings.performance_interval_s)
        reader = Reader(settings.database_dsn, pool_size_max=1)
        try:
            while not self.should_stop:
                await self.sleep(_TICK_S)
                for account in timetable.due((name for name, _ in _own_books()), time.monotonic()):
                    try:
                        record = await measure(reader, account)
                    except (DatabaseError, PortfolioError, ArithmeticError) as error:
                        logger.warning("the performance of account %s is not computed: %s", account, error)
                        record = None
                    if record is None:
                        timetable.put_off(account, time.monotonic(), _RETRY_S)
                    else:
                        value = performance_records.encode(record)
                        await _send([Output(topics.PERFORMANCE.name, account.encode(), value)])
        finally:
            await reader.close()


async def measure(reader: Reader, account: str) -> PerformanceRecord | None:
    """The figures of an account over every period; None while Postgres does not know it.

    Raises:
        DatabaseUnavailable: It does not answer.
    """
    async with reader.view([account]) as view:
        state = view.accounts.get(account)
        if state is None:
            return None
        periods = {period: await performance_of(view, period) for period in PERIODS}
    return PerformanceRecord(
        account=account, reporting=state.reporting, time_us=_now_us(), sequence=state.sequence, periods=periods
    )


def _own_books() -> Iterator[tuple[str, Book]]:
    """The books of the partitions that this worker has; none while partitions come and go."""
    if app.rebalancing or not app.flow_control.is_active():
        return
    for tp in app.assignor.assigned_actives():
        if tp.topic != topics.ACCOUNT_EVENTS.name:
            continue
        try:
            yield from book_view.of_partition(tp.partition).items()
        except InvalidBook as error:
            # The ledger stops the worker at the account's next record, and says which; what only tells does not.
            logger.warning("a book of partition %d cannot be told of: %s", tp.partition, error)


async def _send(outputs: list[Output]) -> None:
    try:
        if outputs:
            await send_all(app, outputs)
    except (KafkaError, ProducerSendError) as error:
        # The next turn replaces it.
        logger.warning("nothing was told at this turn: %s", error)


def _now_us() -> int:
    return time.time_ns() // 1_000
