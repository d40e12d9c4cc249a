"""Whether the log says what the exchange's own books say: every fill once and in order, every flow with its kind."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal
from itertools import chain, pairwise
from typing import Any, NamedTuple

from aiokafka import ConsumerRecord

from infra.settings import Settings
from portfolio import Book, Fill, Outcome, exact_arithmetic, value_book
from portfolio.events import ExecutionKind, FlowKind
from streams.account_log import Rejected, partition_of
from streams.log_reader import open_log
from streams.records import account_events

_SHOWN = 5
_UNNAMED = {FlowKind.UNCLASSIFIED, FlowKind.OPENING}


class Execution(NamedTuple):
    """All that must agree of a fill."""

    symbol: str
    trade_id: int
    order_id: int
    side: str
    price: Decimal
    quantity: Decimal
    quote_quantity: Decimal
    fee: Decimal
    fee_asset: str
    maker: bool
    time_us: int


class Verdict(NamedTuple):
    """What the comparison of an account came to."""

    fills: int
    flows: int
    lost: int
    duplicated: int
    disordered: int
    differences: list[str]

    @property
    def agrees(self) -> bool:
        """Whether nothing is missing, twice, out of order, or different."""
        return not (self.lost or self.duplicated or self.disordered or self.differences)


class _Log(NamedTuple):
    """An account's log, folded."""

    book: Book | None
    published: list[Execution]
    differences: list[str]


async def compare(settings: Settings, account: str, books: Mapping[str, Any], began_us: int) -> Verdict:
    """Compare an account's log with the exchange's books.

    Args:
        settings: How to reach Kafka.
        account: The account.
        books: What the exchange says, all of it told to the log or not.
        began_us: Since when flows must have their kind; what was there before may be an opening balance.

    Raises:
        OSError, aiokafka.errors.KafkaError: Kafka does not answer.
    """
    log = await _read(settings, account)
    traded = Counter(map(_traded, books["trades"]))
    published = Counter(log.published)
    book = log.book
    differences = [*log.differences, "nothing is published"] if book is None else log.differences
    flows = [flow for flow in books["flows"] if flow["time_us"] >= began_us]
    if book is not None:
        differences = [
            *differences,
            *_compare(
                "balance of",
                {asset: holding.quantity for asset, holding in book.holdings.items()},
                {name: Decimal(row["free"]) + Decimal(row["locked"]) for name, row in books["balances"].items()},
            ),
            *_compare("flows", _booked(book, began_us), _told(flows)),
            *_unnamed(book, began_us),
        ]
        if (error := value_book(book).identity_error) != 0:
            differences.append(f"the fold of the log is not conserved: it is off by {error}")
    return Verdict(
        fills=traded.total(),
        flows=len(flows),
        lost=(traded - published).total(),
        duplicated=(published - traded).total(),
        disordered=disordered(log.published),
        differences=[f"{account}: {difference}" for difference in _shortened(differences)],
    )


async def _read(settings: Settings, account: str) -> _Log:
    published: dict[int, list[Execution]] = {}
    differences: dict[int, list[str]] = {}

    def note(record: ConsumerRecord, step: Outcome | Rejected) -> None:
        # By offset: where a correction is met, all comes once more.
        published.pop(record.offset, None)
        if isinstance(step, Rejected):
            differences[record.offset] = [f"offset {record.offset} of the log is rejected: {step.reason}"]
            return
        fills = [event for event in account_events.decode(record.value).events if isinstance(event, Fill)]
        published[record.offset] = [_published(fill) for fill in fills if fill.execution is ExecutionKind.TRADE]
        differences[record.offset] = [
            f"{fill.execution} {fill.trade_id} of {fill.symbol} is no trade"
            for fill in fills
            if fill.execution is not ExecutionKind.TRADE
        ]

    async with open_log(settings, partition_of(account, settings.partitions)) as log:
        book = await log.fold(account, settings.partitions, on_step=note)
    return _Log(book, [*chain(*published.values())], [*chain(*differences.values())])


def _published(fill: Fill) -> Execution:
    with exact_arithmetic():
        quote_quantity = fill.price * fill.quantity if fill.quote_quantity is None else fill.quote_quantity
    return Execution(
        symbol=fill.symbol,
        trade_id=fill.trade_id,
        order_id=fill.order_id,
        side=fill.side.value.upper(),
        price=fill.price,
        quantity=fill.quantity,
        quote_quantity=quote_quantity,
        fee=fill.fee,
        fee_asset=fill.fee_asset,
        maker=fill.maker,
        time_us=fill.time_us,
    )


def _traded(trade: Mapping[str, Any]) -> Execution:
    fee = Decimal(trade["commission"])
    return Execution(
        symbol=trade["symbol"],
        trade_id=trade["id"],
        order_id=trade["orderId"],
        side=trade["side"],
        price=Decimal(trade["price"]),
        quantity=Decimal(trade["qty"]),
        quote_quantity=Decimal(trade["quoteQty"]),
        fee=fee,
        fee_asset=trade["commissionAsset"] if fee else "",
        maker=trade["isMaker"],
        time_us=trade["time_us"],
    )


def disordered(published: Iterable[Execution]) -> int:
    """How many fills stand right after one of the same symbol that has a higher id."""
    by_symbol: defaultdict[str, list[int]] = defaultdict(list)
    for each in published:
        by_symbol[each.symbol].append(each.trade_id)
    return sum(later < earlier for ids in by_symbol.values() for earlier, later in pairwise(ids))


def _booked(book: Book, began_us: int) -> dict[str, Decimal]:
    named = (each for each in book.flows.values() if each.time_us >= began_us and each.kind not in _UNNAMED)
    return _sums((f"{each.kind} of {each.asset}", each.quantity) for each in named)


def _told(flows: Iterable[Mapping[str, Any]]) -> dict[str, Decimal]:
    return _sums((f"{flow['kind']} of {flow['asset']}", Decimal(flow["amount"])) for flow in flows)


def _sums(amounts: Iterable[tuple[str, Decimal]]) -> dict[str, Decimal]:
    sums: defaultdict[str, Decimal] = defaultdict(Decimal)
    with exact_arithmetic():
        for name, amount in amounts:
            sums[name] += amount
    return dict(sums)


def _unnamed(book: Book, began_us: int) -> Iterator[str]:
    for name, flow in book.flows.items():
        if flow.kind in _UNNAMED and flow.time_us >= began_us:
            yield f"{flow.quantity} {flow.asset} at {flow.time_us} has no better kind than {flow.kind} ({name})"


def _compare(what: str, booked: Mapping[str, Decimal], true: Mapping[str, Decimal]) -> Iterator[str]:
    zero = Decimal(0)
    for name in sorted({*booked, *true}):
        if booked.get(name, zero) != true.get(name, zero):
            yield f"{what} {name}: the log comes to {booked.get(name, zero)}, the exchange to {true.get(name, zero)}"


def _shortened(differences: list[str]) -> list[str]:
    more = len(differences) - _SHOWN
    return differences if more <= 0 else [*differences[:_SHOWN], f"and {more} more"]
