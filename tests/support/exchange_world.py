"""A simulated exchange without its server, on a market whose every number is known, and a clock that a test moves."""

from decimal import Decimal
from fractions import Fraction

from infra.exchange.engine import Exchange
from infra.exchange.events import Event
from infra.exchange.fees import FeeSchedule
from infra.exchange.journal import Journal
from infra.exchange.ledger import Account
from infra.exchange.market import Market
from infra.exchange.recording import LOOP_US, Print, Quote, Tape
from infra.exchange.records import FlowKind
from infra.exchange.symbols import Listing

# The market's loop zero starts here, so offsets into the loop are offsets from this time.
START_US = 1_704_067_200_000_000 + 1_000_000 * LOOP_US
SECOND_US = 1_000_000


class Clock:
    """A clock that stands still until a test moves it."""

    def __init__(self) -> None:
        self.now_us = START_US + SECOND_US

    def __call__(self) -> int:
        return self.now_us


class World:
    """An exchange with one rich account, and what it was told."""

    def __init__(self, market: Market, clock: Clock, journal: Journal | None, fees: FeeSchedule) -> None:
        self.clock = clock
        self.exchange = Exchange(market, Listing(), clock, journal, fees)
        self.events: list[Event] = []
        self.exchange.user_listeners.append(lambda _account, events: self.events.extend(events))

    @property
    def account(self) -> Account:
        return self.exchange.ledger.account("demo")

    def fund(self, **amounts: str) -> None:
        for asset, amount in amounts.items():
            self.exchange.move(self.account, asset, Decimal(amount), FlowKind.INITIAL)
        self.events.clear()

    def balance(self, asset: str) -> tuple[Decimal, Decimal]:
        balance = self.account.balances[asset]
        return balance.free, balance.locked

    def advance(self, seconds: float) -> None:
        self.clock.now_us += int(seconds * SECOND_US)
        self.exchange.advance()


def _tape(bid: str, ask: str, size: str, prints: list[tuple[float, str, str, bool]]) -> Tape:
    quotes = [Quote(second * SECOND_US, Decimal(bid), Decimal(size), Decimal(ask), Decimal(size)) for second in (0, 6)]
    return Tape(
        quotes,
        [
            Print(int(second * SECOND_US), Decimal(price), Decimal(quantity), buyer_is_maker)
            for second, price, quantity, buyer_is_maker in prints
        ],
    )


def small_market(speed: Fraction = Fraction(1)) -> Market:
    """BTCUSDT 100/101, ETHUSDT 10/11, BNBUSDT last 20, ETHBTC 0.10000/0.10001; quoted again at 6 s."""
    prints: list[tuple[float, str, str, bool]] = [
        (0, "100", "1", True),
        (3, "100", "0.4", True),
        (4, "99", "9", True),
        (5, "102", "1", False),
        (5.5, "99.5", "1", False),
    ]
    return Market(
        {
            "BTCUSDT": _tape("100", "101", "2", prints),
            "ETHUSDT": _tape("10", "11", "5", [(0, "10", "1", True)]),
            "BNBUSDT": _tape("19.99", "20.01", "50", [(0, "20", "1", True)]),
            "ETHBTC": _tape("0.10000", "0.10001", "3", [(0, "0.1", "1", True)]),
        },
        speed,
    )
