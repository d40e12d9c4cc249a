"""Whether all books agree: the exchange's own, the fold of the log, the workers', Postgres, API, pnl topic."""

from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, NamedTuple

import asyncpg
import httpx
from aiokafka import ConsumerRecord, TopicPartition

from cli.chaos.exchange import ExchangeClient
from cli.pipeline import api_url
from infra.settings import Settings
from portfolio import Book, Fill, LogPosition, Outcome, encode_book, exact_arithmetic, value_book
from portfolio.snapshots import AccountSnapshot
from streams.account_log import Rejected, partition_of
from streams.log_reader import open_log
from streams.reading import reading, until_now
from streams.records import account_events, pnl_records
from streams.tables import is_older
from streams.topics import BOOKS_CHANGELOG, PNL, TopicSpec

_HISTORY_MAX = 1_000

FillKey = tuple[str, int, int]
"""Symbol, trade id, order id: a self-trade has two fills of one trade id."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What the comparison of one or more accounts came to."""

    fills: int = 0
    flows: int = 0
    lost: int = 0
    duplicated: int = 0
    differences: list[str] = field(default_factory=list)

    def __add__(self, other: "Verdict") -> "Verdict":
        return Verdict(
            fills=self.fills + other.fills,
            flows=self.flows + other.flows,
            lost=self.lost + other.lost,
            duplicated=self.duplicated + other.duplicated,
            differences=[*self.differences, *other.differences],
        )

    @property
    def agrees(self) -> bool:
        """Whether nothing is missing, twice, or different."""
        return not (self.lost or self.duplicated or self.differences)


class _Log(NamedTuple):
    """The account's log, folded."""

    book: Book
    published: Counter[FillKey]
    """Fills on the log, with how often each is there."""
    differences: list[str]


async def compare(settings: Settings, account: str, exchange: ExchangeClient) -> Verdict:
    """Compare all books of an account, as they are at this moment.

    Raises:
        httpx.HTTPError: Exchange or API do not answer.
        OSError, asyncpg.PostgresError, aiokafka.errors.KafkaError: Postgres or Kafka do not.
    """
    books = await exchange.books(account)
    log = await _fold_log(settings, account)
    traded = Counter[FillKey]((trade["symbol"], trade["id"], trade["orderId"]) for trade in books["trades"])
    stored = await _stored(settings, account)
    kept = [log.published, stored.fills]
    balances = {asset: Decimal(row["free"]) + Decimal(row["locked"]) for asset, row in books["balances"].items()}
    differences = [
        *log.differences,
        *_compare_balances("the fold of the log", _quantities(log.book), balances),
        *await _compare_changelog(settings, log.book),
        *await _compare_pnl(settings, log.book),
        *(f"Postgres lacks the flow {flow}" for flow in sorted(log.book.flows.keys() - stored.flows)),
        *(
            f"Postgres has a flow that is not on the log, {flow}"
            for flow in sorted(stored.flows - log.book.flows.keys())
        ),
        *await _compare_api(settings, log.book, traded, balances),
    ]
    return Verdict(
        fills=traded.total(),
        flows=sum(flow["operation"] is not None for flow in books["flows"]),
        lost=len({key for fills in kept for key in traded - fills}),
        duplicated=len({key for fills in kept for key in fills - traded}),
        differences=[f"{account}: {difference}" for difference in differences],
    )


async def _fold_log(settings: Settings, account: str) -> _Log:
    published: dict[int, Counter[FillKey]] = {}
    rejected: dict[int, str] = {}

    def note(record: ConsumerRecord, step: Outcome | Rejected) -> None:
        # By offset: where a correction is met, all comes once more.
        published.pop(record.offset, None)
        rejected.pop(record.offset, None)
        if isinstance(step, Rejected):
            rejected[record.offset] = step.reason
            return
        fills = (event for event in account_events.decode(record.value).events if isinstance(event, Fill))
        published[record.offset] = Counter((fill.symbol, fill.trade_id, fill.order_id) for fill in fills)

    async with open_log(settings, partition_of(account, settings.partitions)) as log:
        book = await log.fold(account, settings.partitions, on_step=note)
    if book is None:
        raise ConnectionError("the log is empty")
    differences = [f"offset {offset} of the log is rejected: {reason}" for offset, reason in rejected.items()]
    if (error := value_book(book).identity_error) != 0:
        differences.append(f"the fold of the log is not conserved: it is off by {error}")
    return _Log(book, sum(published.values(), Counter()), differences)


async def _compare_changelog(settings: Settings, book: Book) -> list[str]:
    """What a worker that takes over would start from is the fold of the log, to the byte."""
    stored = None
    async for message in records_of(settings, book.account, BOOKS_CHANGELOG):
        if not is_older(message.key, message.value, stored):
            stored = message.value
    return [] if stored == encode_book(book) else ["the last book of the changelog is not the fold of the log"]


async def _compare_pnl(settings: Settings, book: Book) -> list[str]:
    told: dict[LogPosition, AccountSnapshot] = {}
    last: AccountSnapshot | None = None
    differences = []
    async for message in records_of(settings, book.account, PNL):
        record = pnl_records.decode(message.value)
        last = record.snapshot
        with exact_arithmetic():
            error = last.equity - (last.net_flows + last.realized + last.unrealized)
        if error:
            differences.append(f"offset {message.offset} of {PNL.name} is not conserved: it is off by {error}")
        if record.cause == "book" and last.position is not None and told.setdefault(last.position, last) != last:
            differences.append(f"{PNL.name} tells two things of offset {last.position.offset} of the log")
    if last is None:
        return [f"{PNL.name} is empty"]
    pairs = {name: (getattr(last, name), getattr(book, name)) for name in _FIGURES}
    return differences + _compare_figures(f"the last record of {PNL.name}", pairs)


_FIGURES = ("sequence", "position", "net_flows", "realized", "fees")


async def _compare_api(
    settings: Settings, book: Book, traded: Counter[FillKey], balances: dict[str, Decimal]
) -> list[str]:
    async with httpx.AsyncClient(base_url=api_url(settings), timeout=10, trust_env=False) as api:
        overview = await _get(api, "overview", account=book.account)
        rows = await _get(api, "balances", account=book.account)
        symbols = await _get(api, "pnl-by-symbol", account=book.account)
        history = await _get(api, "trade-history", account=book.account, limit=_HISTORY_MAX)
    own = {
        "sequence": (overview["sequence"], book.sequence),
        "net_flows": (Decimal(overview["net_flows"]), book.net_flows),
        "realized_pnl": (Decimal(overview["realized_pnl"]), book.realized),
        "fees": (Decimal(overview["fees"]), book.fees),
    }
    for row in symbols:
        totals = book.symbols.get(row["symbol"])
        if totals is not None:
            own[f"fills of {row['symbol']}"] = (row["fills"], totals.fills)
            own[f"volume of {row['symbol']}"] = (Decimal(row["volume"]), totals.volume)
    told = Counter[FillKey]((row["symbol"], row["trade_id"], row["order_id"]) for row in history)
    own["newest fills"] = (told.total(), min(_HISTORY_MAX, traded.total()))
    equity, *parts = (Decimal(overview[name]) for name in ("equity", "net_flows", "realized_pnl", "unrealized_pnl"))
    with exact_arithmetic():
        own["equity less flows and pnl"] = (equity - sum(parts), Decimal(0))
    return [
        *_compare_figures("the API", own),
        *_compare_balances("the API", {row["asset"]: Decimal(row["ledger_quantity"]) for row in rows}, balances),
        *(f"the API shows a difference of {row['difference']} {row['asset']}" for row in rows if _differs(row)),
        *(f"the API tells of fill {key}, which the exchange does not have once" for key in told - traded),
    ]


def _differs(row: dict[str, Any]) -> bool:
    return Decimal(row["difference"]) != 0


async def _get(api: httpx.AsyncClient, path: str, **parameters: str | int) -> Any:  # noqa: ANN401 - JSON
    answer = await api.get(f"/portfolio/{path}", params=parameters)
    answer.raise_for_status()
    return answer.json()


def _quantities(book: Book) -> dict[str, Decimal]:
    return {asset: holding.quantity for asset, holding in book.holdings.items()}


def _compare_balances(who: str, told: dict[str, Decimal], true: dict[str, Decimal]) -> list[str]:
    zero = Decimal(0)
    pairs = {asset: (told.get(asset, zero), true.get(asset, zero)) for asset in sorted({*told, *true})}
    return _compare_figures(who, pairs)


def _compare_figures(who: str, pairs: dict[str, tuple[Any, Any]]) -> list[str]:
    return [f"{who}: {what} is {told}, not {true}" for what, (told, true) in pairs.items() if told != true]


class _Stored(NamedTuple):
    """What Postgres has of an account."""

    fills: Counter[FillKey]
    flows: set[str]


async def _stored(settings: Settings, account: str) -> _Stored:
    connection = await asyncpg.connect(settings.database_dsn, timeout=10)
    try:
        fills = await connection.fetch("SELECT symbol, trade_id, order_id FROM fills WHERE account = $1", account)
        # What was sold without having been bought is in that table too, and is no event of the log.
        flows = await connection.fetch("SELECT id FROM flows WHERE account = $1 AND id NOT LIKE 'opening-%'", account)
    finally:
        await connection.close()
    return _Stored(
        Counter[FillKey]((row["symbol"], row["trade_id"], row["order_id"]) for row in fills),
        {row["id"] for row in flows},
    )


async def records_of(settings: Settings, account: str, topic: TopicSpec) -> AsyncIterator[ConsumerRecord]:
    """An account's records of a topic, from the first to the last at this moment."""
    key = account.encode()
    partition = TopicPartition(topic.name, partition_of(account, settings.partitions))
    async with reading(settings, [partition]) as consumer:
        async for message in until_now(consumer):
            if message.key == key:
                yield message
