"""Events in few words, and the invariants that every book keeps."""

from collections.abc import Iterable, Mapping
from decimal import Decimal

from portfolio import Book, Entry, EntryKind, Event, Fill, Flow, FlowKind, Outcome, Side, amount, fold, value_book
from portfolio.money import ZERO, exact_arithmetic
from portfolio.symbols import split_symbol

DAY_US = 86_400_000_000
START_US = 1_700_000_000_000_000


def decimals(numbers: Mapping[str, str]) -> dict[str, Decimal]:
    return {asset: amount(number) for asset, number in numbers.items()}


def fill(
    side: Side,
    quantity: str,
    price: str,
    *,
    symbol: str = "BTCUSDT",
    number: int = 1,
    fee: str = "",
    rates: Mapping[str, str] | None = None,
    dust_limit: str = "0",
    quote_quantity: str | None = None,
    order: int | None = None,
) -> Fill:
    """A fill; `number` is its trade id, order id (unless `order` is given) and second. `fee` reads `0.1 BNB`."""
    base, quote = split_symbol(symbol)
    paid, _, fee_asset = fee.partition(" ")
    return Fill(
        symbol=symbol,
        base=base,
        quote=quote,
        side=side,
        quantity=amount(quantity),
        price=amount(price),
        quote_quantity=None if quote_quantity is None else amount(quote_quantity),
        trade_id=number,
        order_id=number if order is None else order,
        time_us=START_US + number * 1_000_000,
        fee=amount(paid or "0"),
        fee_asset=fee_asset,
        rates=decimals(rates or {}),
        dust_limit=amount(dust_limit),
    )


def buy(quantity: str, price: str, **details: object) -> Fill:
    return fill(Side.BUY, quantity, price, **details)  # type: ignore[arg-type]  # passed on as they are


def sell(quantity: str, price: str, **details: object) -> Fill:
    return fill(Side.SELL, quantity, price, **details)  # type: ignore[arg-type]  # passed on as they are


def flow(
    asset: str,
    quantity: str,
    *,
    kind: FlowKind = FlowKind.DEPOSIT,
    id: str = "flow-1",  # noqa: A002 - the event's own word
    second: int = 0,
    rate: str | None = None,
) -> Flow:
    return Flow(
        id=id,
        asset=asset,
        quantity=amount(quantity),
        kind=kind,
        time_us=START_US + second * 1_000_000,
        rates={} if rate is None else {asset: amount(rate)},
    )


def deposit(asset: str, quantity: str, **details: object) -> Flow:
    return flow(asset, quantity, **{"id": f"deposit-{asset}", **details})  # type: ignore[arg-type]  # passed on


def apply(book: Book, *events: Event) -> Outcome:
    """Fold the events one by one, checking the invariants after each; the outcome is that of folding them at once."""
    step = book
    for event in events:
        outcome = fold(step, [event])
        check_invariants(outcome.book)
        check_journal(step, outcome)
        step = outcome.book
    return fold(book, events)


def check_invariants(book: Book) -> None:
    """What holds after every event, exactly: conservation, no short holding, cash at cost 1, sums by part."""
    value = value_book(book)
    with exact_arithmetic():
        costs = sum((holding.cost for holding in book.holdings.values()), ZERO)
        assert costs == book.net_flows + book.realized
        assert value.equity == book.net_flows + book.realized + value.unrealized
        assert value.identity_error == ZERO
        assert sum((totals.realized for totals in book.symbols.values()), ZERO) == book.realized
        assert sum((totals.fees for totals in book.symbols.values()), ZERO) == book.fees
    for asset, holding in book.holdings.items():
        assert holding.quantity >= ZERO, asset
        assert holding.cost >= ZERO, asset
        assert holding.quantity or holding.cost, f"{asset} is kept though nothing is left of it"
        if asset == book.reporting:
            assert holding.cost == holding.quantity
        if holding.position is not None:
            assert holding.position.is_open
            assert holding.position.quantity == holding.quantity
            assert holding.position.peak_quantity >= holding.quantity > holding.dust_limit
            assert book.opens_position(asset)


def check_journal(before: Book, outcome: Outcome) -> None:
    """The journal explains the change of the book: every entry balances, the postings add up to the holdings."""
    entries = [entry for booked in outcome.booked for entry in booked.entries]
    with exact_arithmetic():
        for entry in entries:
            assert sum((posting.cost for posting in entry.postings), ZERO) == entry.flow + entry.realized
        assert outcome.book.net_flows - before.net_flows == sum((entry.flow for entry in entries), ZERO)
        assert outcome.book.realized - before.realized == sum((entry.realized for entry in entries), ZERO)
        assert outcome.book.fees - before.fees == sum((entry.fee for entry in entries), ZERO)
        assert _holdings(before, entries) == _holdings(outcome.book, ())


def _holdings(book: Book, entries: Iterable[Entry]) -> dict[str, tuple[Decimal, Decimal]]:
    sums = {asset: (holding.quantity, holding.cost) for asset, holding in book.holdings.items()}
    for entry in entries:
        for posting in entry.postings:
            quantity, cost = sums.get(posting.asset, (ZERO, ZERO))
            sums[posting.asset] = (quantity + posting.quantity, cost + posting.cost)
    return {asset: pair for asset, pair in sums.items() if any(pair)}


def openings(outcome: Outcome) -> list[Entry]:
    return [entry for booked in outcome.booked for entry in booked.entries if entry.kind is EntryKind.OPENING]
