"""Real ledger updates for tests: events folded as the ledger agent folds them, page by page."""

from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal

from portfolio import Balance, BalanceReport, Event, Fill, Flow, FlowKind, LogPosition, Side, ValuationPoint
from portfolio.book import Book, new_book
from portfolio.ledger import fold
from portfolio.snapshots import AccountSnapshot, LedgerUpdate, describe_account, describe_update
from portfolio.valuation import value_book

DAY_US = 86_400_000_000
START_US = 1_767_225_600_000_000  # 2026-01-01T00:00:00Z


class Journal:
    """One account being folded: `page` gives the update of the next record of its log."""

    def __init__(self, account: str = "main", *, reporting: str = "USDT", partition: int = 3) -> None:
        self.book: Book = new_book(account, reporting)
        self._partition = partition
        self._offset = -1

    def page(self, *events: Event) -> LedgerUpdate:
        """Fold one record."""
        self._offset += 1
        position = LogPosition(self._partition, self._offset)
        outcome = fold(self.book, events, position=position)
        self.book = outcome.book
        return describe_update(outcome, position)

    def pages(self, pages: Iterable[Sequence[Event]]) -> Iterator[LedgerUpdate]:
        """Fold several records."""
        for events in pages:
            yield self.page(*events)

    def marked(self, time_us: int, **marks: str) -> AccountSnapshot:
        """The account at newer prices, as the valuation agent tells it."""
        prices = {asset: Decimal(price) for asset, price in marks.items()}
        return describe_account(self.book, value_book(self.book, prices), valued_time_us=time_us)


def fill(
    trade_id: int,
    side: str,
    quantity: str,
    price: str,
    *,
    time_us: int = START_US,
    base: str = "BTC",
    quote: str = "USDT",
    fee: str = "0",
    fee_asset: str = "USDT",
    **rates: str,
) -> Fill:
    """A fill of an order of its own."""
    return Fill(
        symbol=f"{base}{quote}",
        base=base,
        quote=quote,
        side=Side(side),
        price=Decimal(price),
        quantity=Decimal(quantity),
        fee=Decimal(fee),
        fee_asset=fee_asset,
        trade_id=trade_id,
        order_id=1_000 + trade_id,
        time_us=time_us,
        rates={asset: Decimal(rate) for asset, rate in rates.items()},
    )


def deposit(
    flow_id: str, asset: str, quantity: str, *, time_us: int = START_US, kind: str = "deposit", **rates: str
) -> Flow:
    """A flow; in, or out where the quantity is negative."""
    return Flow(
        id=flow_id,
        asset=asset,
        quantity=Decimal(quantity),
        kind=FlowKind(kind),
        time_us=time_us,
        rates={name: Decimal(rate) for name, rate in rates.items()},
    )


def valuation(time_us: int, **rates: str) -> ValuationPoint:
    """A valuation point."""
    return ValuationPoint(time_us=time_us, rates={asset: Decimal(rate) for asset, rate in rates.items()})


def balances(time_us: int, *, complete: bool = False, **free: str) -> BalanceReport:
    """What the exchange says it holds, all of it free."""
    return BalanceReport(
        time_us=time_us, balances={asset: Balance(Decimal(total)) for asset, total in free.items()}, complete=complete
    )


def sample_pages() -> list[tuple[Event, ...]]:
    """A month in the life of an account: deposits, round trips, fees in BNB, a reward, a difference.

    Held at the end: 0.25 BTC, 2 ETH, some BNB and USDT; one closed BTC position, one closed SOL position.
    """
    day = START_US
    return [
        (deposit("d1", "USDT", "50000", time_us=day),),
        (deposit("d2", "BNB", "3", time_us=day + 1, BNB="600"), valuation(day + 2, BNB="600")),
        (
            fill(1, "BUY", "0.3", "60000", time_us=day + 3_600_000_000, fee="0.0225", fee_asset="BNB", BNB="600"),
            fill(2, "BUY", "0.2", "60100", time_us=day + 3_700_000_000, fee="0.015", fee_asset="BNB", BNB="600"),
        ),
        (valuation(day + DAY_US, BTC="60800", BNB="602"),),
        (fill(3, "SELL", "0.5", "61250.5", time_us=day + DAY_US + 1, fee="0.0376", fee_asset="BNB", BNB="610"),),
        (fill(4, "BUY", "12", "145.25", base="SOL", time_us=day + DAY_US + 5, fee="0.012", fee_asset="SOL"),),
        (valuation(day + 2 * DAY_US, SOL="150.1", BNB="611"),),
        (fill(5, "SELL", "11.988", "141.9", base="SOL", time_us=day + 2 * DAY_US + 9, fee="1.7010972"),),
        (fill(6, "BUY", "0.4", "59800", time_us=day + 3 * DAY_US, fee="0.02", fee_asset="BNB", BNB="598"),),
        (
            fill(
                7,
                "BUY",
                "2",
                "3100.75",
                base="ETH",
                time_us=day + 3 * DAY_US + 7,
                fee="0.0077",
                fee_asset="BNB",
                BNB="598",
            ),
            fill(8, "SELL", "0.15", "60450", time_us=day + 3 * DAY_US + 8, fee="9.0675"),
        ),
        (deposit("r1", "BNB", "0.01", kind="reward", time_us=day + 3 * DAY_US + 9, BNB="600"),),
        (valuation(day + 4 * DAY_US, BTC="60500", ETH="3090", BNB="601"),),
        (deposit("w1", "USDT", "-5000", kind="withdrawal", time_us=day + 4 * DAY_US + 1),),
        (valuation(day + 5 * DAY_US, BTC="61800", ETH="3205.5", BNB="612"),),
    ]


def sample_account(account: str = "main") -> tuple[Journal, list[LedgerUpdate]]:
    """The sample, folded, with the exchange's own balances at the end: equal but for 0.5 USDT."""
    journal = Journal(account)
    updates = list(journal.pages(sample_pages()))
    held = {asset: holding.quantity for asset, holding in journal.book.holdings.items()}
    held["USDT"] += Decimal("0.5")
    told = {asset: str(quantity) for asset, quantity in held.items()}
    updates.append(journal.page(balances(START_US + 5 * DAY_US + 1, complete=True, **told)))
    return journal, updates
