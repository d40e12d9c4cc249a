"""The copies of the books compared: the log, the tables of the workers, Postgres, and the exchange.

The log decides. What another copy says is compared with the fold of the log up to the record that the copy has come
to, so that a copy which is still catching up is behind, and not wrong.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import NamedTuple

from aiokafka import TopicPartition

from infra.postgres.figures import Figures, Stored, read_figures, stored_accounts
from infra.settings import Settings
from portfolio import (
    Book,
    InvalidBook,
    Outcome,
    book_checksum,
    decode_book,
    encode_book,
    exact_arithmetic,
    plain,
    value_book,
)
from portfolio.events import BalanceReport
from portfolio.money import ZERO
from streams.account_log import partition_of
from streams.connection import needing_kafka
from streams.log_reader import PartitionLog, open_log
from streams.reading import reading, until_now
from streams.tables import is_account_key, is_older
from streams.topics import BOOKS_CHANGELOG

_LOOKS = 5
_LOOK_INTERVAL_S = 1.0

OnProgress = Callable[[str], None]
"""Called with a line on what is being done."""


class Difference(NamedTuple):
    """A figure on which a copy and the log disagree."""

    account: str
    copy: str
    """`tables`, `postgres` or `exchange`."""
    subject: str
    field: str
    log: str
    found: str


class Report(NamedTuple):
    """What comparing one account came to."""

    account: str
    events: int
    log_offset: int
    compared: list[str]
    """The copies that were compared, with how far each is behind."""
    differences: list[Difference]


ReadExchange = Callable[[], Awaitable[BalanceReport]]
"""Reads an account's balances at the exchange."""

Tables = dict[str, bytes]
"""The newest stored book of each account."""


async def accounts_of_log(settings: Settings) -> set[str]:
    """Every account that the log has records of.

    Raises:
        RemediableError: Kafka does not answer.
    """
    found: set[str] = set()
    with needing_kafka(settings):
        for partition in range(settings.partitions):
            async with open_log(settings, partition) as log:
                found |= await log.accounts()
    return found


async def all_accounts(settings: Settings, tables: Tables) -> list[str]:
    """Every account that any copy knows."""
    return sorted(await accounts_of_log(settings) | tables.keys() | await stored_accounts(settings.database_dsn))


async def read_tables(settings: Settings) -> Tables:
    """What a worker that takes over would start from: the newest book of each account in the changelog.

    Raises:
        RemediableError: Kafka does not answer.
    """
    newest: Tables = {}
    partitions = [TopicPartition(BOOKS_CHANGELOG.name, number) for number in range(settings.partitions)]
    with needing_kafka(settings):
        async with reading(settings, partitions) as consumer:
            async for record in until_now(consumer):
                if record.key is None or not is_account_key(record.key):
                    continue
                account = record.key.decode(errors="replace")
                if record.value is None:
                    newest.pop(account, None)
                elif not is_older(record.key, record.value, newest.get(account)):
                    newest[account] = record.value
    return newest


async def verify_account(
    settings: Settings, account: str, tables: Tables, *, exchange: ReadExchange | None, on_progress: OnProgress
) -> Report:
    """Compare every copy of an account with its log.

    Args:
        settings: How to reach Kafka and Postgres.
        account: The account.
        tables: What `read_tables` found.
        exchange: Reads the account's balances at the exchange; None: they cannot be read.
        on_progress: Told what is being done.

    Raises:
        RemediableError: Kafka does not answer.
        DatabaseError: Postgres does not.
    """
    stored = await read_figures(settings.database_dsn, account)
    partition = partition_of(account, settings.partitions)
    with needing_kafka(settings):
        async with open_log(settings, partition) as log:
            folds = _Folds(settings, account, log, on_progress)
            differences = [
                *await _compare_tables(folds, tables.get(account)),
                *await _compare_postgres(folds, stored),
            ]
            book = await folds.whole()
    if exchange is not None:
        on_progress(f"{account}: asking the exchange")
        differences += await _compare_exchange(settings, account, exchange)
    last = -1 if book is None or book.position is None else book.position.offset
    compared = [
        f"tables, {_behind(folds.tables_offset, last)}",
        f"postgres, {_behind(None if stored is None else stored.log_offset, last)}",
        "exchange" if exchange is not None else "exchange, not asked",
    ]
    return Report(account, 0 if book is None else book.sequence, last, compared, differences)


class _Folds:
    """Folds of one account up to several offsets; each is made once."""

    def __init__(self, settings: Settings, account: str, log: PartitionLog, on_progress: OnProgress) -> None:
        self.account = account
        self.tables_offset: int | None = None
        self._settings = settings
        self._log = log
        self._on_progress = on_progress
        self._made: dict[int, Book | None] = {}

    async def up_to(self, end: int) -> Book | None:
        """The fold of what is before an offset."""
        if end not in self._made:
            self._on_progress(f"{self.account}: folding the log up to offset {end - 1}")
            part = self._log.until(end)
            self._made[end] = await part.fold(self.account, self._settings.partitions, on_step=self._note)
        return self._made[end]

    async def whole(self) -> Book | None:
        """The fold of all of it."""
        return await self.up_to(self._log.end)

    def _note(self, _record: object, step: object) -> None:
        if isinstance(step, Outcome) and step.book.sequence % 10_000 < len(step.booked):
            self._on_progress(f"{self.account}: {step.book.sequence:,} events folded")


async def _compare_tables(folds: _Folds, encoded: bytes | None) -> list[Difference]:
    if encoded is None:
        true = await folds.whole()
        return [] if true is None else [Difference(folds.account, "tables", "account", "book", "there", "missing")]
    try:
        found = decode_book(encoded)
    except InvalidBook as error:
        return [Difference(folds.account, "tables", "account", "book", "a book", str(error))]
    if found.position is None:
        return [Difference(folds.account, "tables", "account", "position", "a log position", "none")]
    folds.tables_offset = found.position.offset
    true = await folds.up_to(found.position.offset + 1)
    if true is not None and encode_book(true) == encoded:
        return []
    expected = {} if true is None else book_figures(true)
    differences = list(_differences(folds.account, "tables", expected, book_figures(found)))
    only_bytes = Difference(folds.account, "tables", "account", "bytes of the book", "other", "other")
    return differences or [only_bytes]


async def _compare_postgres(folds: _Folds, stored: Stored | None) -> list[Difference]:
    if stored is None:
        return [Difference(folds.account, "postgres", "account", "row", "there", "missing")]
    true = await folds.up_to(stored.log_offset + 1)
    return list(_differences(folds.account, "postgres", {} if true is None else book_figures(true), stored.figures))


async def _compare_exchange(settings: Settings, account: str, exchange: ReadExchange) -> list[Difference]:
    """What is held here and there; asked again while it differs, since what was traded takes a moment to get here."""
    differences: list[Difference] = []
    for look in range(_LOOKS):
        if look:
            await asyncio.sleep(_LOOK_INTERVAL_S)
        told = await exchange()
        async with open_log(settings, partition_of(account, settings.partitions)) as log:
            book = await log.fold(account, settings.partitions)
        held = {} if book is None else {name: one.quantity for name, one in book.holdings.items() if one.quantity}
        here: Figures = {(f"asset {name}", "quantity"): quantity for name, quantity in held.items()}
        there: Figures = {
            (f"asset {name}", "quantity"): balance.total for name, balance in told.balances.items() if balance.total
        }
        differences = list(_differences(account, "exchange", here, there))
        if not differences:
            break
    return differences


def book_figures(book: Book) -> Figures:
    """What a book says, in the same subjects and fields as Postgres; what is zero is left out."""
    figures: Figures = {
        ("account", "sequence"): book.sequence,
        ("account", "net_flows"): book.net_flows,
        ("account", "realized"): book.realized,
        ("account", "fees"): book.fees,
        ("account", "twr_index"): book.returns.index,
        ("account", "revision"): book.revision,
        ("account", "checksum"): book_checksum(encode_book(book)),
        ("journal", "net_flows"): book.net_flows,
        ("journal", "realized"): book.realized,
        ("journal", "fees"): book.fees,
    }
    for asset, holding in book.holdings.items():
        figures |= {(f"asset {asset}", "quantity"): holding.quantity, (f"asset {asset}", "cost"): holding.cost}
        if (position := holding.position) is not None:
            figures |= {
                (f"position {asset}", "id"): position.id,
                (f"position {asset}", "quantity"): position.quantity,
                (f"position {asset}", "realized"): position.realized,
                (f"position {asset}", "fees"): position.fees,
                (f"position {asset}", "fills"): position.fills,
                (f"position {asset}", "open_time_us"): position.open_time_us,
            }
    for asset, told in book.exchange.items():
        figures |= {
            (f"asset {asset}", "exchange_free"): told.free,
            (f"asset {asset}", "exchange_locked"): told.locked,
        }
    for symbol, totals in book.symbols.items():
        figures |= {
            (f"symbol {symbol}", "realized"): totals.realized,
            (f"symbol {symbol}", "fees"): totals.fees,
            (f"symbol {symbol}", "volume"): totals.volume,
            (f"symbol {symbol}", "fills"): totals.fills,
            (f"fills of {symbol}", "fills"): totals.fills,
            (f"fills of {symbol}", "volume"): totals.volume,
        }
    with exact_arithmetic():
        if error := value_book(book).identity_error:
            figures["account", "identity_error"] = error
    return {place: value for place, value in figures.items() if value}


def _differences(account: str, copy: str, log: Figures, found: Figures) -> Iterable[Difference]:
    for subject, field in sorted(log.keys() | found.keys()):
        true, other = log.get((subject, field), ZERO), found.get((subject, field), ZERO)
        if true != other:
            yield Difference(account, copy, subject, field, _text(true), _text(other))


def _text(value: object) -> str:
    return plain(value) if isinstance(value, type(ZERO)) else str(value)


def _behind(offset: int | None, last: int) -> str:
    if offset is None:
        return "which has nothing of it"
    return "up to date" if offset >= last else f"behind: at offset {offset} of {last}"
