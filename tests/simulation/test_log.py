"""A log delivered badly, from one seed: records twice, records of old, conflicts, and a crash at every offset.

The consumer is what every consumer of the log is: read a record, fold it, keep the bytes of the book. What it must come
to is the book of a consumer to which nothing ever happened.
"""

import random
from collections.abc import Iterable
from dataclasses import dataclass, field
from decimal import Decimal

import pytest
from msgspec.structs import replace

from portfolio import (
    Balance,
    BalanceReport,
    Event,
    Fill,
    Flow,
    FlowKind,
    LogPosition,
    Marks,
    Reclassification,
    Side,
    ValuationPoint,
    decode_book,
    encode_book,
    fold,
    new_book,
)
from tests.support.ledger import START_US, check_invariants

Record = tuple[Event, ...]

PAIRS = (("BTC", "USDT"), ("ETH", "USDT"), ("ETH", "BTC"), ("BNB", "USDT"))
PRICES = {"BTC": 60_000, "ETH": 3_000, "BNB": 600}


class Exchange:
    """Deals events, as they would be reported, from a seed."""

    def __init__(self, seed: int) -> None:
        self._chance = random.Random(seed)
        self._count = 0
        self._ids = dict.fromkeys(PAIRS, 0)
        self._flows: list[str] = []

    def log(self, length: int) -> list[Record]:
        """Records of one event, or of a page."""
        return [tuple(self._event() for _ in range(self._chance.choice((1, 1, 1, 7)))) for _ in range(length)]

    def _event(self) -> Event:
        self._count += 1
        deal = self._chance.choices((self._fill, self._flow, self._other), (8, 2, 2))[0]
        return deal(START_US + self._count * 1_000_000)

    def _rates(self) -> dict[str, Decimal]:
        return {asset: Decimal(price * self._chance.randint(70, 130)) / 100 for asset, price in PRICES.items()}

    def _fill(self, time_us: int) -> Fill:
        pair = self._chance.choice(PAIRS)
        self._ids[pair] += self._chance.choice((0, 1, 1, 5)) if self._ids[pair] else 1
        rates = self._rates()
        price = rates[pair[0]] / rates.get(pair[1], 1)
        return Fill(
            symbol="".join(pair),
            base=pair[0],
            quote=pair[1],
            side=self._chance.choice(tuple(Side)),
            price=price.quantize(Decimal("1E-8")),
            quantity=Decimal(self._chance.randint(1, 10**9)).scaleb(-8),
            fee=Decimal(self._chance.randint(0, 10**5)).scaleb(-8),
            fee_asset=self._chance.choice((*pair, "BNB")),
            rates=rates,
            dust_limit=Decimal("0.00001"),
            trade_id=self._ids[pair],
            order_id=self._count,
            time_us=time_us,
        )

    def _flow(self, time_us: int) -> Flow:
        self._flows.append(f"flow-{self._count}")
        return Flow(
            id=self._flows[-1],
            asset=self._chance.choice(tuple(PRICES)),
            quantity=Decimal(self._chance.choice((-1, 1)) * self._chance.randint(1, 10**9)).scaleb(-8),
            kind=self._chance.choice(tuple(FlowKind)),
            rates=self._rates(),
            time_us=time_us,
        )

    def _other(self, time_us: int) -> Event:
        rates = self._rates()
        choices: list[Event] = [
            Marks(rates=rates, time_us=time_us),
            ValuationPoint(rates=rates, time_us=time_us),
            BalanceReport(balances={asset: Balance(rate) for asset, rate in rates.items()}, time_us=time_us),
        ]
        if self._flows:
            choices.append(
                Reclassification(
                    id=f"kind-{self._count}",
                    flow_id=self._chance.choice(self._flows),
                    kind=self._chance.choice(tuple(FlowKind)),
                    author="gateway",
                    time_us=time_us,
                )
            )
        return self._chance.choice(choices)


@dataclass
class Consumer:
    """Keeps the bytes of a book, and what it published, by log position."""

    book: bytes = field(default_factory=lambda: encode_book(new_book("main", "USDT")))
    published: dict[int, list[bytes]] = field(default_factory=dict)
    conflicts: int = 0

    def read(self, log: list[Record], offsets: Iterable[int], *, dies_before_write_at: int | None = None) -> None:
        for offset in offsets:
            outcome = fold(decode_book(self.book), log[offset], position=LogPosition(0, offset))
            self.conflicts += len(outcome.conflicts)
            if outcome.booked:
                told = encode_book(outcome.book)
                self.published.setdefault(offset, []).append(told)
            if offset == dies_before_write_at:
                return
            self.book = encode_book(outcome.book)


@pytest.fixture(params=[1, 20])
def log(request: pytest.FixtureRequest) -> list[Record]:
    return Exchange(request.param).log(40)


@pytest.fixture
def pure(log: list[Record]) -> bytes:
    """Folded in one go, with the position of the last record."""
    outcome = fold(new_book("main", "USDT"), [event for record in log for event in record])
    check_invariants(outcome.book)
    assert outcome.book.sequence > 60
    return encode_book(replace(outcome.book, position=LogPosition(0, len(log) - 1)))


def test_a_seed_is_a_run() -> None:
    assert Exchange(3).log(20) == Exchange(3).log(20)
    assert Exchange(3).log(20) != Exchange(4).log(20)


def test_delivery_without_faults_is_the_pure_fold(log: list[Record], pure: bytes) -> None:
    consumer = Consumer()
    consumer.read(log, range(len(log)))
    assert consumer.book == pure


@pytest.mark.parametrize("back", [0, 3, 1_000])
@pytest.mark.parametrize("is_written", [True, False])
def test_a_crash_at_every_offset(log: list[Record], pure: bytes, back: int, is_written: bool) -> None:
    """Before or after the book was written, with as many records read again. What was published twice is the same."""
    for crash in range(len(log)):
        consumer = Consumer()
        consumer.read(log, range(crash + 1), dies_before_write_at=None if is_written else crash)
        consumer.read(log, range(max(0, crash - back), len(log)))
        assert consumer.book == pure
        assert set(consumer.published) == set(range(len(log)))
        assert all(len(set(told)) == 1 for told in consumer.published.values())


def test_a_gateway_that_repeats_itself(log: list[Record], pure: bytes) -> None:
    """Pages sent again under new offsets, as after a reconnect: only what has an identifier, and none of it counts."""
    chance = random.Random(5)
    consumer = Consumer()
    repeated: list[Record] = []
    seen: list[Event] = []
    for record in log:
        repeated.append(record)
        seen.extend(event for event in record if isinstance(event, Fill | Flow | Reclassification))
        if seen:
            repeated.append(tuple(seen[chance.randrange(len(seen)) :]))
    consumer.read(repeated, range(len(repeated)))
    assert replace(decode_book(consumer.book), position=None) == replace(decode_book(pure), position=None)
    assert consumer.conflicts == 0


def test_a_conflict_is_told_and_never_booked(log: list[Record], pure: bytes) -> None:
    """The last fill of a symbol and a flow come again with another quantity."""
    events = [event for record in log for event in record]
    last = [event for event in events if isinstance(event, Fill | Flow)][-1:]
    flow = [event for event in events if isinstance(event, Flow)][:1]
    changed = tuple(replace(event, quantity=event.quantity + 1) for event in (*last, *flow))
    consumer = Consumer()
    consumer.read([*log, changed], range(len(log) + 1))
    assert consumer.conflicts == len(changed)
    assert replace(decode_book(consumer.book), position=None) == replace(decode_book(pure), position=None)
